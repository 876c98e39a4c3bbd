//! The generated bindings, of our own WIT text. Made at build time, never edited.

wasmtime::component::bindgen!({
    path: "../wit/wasmcloud-messaging",
    inline: "
        package roadstead:host;

        world messaging {
            import wasmcloud:messaging/consumer@0.2.0;
            export wasmcloud:messaging/handler@0.2.0;
        }
    ",
    world: "roadstead:host/messaging",
    imports: { default: async },
    exports: { default: async },
});
