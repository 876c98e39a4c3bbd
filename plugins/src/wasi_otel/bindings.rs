//! The generated bindings, of our own WIT text. Made at build time, never edited.

wasmtime::component::bindgen!({
    path: "../wit/wasi-otel",
    inline: "
        package roadstead:host;

        world otel {
            import wasi:otel/types@0.2.0-rc.2;
            import wasi:otel/tracing@0.2.0-rc.2;
            import wasi:otel/logs@0.2.0-rc.2;
            import wasi:otel/metrics@0.2.0-rc.2;
        }
    ",
    world: "roadstead:host/otel",
    imports: { default: trappable },
    with: {
        "wasi:clocks/wall-clock": wasmtime_wasi::p2::bindings::clocks::wall_clock,
    },
});
