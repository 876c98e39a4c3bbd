//! What the machine is and how busy it is, for heartbeats. Knows no message.

use std::time::Instant;

use sysinfo::{CpuRefreshKind, MINIMUM_CPU_UPDATE_INTERVAL, MemoryRefreshKind, RefreshKind, System};

/// What stays the same.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) hostname: String,
    pub(super) architecture: String,
    pub(super) os: String,
    pub(super) kernel: String,
}

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    /// Percent of all processors together, since the look before.
    pub(super) cpu_percent: f32,
    /// Bytes that this process and its neighbours may have: the machine's, or those of its control group.
    pub(super) memory_total_bytes: u64,
    pub(super) memory_free_bytes: u64,
}

/// The machine.
pub(super) struct Machine {
    system: System,
    looked: Instant,
    load: Load,
}

impl Machine {
    /// Looks for the first time: how busy processors are is known at a later look.
    pub(super) fn new() -> Self {
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_cpu_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(kinds);
        let load = Load { cpu_percent: 0.0, ..memory(&system) };
        Self { system, looked: Instant::now(), load }
    }

    pub(super) fn facts() -> Facts {
        Facts {
            hostname: System::host_name().unwrap_or_default(),
            architecture: System::cpu_arch(),
            os: System::name().unwrap_or_default(),
            kernel: System::kernel_version().unwrap_or_default(),
        }
    }

    /// Looks again, unless the last look was just now.
    pub(super) fn look(&mut self) -> Load {
        if self.looked.elapsed() >= MINIMUM_CPU_UPDATE_INTERVAL {
            self.system.refresh_cpu_usage();
            self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            self.looked = Instant::now();
            self.load = Load { cpu_percent: self.system.global_cpu_usage(), ..memory(&self.system) };
        }
        self.load
    }
}

/// The memory of the control group where that has less than the machine.
fn memory(system: &System) -> Load {
    let machine = (system.total_memory(), system.available_memory());
    let group = system.cgroup_limits().map(|limits| (limits.total_memory, limits.free_memory));
    let (total, free) = group.filter(|(total, _)| (1..machine.0).contains(total)).unwrap_or(machine);
    Load { cpu_percent: 0.0, memory_total_bytes: total, memory_free_bytes: free.min(machine.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_a_machine() {
        let facts = Machine::facts();
        assert!(!facts.architecture.is_empty() && !facts.kernel.is_empty(), "{facts:?}");
        let mut machine = Machine::new();
        while machine.looked.elapsed() < MINIMUM_CPU_UPDATE_INTERVAL {
            std::hint::spin_loop();
        }
        let load = machine.look();
        // This thread alone had one processor busy.
        assert!(load.cpu_percent > 0.0 && load.cpu_percent <= 100.0, "{load:?}");
        assert!(load.memory_free_bytes > 0 && load.memory_free_bytes < load.memory_total_bytes, "{load:?}");
        assert_eq!(machine.look(), load, "the second look came too soon");
    }
}
