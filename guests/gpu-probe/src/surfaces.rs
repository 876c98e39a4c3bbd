//! What needs a surface, which a host without screens has not: each of these calls ends the component. Some resources can
//! be had from no function of the interface; their functions are called on a handle that was never given, which a host must
//! survive as well. Each call is told in the log before it is made, since no reply tells it afterwards.

use serde_json::Value;

use crate::stage::Stage;
use crate::wasi::graphics_context::graphics_context::{AbstractBuffer, Context};
use crate::webgpu::{GpuCanvasConfiguration, GpuCanvasContext, GpuTextureFormat, GpuUncapturedErrorEvent};
use crate::{Saw, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("surfaces.connect-graphics-context", connect_graphics_context),
    ("surfaces.from-graphics-buffer", from_graphics_buffer),
    ("surfaces.get-current-buffer", get_current_buffer),
    ("surfaces.present", present),
    ("surfaces.configure", configure),
    ("surfaces.unconfigure", unconfigure),
    ("surfaces.get-configuration", get_configuration),
    ("surfaces.get-current-texture", get_current_texture),
    ("surfaces.uncaptured-error", uncaptured_error),
];

/// No table of handles grows to this.
const NEVER_GIVEN: u32 = 0x00ff_fff0;

fn canvas() -> GpuCanvasContext {
    // The host refuses the handle: nothing is assumed of it here.
    unsafe { GpuCanvasContext::from_handle(NEVER_GIVEN) }
}

/// Makes the last call; where it returns, the host let it through.
fn survives<T>(call: impl FnOnce() -> T) -> Saw {
    call();
    Err("the call returned".to_owned())
}

fn connect_graphics_context(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let context = Context::new();
    survives(|| last_call!(stage.device, connect_graphics_context, &context))
}

fn from_graphics_buffer(_: &Value) -> Saw {
    let buffer = unsafe { AbstractBuffer::from_handle(NEVER_GIVEN) };
    survives(|| last_call!(GpuTexture => from_graphics_buffer, buffer))
}

/// Not a function of `wasi:webgpu`, but the only way to a frame.
fn get_current_buffer(_: &Value) -> Saw {
    survives(|| Context::new().get_current_buffer())
}

fn present(_: &Value) -> Saw {
    survives(|| Context::new().present())
}

fn configure(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let configuration = GpuCanvasConfiguration {
        device: &stage.device,
        format: GpuTextureFormat::Rgba8unorm,
        usage: None,
        view_formats: None,
        color_space: None,
        tone_mapping: None,
        alpha_mode: None,
    };
    survives(|| last_call!(canvas(), configure, &configuration))
}

fn unconfigure(_: &Value) -> Saw {
    survives(|| last_call!(canvas(), unconfigure))
}

fn get_configuration(_: &Value) -> Saw {
    survives(|| last_call!(canvas(), get_configuration))
}

fn get_current_texture(_: &Value) -> Saw {
    survives(|| last_call!(canvas(), get_current_texture))
}

fn uncaptured_error(_: &Value) -> Saw {
    let event = unsafe { GpuUncapturedErrorEvent::from_handle(NEVER_GIVEN) };
    survives(|| last_call!(event, error))
}
