//! Each bound that the engine keeps for us, met from both sides. Knows nothing of workloads.

use std::{sync::mpsc, time::Instant};

use wasmtime::{Instance, Module, Store, Trap, UpdateDeadline, WasmBacktrace};

use super::*;

const PAGE_BYTES: u64 = 65_536;

fn engine(limits: &Limits) -> EngineWithClock {
    EngineWithClock::new(limits).unwrap()
}

/// The defaults, with room for one instance.
fn of_one() -> Limits {
    Limits { instances_max: 1, ..Limits::default() }
}

fn component(engine: &EngineWithClock, text: &str) -> Result<Component, String> {
    let bytes = wat::parse_str(text).unwrap();
    Component::new(engine.engine(), bytes).map_err(|error| format!("{error:#}"))
}

/// A component with `count` core instances of a module.
fn instances(module: &str, count: u64) -> String {
    let instances: String = (0..count).map(|_| "(core instance (instantiate $module))").collect();
    format!("(component (core module $module {module}) {instances})")
}

/// An instance of a core module that the clock does not interrupt.
fn instantiate(engine: &EngineWithClock, text: &str) -> (Store<()>, Instance) {
    let module = Module::new(engine.engine(), wat::parse_str(text).unwrap()).unwrap();
    let mut store = Store::new(engine.engine(), ());
    store.set_epoch_deadline(u64::from(u32::MAX));
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    (store, instance)
}

#[test]
fn a_memory_is_no_larger_than_its_slot() {
    let engine = engine(&Limits { memory_slot_bytes_max: 2 * PAGE_BYTES, ..of_one() });
    assert!(component(&engine, &instances("(memory 2)", 1)).is_ok());
    assert!(component(&engine, &instances("(memory 3)", 1)).unwrap_err().contains("memory"));
    let growing = r#"(module (memory 1) (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#;
    let (mut store, instance) = instantiate(&engine, growing);
    let grow = instance.get_typed_func::<(), i32>(&mut store, "grow").unwrap();
    assert_eq!(grow.call(&mut store, ()).unwrap(), 1);
    assert_eq!(grow.call(&mut store, ()).unwrap(), -1);
}

#[test]
fn a_component_has_so_many_instances_memories_and_tables() {
    let engine = engine(&Limits { component_memories_max: 3, ..of_one() });
    for module in ["", "(memory 1)", "(table 1 funcref)"] {
        assert!(component(&engine, &instances(module, 3)).is_ok(), "{module}");
        assert!(component(&engine, &instances(module, 4)).is_err(), "{module}");
    }
}

#[test]
fn a_table_has_so_many_elements() {
    let engine = engine(&of_one());
    let with = |elements: usize| component(&engine, &instances(&format!("(table {elements} funcref)"), 1));
    assert!(with(TABLE_ELEMENTS_MAX).is_ok());
    assert!(with(TABLE_ELEMENTS_MAX + 1).unwrap_err().contains("table"));
}

#[test]
fn tables_beyond_those_of_a_slot_take_another() {
    let engine = engine(&of_one());
    let slots = |tables: u32| slots_of(&component(&engine, &instances("(table 1 funcref)", tables.into())).unwrap());
    assert_eq!(slots(0), 1);
    assert_eq!(slots(TABLES_PER_SLOT), 1);
    assert_eq!(slots(TABLES_PER_SLOT + 1), 2);
}

/// How often a function calls itself before the stack is full.
fn depth(guest_stack_bytes_max: u64) -> i64 {
    let engine = engine(&Limits { guest_stack_bytes_max, ..of_one() });
    let (mut store, instance) = instantiate(
        &engine,
        r#"(module
            (global $depth (export "depth") (mut i64) (i64.const 0))
            (func $deeper (export "deeper") (result i64)
                (global.set $depth (i64.add (global.get $depth) (i64.const 1)))
                (i64.add (call $deeper) (global.get $depth))))"#,
    );
    let deeper = instance.get_typed_func::<(), i64>(&mut store, "deeper").unwrap();
    let error = deeper.call(&mut store, ()).unwrap_err();
    assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::StackOverflow), "{error:?}");
    instance.get_global(&mut store, "depth").unwrap().get(&mut store).unwrap_i64()
}

#[test]
fn a_guests_stack_is_as_large_as_the_limit_says() {
    let (small, large) = (depth(64 << 10), depth(256 << 10));
    // What the engine itself takes of it is the same in both.
    assert!((3 * small..=5 * small).contains(&large), "{small} and {large}");
}

#[test]
fn a_backtrace_names_so_many_frames() {
    let engine = engine(&of_one());
    let (mut store, instance) = instantiate(
        &engine,
        r#"(module (func $deeper (export "deeper") (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then unreachable))
            (i32.add (call $deeper (i32.sub (local.get 0) (i32.const 1))) (i32.const 1))))"#,
    );
    let deeper = instance.get_typed_func::<i32, i32>(&mut store, "deeper").unwrap();
    let error = deeper.call(&mut store, 100).unwrap_err();
    let frames = error.downcast_ref::<WasmBacktrace>().unwrap().frames().len();
    assert_eq!(frames, BACKTRACE_FRAMES_MAX);
}

#[test]
fn the_clock_interrupts_a_guest_once_a_tick() {
    const TICKS: u32 = 4;
    let engine = engine(&Limits { epoch_tick_ms: 50, ..of_one() });
    let (mut store, instance) = instantiate(&engine, r#"(module (func (export "spin") (loop $again (br $again))))"#);
    let mut ticks = 0;
    store.epoch_deadline_callback(move |_| {
        ticks += 1;
        if ticks == TICKS { Err(wasmtime::Error::msg("enough")) } else { Ok(UpdateDeadline::Continue(1)) }
    });
    store.set_epoch_deadline(1);
    let spin = instance.get_typed_func::<(), ()>(&mut store, "spin").unwrap();
    let (ended, end) = mpsc::channel();
    // Without a tick it would spin for ever: in a thread of its own it only fails the test.
    thread::spawn(move || {
        let begun = Instant::now();
        let _ = ended.send((spin.call(&mut store, ()).is_err(), begun.elapsed()));
    });
    let (interrupted, took) = end.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(interrupted);
    // The first tick may come at once, and none comes early.
    assert!(took >= Duration::from_millis(50) * (TICKS - 2), "{took:?}");
}
