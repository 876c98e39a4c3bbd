;; Hands a hundred thousand borrowed handles from one of its parts to another at once: the host keeps a table of them
;; (GHSA-6fr9-xmw9-5352).
(component
  ;; What any HTTP component has: the two handles that the handler gets.
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))

  (component $maker
    (type $thing' (resource (rep i32)))
    (export $thing "thing" (type $thing'))
    (core func $new (canon resource.new $thing'))
    (func (export "make") (param "rep" u32) (result (own $thing)) (canon lift (core func $new))))
  (instance $maker (instantiate $maker))
  (alias export $maker "thing" (type $thing))

  (component $looker
    (import "thing" (type $thing (sub resource)))
    (core module $module
      (memory (export "memory") 32)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func (export "look") (param i32 i32)))
    (core instance $instance (instantiate $module))
    (func (export "look") (param "them" (list (borrow $thing)))
      (canon lift (core func $instance "look")
        (memory $instance "memory") (realloc (func $instance "realloc")))))
  (instance $looker (instantiate $looker (with "thing" (type $thing))))

  (component $main
    (import "types" (instance $types
      (export "incoming-request" (type (sub resource)))
      (export "response-outparam" (type (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $outparam))
    (import "thing" (type $thing (sub resource)))
    (import "make" (func $make (param "rep" u32) (result (own $thing))))
    (import "look" (func $look (param "them" (list (borrow $thing)))))

    (core module $memory (memory (export "memory") 32))
    (core instance $memory (instantiate $memory))
    (core func $make (canon lower (func $make)))
    (core func $look (canon lower (func $look) (memory $memory "memory")))

    (core module $module
      (import "host" "memory" (memory 32))
      (import "host" "make" (func $make (param i32) (result i32)))
      (import "host" "look" (func $look (param i32 i32)))
      (func (export "handle") (param i32 i32)
        (local $thing i32) (local $at i32)
        (local.set $thing (call $make (i32.const 1)))
        (loop $again
          (i32.store (local.get $at) (local.get $thing))
          (local.set $at (i32.add (local.get $at) (i32.const 4)))
          (br_if $again (i32.lt_u (local.get $at) (i32.const 400000))))
        (call $look (i32.const 0) (i32.const 100000)))
    )
    (core instance $instance (instantiate $module
      (with "host" (instance
        (export "memory" (memory $memory "memory"))
        (export "make" (func $make))
        (export "look" (func $look))))))

    (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
      (canon lift (core func $instance "handle")))
    (instance $handler (export "handle" (func $handle)))
    (export "handler" (instance $handler)))
  (instance $main (instantiate $main
    (with "types" (instance $types))
    (with "thing" (type $thing))
    (with "make" (func $maker "make"))
    (with "look" (func $looker "look"))))
  (export "wasi:http/incoming-handler@0.2.0" (instance $main "handler")))
