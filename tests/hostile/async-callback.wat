;; Exports its handler as an asynchronous function with a callback, whose results an engine once did not check
;; (GHSA-32h6-97mm-8q3c).
(component
  ;; What any HTTP component has: the two handles that the handler gets.
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))

  (core module $module
    (func (export "handle") (param i32 i32) (result i32) (i32.const -1))
    (func (export "callback") (param i32 i32 i32) (result i32) (i32.const -1)))
  (core instance $instance (instantiate $module))

  (func $handle async (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle") async (callback (func $instance "callback"))))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
