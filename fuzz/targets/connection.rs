//! A connection's bytes, through a socket, the host's gate and pingora's reading. What must hold is in `proxy/src/fuzz.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_proxy::fuzz::connection(data));
