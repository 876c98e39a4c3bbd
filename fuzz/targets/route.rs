//! Bindings and requests, against a slow router. What must hold is in `proxy/src/fuzz.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead_proxy::fuzz::route(data));
