;; Calls through a table with a type that has subtypes. An engine built without garbage collection has no code for the
;; check that such a call makes, and ends the process at it (GHSA-rc4p-x33f-vpr2).
(component
  ;; What any HTTP component has: the two handles that the handler gets.
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))

  (core module $module
    (type $open (sub (func)))
    (type $final (sub final $open (func)))
    (table funcref (elem $target))
    (func $target (type $final))
    (func $start (call_indirect (type $open) (i32.const 0)))
    (start $start)
    (func (export "handle") (param i32 i32))
  )
  (core instance $instance (instantiate $module))

  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
