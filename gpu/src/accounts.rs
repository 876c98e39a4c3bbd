//! What each workload has of the GPU: devices, bytes, objects. A charge is given back when it is dropped, and whatever
//! keeps the thing itself alive keeps its charge.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use roadstead_gpu_wire::control::GpuLimits;

/// All accounts of a process.
#[derive(Default)]
pub(crate) struct Accounts {
    workloads: Mutex<HashMap<String, Weak<Account>>>,
    all: Arc<Held>,
}

/// What is held, by a workload or by all.
#[derive(Default)]
pub(crate) struct Held {
    devices: AtomicU64,
    bytes: AtomicU64,
    objects: AtomicU64,
}

/// What one workload has.
pub(crate) struct Account {
    held: Held,
    all: Arc<Held>,
    limits: GpuLimits,
}

impl Accounts {
    /// The account of a workload, which all its sessions share.
    pub(crate) fn of(&self, workload: &str, limits: GpuLimits) -> Arc<Account> {
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = workloads.get(workload).and_then(Weak::upgrade) {
            return account;
        }
        workloads.retain(|_, account| account.strong_count() > 0);
        let account = Arc::new(Account { held: Held::default(), all: self.all.clone(), limits });
        workloads.insert(workload.to_owned(), Arc::downgrade(&account));
        account
    }

    /// Bytes and objects that all workloads have together.
    pub(crate) fn held(&self) -> (u64, u64) {
        (self.all.bytes.load(Ordering::Relaxed), self.all.objects.load(Ordering::Relaxed))
    }
}

fn take(counter: &AtomicU64, amount: u64, max: u64) -> bool {
    let more = |now: u64| now.checked_add(amount).filter(|sum| *sum <= max);
    counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
}

fn give(counter: &AtomicU64, amount: u64) {
    counter.fetch_sub(amount, Ordering::AcqRel);
}

impl Account {
    /// A device; an error says which limit is reached.
    pub(crate) fn device(self: &Arc<Self>) -> Result<Charge, String> {
        let limits = &self.limits;
        if !take(&self.held.devices, 1, limits.workload_devices_max) {
            let max = limits.workload_devices_max;
            return Err(format!("the workload has {max} devices already (gpu_workload_devices_max)"));
        }
        if !take(&self.all.devices, 1, limits.devices_max) {
            give(&self.held.devices, 1);
            return Err(format!("the GPU has {} devices already (gpu_devices_max)", limits.devices_max));
        }
        Ok(Charge { account: self.clone(), devices: 1, bytes: AtomicU64::new(0), objects: 0 })
    }

    /// An object with so many bytes of memory; an error says which limit is reached.
    pub(crate) fn object(self: &Arc<Self>, bytes: u64) -> Result<Charge, String> {
        if !take(&self.held.objects, 1, self.limits.objects_max) {
            return Err(format!("the workload has {} objects already (gpu_objects_max)", self.limits.objects_max));
        }
        if !take(&self.held.bytes, bytes, self.limits.memory_bytes_max) {
            give(&self.held.objects, 1);
            let max = self.limits.memory_bytes_max;
            return Err(format!("{bytes} more bytes are more than the workload's {max} (gpu_memory_bytes_max)"));
        }
        self.all.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.all.objects.fetch_add(1, Ordering::AcqRel);
        Ok(Charge { account: self.clone(), devices: 0, bytes: AtomicU64::new(bytes), objects: 1 })
    }
}

/// A part of what a workload may have, taken as long as this lives.
pub(crate) struct Charge {
    account: Arc<Account>,
    devices: u64,
    bytes: AtomicU64,
    objects: u64,
}

impl Charge {
    /// Gives the bytes back: the memory is freed though the object is still there.
    pub(crate) fn free_memory(&self) {
        let bytes = self.bytes.swap(0, Ordering::AcqRel);
        give(&self.account.held.bytes, bytes);
        give(&self.account.all.bytes, bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.free_memory();
        for held in [&self.account.held, &*self.account.all] {
            give(&held.devices, self.devices);
            give(&held.objects, self.objects);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Limits that nothing reaches.
    pub(crate) fn wide() -> GpuLimits {
        GpuLimits {
            devices_max: 1_000,
            workload_devices_max: 1_000,
            memory_bytes_max: 1 << 30,
            objects_max: 1_000,
            dispatch_workgroups_max: 1 << 24,
            shader_bytes_max: 1 << 18,
            private_bytes_max: 1 << 16,
            shader_size_max: 1 << 20,
            compile_ms_max: 10_000,
            run_ms_max: 10_000,
            queue_ms_max: 10_000,
            submits_in_flight_max: 2,
        }
    }

    #[test]
    fn a_workload_has_no_more_than_its_share() {
        let accounts = Accounts::default();
        let limits =
            GpuLimits { memory_bytes_max: 100, objects_max: 2, workload_devices_max: 1, devices_max: 2, ..wide() };
        let account = accounts.of("a", limits);
        let first = account.object(60).unwrap_or_else(|e| panic!("{e}"));
        assert!(account.object(41).is_err_and(|text| text.contains("gpu_memory_bytes_max")));
        let second = account.object(40).unwrap_or_else(|e| panic!("{e}"));
        assert!(account.object(0).is_err_and(|text| text.contains("gpu_objects_max")));
        first.free_memory();
        drop(second);
        assert_eq!(accounts.held(), (0, 1));
        assert!(accounts.of("a", limits).object(100).is_ok(), "the same account");
        drop(first);
        assert_eq!(accounts.held(), (0, 0));

        let _one = account.device();
        assert!(account.device().is_err_and(|text| text.contains("gpu_workload_devices_max")));
        let _two = accounts.of("b", limits).device();
        assert!(accounts.of("c", limits).device().is_err_and(|text| text.contains("gpu_devices_max")));
    }
}
