//! The engine of a host and the clock that interrupts guests. Knows nothing of workloads.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use roadstead_config::Limits;
use wasmtime::component::Component;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

/// Tables that come with an instance's slot; toolchains make two or three a component.
const TABLES_PER_SLOT: u32 = 4;
/// Bytes of host stack above the guest's own on each fiber.
const HOST_STACK_BYTES: usize = 1 << 20;
/// Bytes of each slot that stay mapped between two instances, so that small guests do not fault pages anew.
const KEEP_RESIDENT_BYTES: usize = 256 * 1024;
/// Bytes of each guest's stack that stay mapped, and are cleared by hand, between two calls: more than most calls take.
const KEEP_STACK_BYTES: usize = 16 * 1024;
/// Frames of a guest's stack that an error names.
const BACKTRACE_FRAMES_MAX: usize = 8;
/// Elements that one table may have: interpreters compiled to WebAssembly have tens of thousands.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the wasm engine cannot be configured with these limits: {0}")]
    Configuration(String),
    #[error("the clock thread that interrupts guests cannot be started")]
    Clock(#[source] std::io::Error),
}

/// An engine with its clock, which stops when the value is dropped.
pub struct EngineWithClock {
    engine: Engine,
    stopped: Arc<AtomicBool>,
}

impl EngineWithClock {
    /// Makes the engine that `limits` describe: pooling allocation, copy-on-write images, epochs.
    ///
    /// # Errors
    /// When the machine cannot reserve what the limits ask for, or gives no thread for the clock.
    pub fn new(limits: &Limits) -> Result<Self, EngineError> {
        let engine = Engine::new(&config(limits)).map_err(|error| EngineError::Configuration(format!("{error:#}")))?;
        let stopped = Arc::new(AtomicBool::new(false));
        start_clock(&engine, Duration::from_millis(limits.epoch_tick_ms.max(1)), stopped.clone())?;
        Ok(Self { engine, stopped })
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// How many of the host's slots an instance of `component` takes: one for each of its memories, so that a tenant with
/// components of many memories does not take the memories of others.
pub(crate) fn slots_of(component: &Component) -> u32 {
    component.resources_required().map_or(1, |needs| {
        let for_tables = needs.num_tables.div_ceil(TABLES_PER_SLOT);
        needs.num_memories.max(for_tables).max(1)
    })
}

impl Drop for EngineWithClock {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Makes an engine that compiles code for the engines of hosts with the same limits, and reserves no memory for
/// instances: nothing can be run with it.
pub(crate) fn compiler_engine(limits: &Limits) -> Result<Engine, EngineError> {
    Engine::new(&code_config(limits)).map_err(|error| EngineError::Configuration(format!("{error:#}")))
}

fn config(limits: &Limits) -> Config {
    let instances = clamp_u32(limits.instances_max);
    let mut pool = PoolingAllocationConfig::new();
    let per_component = clamp_u32(limits.component_memories_max);
    pool.total_component_instances(instances)
        // A bound on their number alone: core instances have no slots of their own.
        .total_core_instances(instances.saturating_mul(per_component))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(TABLES_PER_SLOT))
        .total_stacks(instances)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memories_per_component(per_component)
        .max_tables_per_component(per_component)
        .max_core_instances_per_component(per_component)
        .max_memory_size(clamp_usize(limits.memory_slot_bytes_max))
        // Where the kernel can tell which pages were written, only those are cleared.
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(KEEP_STACK_BYTES);
    let mut config = code_config(limits);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    // Otherwise each stack that a guest once filled stays as large as that, and what one tenant left on it is there
    // while another's call runs.
    config.async_stack_zeroing(true);
    config
}

/// All that shapes compiled code. What is added to it elsewhere must not: code that is compiled in another process, or
/// was on another day, would not fit this one's engine.
fn code_config(limits: &Limits) -> Config {
    let stack_bytes = clamp_usize(limits.guest_stack_bytes_max);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Compiled code would look up subtypes in a part of the engine that this build leaves out (GHSA-rc4p-x33f-vpr2).
        .wasm_gc(false)
        .concurrency_support(false)
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES_MAX))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .memory_init_cow(true)
        .max_wasm_stack(stack_bytes)
        .async_stack_size(stack_bytes.saturating_add(HOST_STACK_BYTES));
    config
}

fn clamp_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn clamp_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// The clock is a thread of its own: guests that keep every runtime thread busy must not stop it.
fn start_clock(engine: &Engine, tick: Duration, stopped: Arc<AtomicBool>) -> Result<(), EngineError> {
    let engine = engine.weak();
    thread::Builder::new()
        .name("epoch-clock".into())
        .spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(tick);
                match engine.upgrade() {
                    Some(engine) => engine.increment_epoch(),
                    None => return,
                }
            }
        })
        .map(drop)
        .map_err(EngineError::Clock)
}

#[cfg(test)]
mod tests;
