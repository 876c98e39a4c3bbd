//! An engine that is set up as a host's is (`runtime/src/engine.rs`), so that the two differ in what is around the guest
//! and not in the guest. It must follow that file.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use roadstead_config::Limits;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

const TABLES_PER_SLOT: u32 = 4;
const HOST_STACK_BYTES: usize = 1 << 20;
const KEEP_RESIDENT_BYTES: usize = 256 * 1024;
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// An engine with pooling allocation, copy-on-write images and epochs, in the sizes that `limits` give.
///
/// # Errors
/// When the machine cannot reserve what the limits ask for.
pub fn engine(limits: &Limits) -> Result<Engine> {
    let instances = clamp_u32(limits.instances_max);
    let per_component = clamp_u32(limits.component_memories_max);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(per_component))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(TABLES_PER_SLOT))
        .total_stacks(instances)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memories_per_component(per_component)
        .max_tables_per_component(per_component)
        .max_core_instances_per_component(per_component)
        .max_memory_size(clamp_usize(limits.memory_slot_bytes_max))
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES);
    let stack_bytes = clamp_usize(limits.guest_stack_bytes_max);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_gc(false)
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .max_wasm_stack(stack_bytes)
        .async_stack_size(stack_bytes.saturating_add(HOST_STACK_BYTES))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

fn clamp_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn clamp_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// The thread that interrupts guests of an engine at every tick. It ends when the value is dropped.
pub struct Clock {
    stopped: Arc<AtomicBool>,
}

impl Clock {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(engine: &Engine, tick: Duration) -> Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        let (engine, asked) = (engine.clone(), stopped.clone());
        thread::Builder::new().name("epoch-clock".into()).spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                thread::sleep(tick);
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stopped })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}
