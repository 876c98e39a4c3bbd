//! From `get-gpu` to a device.

use std::sync::Arc;

use roadstead_gpu_wire::{Op, Reply, reply::DeviceRefused, wgt};
use roadstead_runtime::InstanceState;
use wasmtime::{component::Resource, format_err};

use super::{Gpu, formats::feature, generated, label, wit};
use crate::webgpu::{
    convert::device_limits,
    objects::{self, Device, cut},
    owner::GpuOwner,
};

type Refused = wit::RequestDeviceError;

impl wit::Host for InstanceState {
    async fn get_gpu(&mut self) -> wasmtime::Result<Resource<objects::Gateway>> {
        let owner = self.bound::<GpuOwner>();
        let owner = owner.ok_or_else(|| format_err!("wasi:webgpu is not declared for this component"))?;
        if let Some(reason) = owner.gpu.condemns(&owner.workload) {
            return Err(format_err!("{reason}"));
        }
        self.hand(objects::Gateway { owner })
    }
}

impl wit::HostGpu for InstanceState {
    async fn request_adapter(
        &mut self,
        this: Resource<objects::Gateway>,
        options: Option<wit::GpuRequestAdapterOptions>,
    ) -> wasmtime::Result<Option<Resource<objects::Adapter>>> {
        let owner = self.table().get(&this)?.owner.clone();
        let options = options.as_ref();
        let wants_fallback = options.and_then(|options| options.force_fallback_adapter).unwrap_or(false);
        let wants_xr = options.and_then(|options| options.xr_compatible).unwrap_or(false);
        let level = options.and_then(|options| options.feature_level.as_deref()).unwrap_or("core");
        let fits = !wants_xr
            && (!wants_fallback || owner.gpu.facts().is_software())
            && matches!(level, "core" | "compatibility");
        if fits { Ok(Some(self.hand(objects::Adapter { owner })?)) } else { Ok(None) }
    }

    async fn get_preferred_canvas_format(
        &mut self,
        _: Resource<objects::Gateway>,
    ) -> wasmtime::Result<wit::GpuTextureFormat> {
        Ok(wit::GpuTextureFormat::Bgra8unorm)
    }

    async fn wgsl_language_features(
        &mut self,
        this: Resource<objects::Gateway>,
    ) -> wasmtime::Result<Resource<objects::LanguageFeatures>> {
        let facts = self.table().get(&this)?.owner.gpu.facts().clone();
        self.hand(objects::LanguageFeatures(facts))
    }

    async fn drop(&mut self, this: Resource<objects::Gateway>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}

impl wit::HostGpuAdapter for InstanceState {
    async fn features(&mut self, this: Resource<objects::Adapter>) -> wasmtime::Result<Resource<objects::Features>> {
        let features = self.table().get(&this)?.owner.gpu.facts().features;
        self.hand(objects::Features(features))
    }

    async fn limits(&mut self, this: Resource<objects::Adapter>) -> wasmtime::Result<Resource<objects::Limits>> {
        let limits = self.table().get(&this)?.owner.gpu.facts().limits.clone();
        self.hand(objects::Limits(Arc::new(limits)))
    }

    async fn info(&mut self, this: Resource<objects::Adapter>) -> wasmtime::Result<Resource<objects::AdapterInfo>> {
        let facts = self.table().get(&this)?.owner.gpu.facts().clone();
        self.hand(objects::AdapterInfo(facts))
    }

    async fn is_fallback_adapter(&mut self, this: Resource<objects::Adapter>) -> wasmtime::Result<bool> {
        Ok(self.table().get(&this)?.owner.gpu.facts().is_software())
    }

    async fn request_device(
        &mut self,
        this: Resource<objects::Adapter>,
        descriptor: Option<wit::GpuDeviceDescriptor>,
    ) -> wasmtime::Result<Result<Resource<Device>, Refused>> {
        let owner = self.table().get(&this)?.owner.clone();
        // What the guest hands over is taken, whatever comes of it.
        let wanted = take_limits(self, descriptor.as_ref())?;
        if let Some(reason) = owner.gpu.condemns(&owner.workload) {
            return Ok(Err(refused(wit::RequestDeviceErrorKind::OperationError, reason)));
        }
        let features = descriptor.as_ref().and_then(|descriptor| descriptor.required_features.as_ref());
        let features = features.into_iter().flatten().fold(wgt::Features::empty(), |all, name| all | feature(*name));
        let limits = match device_limits(&owner.gpu.facts().limits, &wanted) {
            Ok(limits) => limits,
            Err(text) => return Ok(Err(refused(wit::RequestDeviceErrorKind::OperationError, text))),
        };
        let name = label(descriptor.as_ref().and_then(|descriptor| descriptor.label.as_ref()));
        let queue = descriptor.as_ref().and_then(|descriptor| descriptor.default_queue.as_ref());
        let queue_label = label(queue.and_then(|queue| queue.label.as_ref())).unwrap_or_default();
        let session = match owner.gpu.open(&owner).await {
            Ok(session) => session,
            Err(error) => {
                self.backend().lose(true);
                return Ok(Err(refused(wit::RequestDeviceErrorKind::OperationError, error.to_string())));
            }
        };
        let op = Op::OpenDevice { label: name.clone(), features, limits: Box::new(limits.clone()) };
        match self.ask(&session, op).await {
            Ok(Reply::Device(Ok(()))) => {
                let label = cut(&name.unwrap_or_default()).to_owned();
                owner.gpu.watch(session.id, self.backend().clone());
                let device = Device { session, label, queue_label, features, limits: Arc::new(limits) };
                Ok(Ok(self.hand(device)?))
            }
            Ok(Reply::Device(Err(DeviceRefused::Unsupported(text)))) => {
                Ok(Err(refused(wit::RequestDeviceErrorKind::TypeError, text)))
            }
            Ok(Reply::Device(Err(DeviceRefused::Full(text)))) => {
                Ok(Err(refused(wit::RequestDeviceErrorKind::OperationError, text)))
            }
            _ => {
                let text = "the GPU was reset meanwhile".to_owned();
                Ok(Err(refused(wit::RequestDeviceErrorKind::OperationError, text)))
            }
        }
    }

    async fn drop(&mut self, this: Resource<objects::Adapter>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}

fn refused(kind: wit::RequestDeviceErrorKind, message: String) -> Refused {
    Refused { kind, message }
}

/// The limits that a guest asks for. The record that it made for that is given up with the call.
fn take_limits(
    state: &mut InstanceState,
    descriptor: Option<&wit::GpuDeviceDescriptor>,
) -> wasmtime::Result<Vec<(String, Option<u64>)>> {
    let Some(record) = descriptor.and_then(|descriptor| descriptor.required_limits.as_ref()) else {
        return Ok(Vec::new());
    };
    let record: Resource<generated::RequiredLimits> = Resource::new_own(record.rep());
    Ok(state.table().delete(record)?.entries().to_vec())
}
