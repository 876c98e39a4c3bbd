//! The device of a session, from its making to its end.

use std::sync::Arc;

use roadstead_gpu_wire::{
    Label, Reply,
    reply::{DeviceRefused, Lost},
    wgt,
};

use super::{
    Session, SessionError,
    errors::{Errors, translate},
};
use crate::{accounts::Charge, adapters::ready};

/// A device and what belongs to it.
pub(super) struct OpenDevice {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) errors: Arc<Errors>,
    pub(super) limits: wgt::Limits,
    _charge: Charge,
}

impl Session {
    pub(super) fn open_device(
        &mut self,
        label: &Label,
        features: wgt::Features,
        limits: &wgt::Limits,
    ) -> Result<(), SessionError> {
        if self.device.is_some() {
            return Err(SessionError::Protocol("a session has one device"));
        }
        let opened = self.make_device(label.as_deref(), features, limits);
        let reply = match opened {
            Ok(device) => {
                self.device = Some(device);
                Ok(())
            }
            Err(refused) => Err(refused),
        };
        self.reply(Reply::Device(reply))
    }

    fn make_device(
        &self,
        label: Option<&str>,
        features: wgt::Features,
        limits: &wgt::Limits,
    ) -> Result<OpenDevice, DeviceRefused> {
        let charge = self.account.device().map_err(DeviceRefused::Full)?;
        // Nothing beyond WebGPU, whatever the adapter has.
        let webgpu = wgt::Features::all_webgpu_mask() | wgt::Features::SUBGROUP;
        let allowed = self.process.adapter.features() & webgpu;
        if !allowed.contains(features) {
            let missing = features - allowed;
            return Err(DeviceRefused::Unsupported(format!("the adapter lacks {missing:?}")));
        }
        let descriptor = wgpu::DeviceDescriptor {
            label,
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            trace: wgpu::Trace::Off,
        };
        let made = ready(self.process.adapter.request_device(&descriptor));
        let (device, queue) = match made {
            Some(Ok(pair)) => pair,
            Some(Err(error)) => return Err(DeviceRefused::Unsupported(error.to_string())),
            None => return Err(DeviceRefused::Full("the device is not ready".to_owned())),
        };
        let errors = Arc::new(Errors::default());
        let raised = errors.clone();
        device.on_uncaptured_error(Arc::new(move |error| raised.raise(translate(error))));
        let lost = errors.clone();
        device.set_device_lost_callback(move |reason, message| {
            let destroyed = reason == wgpu::DeviceLostReason::Destroyed;
            let message = if message.is_empty() && destroyed { "the device was destroyed".to_owned() } else { message };
            lost.lose(Lost { destroyed, message });
        });
        let limits = device.limits();
        Ok(OpenDevice { device, queue, errors, limits, _charge: charge })
    }

    /// The guest destroys its device: what runs ends first, then all memory is given back.
    pub(super) fn destroy_device(&mut self) -> Result<(), SessionError> {
        self.finish_all();
        if let Some(device) = &self.device {
            device.device.destroy();
            let _ = device.device.poll(wgpu::PollType::Poll);
            device.errors.lose(Lost { destroyed: true, message: "the device was destroyed".to_owned() });
        }
        self.objects.free_memory();
        self.tell_events()
    }
}
