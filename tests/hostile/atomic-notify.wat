;; Wakes threads that this host does not have. An engine built without threads has no code for it.
(component
  ;; What any HTTP component has: the two handles that the handler gets.
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))

  (core module $module
    (memory 1)
    (func $start (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))
    (start $start)
    (func (export "handle") (param i32 i32))
  )
  (core instance $instance (instantiate $module))

  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
