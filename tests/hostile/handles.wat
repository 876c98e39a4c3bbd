;; Makes handles of a resource of its own for ever: the host keeps a table of them.
(component
  ;; What any HTTP component has: the two handles that the handler gets.
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (type $thing (resource (rep i32)))
  (core func $new (canon resource.new $thing))

  (core module $module
    (import "host" "new" (func $new (param i32) (result i32)))
    (func (export "handle") (param i32 i32)
      (loop $again (drop (call $new (i32.const 1))) (br $again)))
  )
  (core instance $instance (instantiate $module
    (with "host" (instance (export "new" (func $new))))))

  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
