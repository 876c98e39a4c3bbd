;; Hands a UTF-16 string at an odd address from one of its parts to another (GHSA-jxhv-7h78-9775).
(component
  ;; What any HTTP component has: the two handles that the handler gets.
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))

  (component $reader
    (core module $module
      (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
      (func (export "read") (param i32 i32)))
    (core instance $instance (instantiate $module))
    (func (export "read") (param "text" string)
      (canon lift (core func $instance "read")
        (memory $instance "memory") (realloc (func $instance "realloc")) string-encoding=utf8)))
  (instance $reader (instantiate $reader))

  (component $main
    (import "types" (instance $types
      (export "incoming-request" (type (sub resource)))
      (export "response-outparam" (type (sub resource)))))
    (alias export $types "incoming-request" (type $request))
    (alias export $types "response-outparam" (type $outparam))
    (import "read" (func $read (param "text" string)))

    (core module $memory (memory (export "memory") 32))
    (core instance $memory (instantiate $memory))
    (core func $read (canon lower (func $read) (memory $memory "memory") string-encoding=utf16))

    (core module $module
      (import "host" "read" (func $read (param i32 i32)))
      (func (export "handle") (param i32 i32)
        (call $read (i32.const 1) (i32.const 8)))
    )
    (core instance $instance (instantiate $module
      (with "host" (instance
        (export "read" (func $read))))))

    (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
      (canon lift (core func $instance "handle")))
    (instance $handler (export "handle" (func $handle)))
    (export "handler" (instance $handler)))
  (instance $main (instantiate $main
    (with "types" (instance $types)) (with "read" (func $reader "read"))))
  (export "wasi:http/incoming-handler@0.2.0" (instance $main "handler")))
