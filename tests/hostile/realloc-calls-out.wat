;; Calls the host from its `realloc`, which runs in the middle of a host call (GHSA-7v24-42x9-pxf7).
(component
  ;; What any HTTP component has: the two handles that the handler gets.
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))
    (export "get-random-u64" (func (result u64)))))
  (core func $number (canon lower (func $random "get-random-u64")))

  (core module $allocator
    (import "host" "number" (func $number (result i64)))
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (drop (call $number))
      (i32.const 1024))
  )
  (core instance $allocator (instantiate $allocator
    (with "host" (instance (export "number" (func $number))))))
  (core func $bytes (canon lower (func $random "get-random-bytes")
    (memory $allocator "memory") (realloc (func $allocator "realloc"))))

  (core module $module
    (import "host" "bytes" (func $bytes (param i64 i32)))
    (func (export "handle") (param i32 i32)
      (call $bytes (i64.const 16) (i32.const 0)))
  )
  (core instance $instance (instantiate $module
    (with "host" (instance (export "bytes" (func $bytes))))))

  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
