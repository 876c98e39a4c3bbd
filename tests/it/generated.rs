//! Components that nobody thought of: modules made at random from fixed seeds, whose handlers are as random as the rest.
//! Each is refused with a reason, or its requests get the answer of a fault, in time.

use std::{
    fs,
    time::{Duration, Instant},
};

use arbitrary::Unstructured;
use http::StatusCode;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use wasm_smith::{Config, Module};

use crate::harness::{
    components::http_component,
    host::{Host, Options, write_application},
    manifest::trigger,
};

/// Modules made; a failure names the seed.
const SEEDS: u64 = 60;
/// Random bytes that a module is made of.
const SEED_BYTES: usize = 20_000;
const TIMEOUT: Duration = Duration::from_millis(500);
/// What a call may take past its deadline on a busy machine.
const GRACE: Duration = Duration::from_secs(1);
const MEBIBYTE: u64 = 1 << 20;

/// A module with a handler, and whatever else chance brings.
fn module(seed: u64) -> Vec<u8> {
    let handler = r#"(module (func (export "handle") (param i32 i32) unreachable))"#;
    let config = Config {
        exports: Some(wat::parse_str(handler).unwrap()),
        max_imports: 0,
        max_instructions: 2_000,
        // Off in this host's engine: modules with them are refused, which other tests show.
        exceptions_enabled: false,
        gc_enabled: false,
        reference_types_enabled: false,
        threads_enabled: false,
        ..Config::default()
    };
    let mut bytes = vec![0; SEED_BYTES];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    Module::new(config, &mut Unstructured::new(&bytes)).unwrap().to_bytes()
}

/// The module as an HTTP component.
fn component(seed: u64) -> Vec<u8> {
    http_component(&wasmprinter::print_bytes(module(seed)).unwrap())
}

#[tokio::test]
async fn generated_components_are_refused_or_end_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = trigger("neighbour", "neighbour.test", "bare-http").yaml();
    for seed in 0..SEEDS {
        let name = format!("seed-{seed}");
        fs::write(folder.path().join(&name).with_extension("wasm"), component(seed)).unwrap();
        let timeout = format!("{}ms", TIMEOUT.as_millis());
        let workload = trigger(&name, &format!("{name}.test"), &name).namespace("hostile");
        manifest += &workload.timeout(&timeout).yaml();
    }
    write_application(folder.path(), &manifest);
    let host = Host::start_in(folder, Options::default());
    let neighbour = host.client("neighbour.test");
    let before = host.resident_bytes();

    let mut ran = 0;
    for seed in 0..SEEDS {
        let status = host.workload(&format!("seed-{seed}")).await;
        if status["state"] != "WORKLOAD_STATE_RUNNING" {
            let reason = status["reason"].as_str().unwrap();
            assert!(reason.contains("cannot be compiled"), "seed {seed}: {status}");
            continue;
        }
        ran += 1;
        let begun = Instant::now();
        let response = host.client(&format!("seed-{seed}.test")).get("/").send().await;
        let (took, kind) = (begun.elapsed(), response.header("x-roadstead-error").to_owned());
        let documented = match response.status {
            StatusCode::BAD_GATEWAY => {
                ["trap", "memory-limit", "stack-overflow", "no-response", "instantiation"].contains(&kind.as_str())
            }
            StatusCode::GATEWAY_TIMEOUT => kind == "deadline",
            _ => false,
        };
        assert!(documented, "seed {seed}: {} {kind}", response.status);
        assert!(took < TIMEOUT + GRACE, "seed {seed} took {took:?}");
        println!("seed {seed}: {} {kind} after {took:?}", response.status);
        assert_eq!(neighbour.get("/").send().await.status, StatusCode::OK, "after seed {seed}");
    }
    assert!(ran > SEEDS / 2, "only {ran} of {SEEDS} components ran");
    host.wait_for_metric("roadstead_instances", &[], 0.0).await;
    let grown = host.resident_bytes().saturating_sub(before);
    assert!(grown < 64 * MEBIBYTE, "the host keeps {grown} bytes");
}
