//! The generated bindings, of our own WIT text. Made at build time, never edited.

wasmtime::component::bindgen!({
    path: ["../wit/wasi-io", "../wit/wasi-blobstore"],
    inline: "
        package roadstead:host;

        world blobstore {
            import wasi:blobstore/types@0.2.0-draft;
            import wasi:blobstore/container@0.2.0-draft;
            import wasi:blobstore/blobstore@0.2.0-draft;
        }
    ",
    world: "roadstead:host/blobstore",
    imports: { default: async | trappable },
    with: {
        "wasi:io/streams": wasmtime_wasi::p2::bindings::io::streams,
        "wasi:blobstore/types.outgoing-value": super::handles::OutgoingValue,
        "wasi:blobstore/types.incoming-value": super::handles::IncomingValue,
        "wasi:blobstore/container.container": super::handles::Container,
        "wasi:blobstore/container.stream-object-names": super::handles::ObjectNames,
    },
});
