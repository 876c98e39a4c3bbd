//! The adapters of the machine, and the one that a process serves.

use std::{pin::pin, task};

use roadstead_gpu_wire::{control::AdapterFacts, wgt};
use wgpu::{Adapter, Instance};

/// Which adapter a process serves.
#[derive(Debug, Clone, Default)]
pub struct AdapterChoice {
    /// Its place in the list, or a part of its name without regard to case; without it the first that is a GPU, and
    /// only then one that is a program.
    pub wanted: Option<String>,
    /// Whether a program that stands in for a GPU will do.
    pub software: bool,
}

/// Instance of the graphics interface: what a guest may do is what WebGPU says, whatever the adapter could do beyond.
pub(crate) fn instance() -> Instance {
    let flags = wgt::InstanceFlags::VALIDATION_INDIRECT_CALL
        | wgt::InstanceFlags::AUTOMATIC_TIMESTAMP_NORMALIZATION
        | wgt::InstanceFlags::ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER;
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    descriptor.flags = flags;
    Instance::new(descriptor)
}

/// The value of a future that has nothing to wait for, as all of wgpu's are outside of browsers.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut task::Context::from_waker(task::Waker::noop())) {
        task::Poll::Ready(value) => Some(value),
        task::Poll::Pending => None,
    }
}

fn all(instance: &Instance) -> Vec<(AdapterFacts, Adapter)> {
    let adapters = ready(instance.enumerate_adapters(wgpu::Backends::VULKAN)).unwrap_or_default();
    let wgsl: Vec<String> = language_features(instance);
    let facts = |index: usize, adapter: &Adapter| AdapterFacts {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        info: adapter.get_info(),
        features: adapter.features(),
        limits: adapter.limits(),
        wgsl_features: wgsl.clone(),
    };
    adapters.into_iter().enumerate().map(|(index, adapter)| (facts(index, &adapter), adapter)).collect()
}

/// The names that WGSL has for its extensions.
fn language_features(instance: &Instance) -> Vec<String> {
    use wgpu::WgslLanguageFeatures as Known;
    let names = [
        (Known::ReadOnlyAndReadWriteStorageTextures, "readonly_and_readwrite_storage_textures"),
        (Known::Packed4x8IntegerDotProduct, "packed_4x8_integer_dot_product"),
        (Known::UnrestrictedPointerParameters, "unrestricted_pointer_parameters"),
        (Known::PointerCompositeAccess, "pointer_composite_access"),
    ];
    let known = instance.wgsl_language_features();
    names.into_iter().filter_map(|(feature, name)| known.contains(feature).then(|| name.to_owned())).collect()
}

/// All adapters of the machine.
pub fn list_adapters() -> Vec<AdapterFacts> {
    all(&instance()).into_iter().map(|(facts, _)| facts).collect()
}

/// Chooses an adapter.
///
/// # Errors
/// Why there is none, in words.
pub(crate) fn choose(instance: &Instance, choice: &AdapterChoice) -> Result<(AdapterFacts, Adapter), String> {
    let found = all(instance);
    if found.is_empty() {
        return Err("no Vulkan driver offers an adapter; on Debian, mesa-vulkan-drivers has drivers, one of them in \
                    software, and libvulkan1 finds them"
            .to_owned());
    }
    let names: Vec<String> = found.iter().map(|(facts, _)| facts.info.name.clone()).collect();
    let wanted = |facts: &AdapterFacts| match &choice.wanted {
        None => true,
        Some(text) => match text.parse::<u32>() {
            Ok(index) => facts.index == index,
            Err(_) => facts.info.name.to_lowercase().contains(&text.to_lowercase()),
        },
    };
    let mut matching: Vec<_> = found.into_iter().filter(|(facts, _)| wanted(facts)).collect();
    if matching.is_empty() {
        let wanted = choice.wanted.as_deref().unwrap_or_default();
        return Err(format!("no adapter is called {wanted:?}; there are: {}", names.join(", ")));
    }
    matching.sort_by_key(|(facts, _)| preference(facts.info.device_type));
    let allowed = matching.into_iter().find(|(facts, _)| choice.software || !facts.is_software());
    allowed.ok_or_else(|| {
        format!("the only adapters are programs ({}), which --gpu-allow-software allows", names.join(", "))
    })
}

fn preference(kind: wgt::DeviceType) -> u8 {
    match kind {
        wgt::DeviceType::DiscreteGpu => 0,
        wgt::DeviceType::IntegratedGpu => 1,
        wgt::DeviceType::VirtualGpu => 2,
        wgt::DeviceType::Other => 3,
        wgt::DeviceType::Cpu => 4,
    }
}
