//! The generated bindings, of our own WIT text. Made at build time, never edited.

wasmtime::component::bindgen!({
    path: "../wit/wasi-config",
    inline: "package roadstead:host; world config { import wasi:config/store@0.2.0-rc.1; }",
    world: "roadstead:host/config",
});
