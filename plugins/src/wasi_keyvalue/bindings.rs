//! The generated bindings, of our own WIT text. Made at build time, never edited.

wasmtime::component::bindgen!({
    path: "../wit/wasi-keyvalue",
    inline: "
        package roadstead:host;

        world keyvalue {
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
        }
    ",
    world: "roadstead:host/keyvalue",
    imports: { default: async | trappable },
    with: { "wasi:keyvalue/store.bucket": super::Bucket },
});
