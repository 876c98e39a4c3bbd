//! x
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/wasi-webgpu",
        inline: "package roadstead:host; world gpu { import wasi:webgpu/webgpu@0.0.1; }",
        world: "roadstead:host/gpu",
        imports: { default: async | trappable },
        with: { "wasi:io/poll": wasmtime_wasi_io::bindings::wasi::io::poll },
    });
}
