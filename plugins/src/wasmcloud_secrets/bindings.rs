//! The generated bindings, of our own WIT text, one module for each version. Made at build time, never edited.

/// `1.0.0`.
pub(super) mod first {
    wasmtime::component::bindgen!({
        path: "../wit/wasmcloud-secrets",
        inline: "
            package roadstead:host;

            world secrets {
                import wasmcloud:secrets/store@1.0.0;
                import wasmcloud:secrets/reveal@1.0.0;
            }
        ",
        world: "roadstead:host/secrets",
        imports: { default: async | trappable },
        with: { "wasmcloud:secrets/store.secret": super::super::SecretHandle },
    });
}

/// `0.1.0-draft`.
pub(super) mod draft {
    wasmtime::component::bindgen!({
        path: "../wit/wasmcloud-secrets-draft",
        inline: "
            package roadstead:host;

            world secrets {
                import wasmcloud:secrets/store@0.1.0-draft;
                import wasmcloud:secrets/reveal@0.1.0-draft;
            }
        ",
        world: "roadstead:host/secrets",
        imports: { default: async | trappable },
        with: { "wasmcloud:secrets/store.secret": super::super::SecretHandle },
    });
}
