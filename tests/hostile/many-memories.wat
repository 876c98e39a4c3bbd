;; Grows the memories of four core instances in turn. Each would be within the bound by itself.
(component
  ;; What any HTTP component has: the two handles that the handler gets.
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))

  (core module $holder (memory (export "memory") 1))
  (core instance $a (instantiate $holder))
  (core instance $b (instantiate $holder))
  (core instance $c (instantiate $holder))
  (core instance $d (instantiate $holder))
  (core module $module
    (import "a" "memory" (memory $a 1))
    (import "b" "memory" (memory $b 1))
    (import "c" "memory" (memory $c 1))
    (import "d" "memory" (memory $d 1))
    (func (export "handle") (param i32 i32)
      (loop $again
        (if (i32.eq (memory.grow $a (i32.const 16)) (i32.const -1)) (then unreachable))
        (if (i32.eq (memory.grow $b (i32.const 16)) (i32.const -1)) (then unreachable))
        (if (i32.eq (memory.grow $c (i32.const 16)) (i32.const -1)) (then unreachable))
        (if (i32.eq (memory.grow $d (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $again)))
  )
  (core instance $instance (instantiate $module
    (with "a" (instance $a)) (with "b" (instance $b)) (with "c" (instance $c)) (with "d" (instance $d))))

  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
