;; Traps at the end of a long chain of tail calls, which leave no frames for the stack trace to walk (GHSA-q8hx-mm92-4wvg).
(component
  ;; What any HTTP component has: the two handles that the handler gets.
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))

  (core module $module
    (func $left (param i32)
      (if (i32.eqz (local.get 0)) (then unreachable))
      (return_call $right (i32.sub (local.get 0) (i32.const 1)) (i64.const 7)))
    (func $right (param i32 i64)
      (return_call $left (local.get 0)))
    (func (export "handle") (param i32 i32)
      (call $left (i32.const 100000)))
  )
  (core instance $instance (instantiate $module))

  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
