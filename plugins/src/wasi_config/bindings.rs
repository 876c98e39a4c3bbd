//! The generated bindings, of our own WIT text, one module for each version. Made at build time, never edited.

/// `0.2.0-rc.1`.
pub(super) mod candidate {
    wasmtime::component::bindgen!({
        path: "../wit/wasi-config",
        inline: "package roadstead:host; world config { import wasi:config/store@0.2.0-rc.1; }",
        world: "roadstead:host/config",
    });
}

/// `0.2.0-draft`.
pub(super) mod draft {
    wasmtime::component::bindgen!({
        path: "../wit/wasi-config-draft",
        inline: "
            package roadstead:host;

            world config {
                import wasi:config/runtime@0.2.0-draft;
                import wasi:config/store@0.2.0-draft;
            }
        ",
        world: "roadstead:host/config",
    });
}
