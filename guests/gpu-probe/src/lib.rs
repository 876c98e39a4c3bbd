//! A worker for the tests: it plays a scenario on the GPU and tells what it saw.
//!
//! It exists so that each function of `wasi:webgpu` is called from a real component, in good order and in bad. It must not
//! know which test is asking. The message is JSON, `{"scenario": NAME}` with what else the scenario wants; the reply is
//! `{"saw": ..., "calls": [...]}`, or `failed` with the reason in the place of `saw` when something was not as WebGPU
//! defines it. `calls` are the functions of the interface that were called: see [`calls`]. `{"scenario": "list"}` tells the
//! names of all scenarios.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

#[macro_use]
mod calls;

mod abuse;
mod adapters;
mod binding;
mod bundles;
mod canvas;
mod compilation;
mod compute;
mod constants;
mod copies;
mod detector;
mod drawing;
mod errors;
mod labels;
mod lifetimes;
mod make;
mod mapping;
mod passes;
mod pipelines;
mod queries;
mod stage;
mod surfaces;
mod textures;

use serde_json::{Value, json};

wit_bindgen::generate!({
    path: ["../../wit/wasi-logging", "../../wit/wasi-webgpu", "../../wit/wasmcloud-messaging", "wit"],
    world: "roadstead:gpu-probe/gpu-probe",
    generate_all,
});

use exports::wasmcloud::messaging::handler::{BrokerMessage, Guest};
use wasi::webgpu::webgpu;
use wasmcloud::messaging::consumer;

/// What a scenario saw, or what was not as it should be.
type Saw = Result<Value, String>;

/// A scenario with its name; it is given the message.
type Scenario = (&'static str, fn(&Value) -> Saw);

/// What is well defined.
const SCENARIOS: [&[Scenario]; 15] = [
    adapters::SCENARIOS,
    binding::SCENARIOS,
    bundles::SCENARIOS,
    compilation::SCENARIOS,
    compute::SCENARIOS,
    constants::SCENARIOS,
    copies::SCENARIOS,
    drawing::SCENARIOS,
    errors::SCENARIOS,
    labels::SCENARIOS,
    mapping::SCENARIOS,
    passes::SCENARIOS,
    pipelines::SCENARIOS,
    queries::SCENARIOS,
    textures::SCENARIOS,
];

struct GpuProbe;

impl Guest for GpuProbe {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        let asked: Value = serde_json::from_slice(&message.body).map_err(|error| error.to_string())?;
        let name = asked.get("scenario").and_then(Value::as_str).unwrap_or_default();
        calls::forget();
        let reply = if name == "list" { list() } else { play(name, &asked)? };
        let Some(reply_to) = message.reply_to else { return Ok(()) };
        let body = serde_json::to_vec(&reply).map_err(|error| error.to_string())?;
        consumer::publish(&BrokerMessage { subject: reply_to, body, reply_to: None })
    }
}

export!(GpuProbe);

fn play(name: &str, asked: &Value) -> Result<Value, String> {
    let groups = SCENARIOS.into_iter().chain([surfaces::SCENARIOS, lifetimes::SCENARIOS]).chain(abuse::SCENARIOS);
    let found = groups.flatten().find(|(scenario, _)| *scenario == name);
    let (_, scenario) = found.ok_or_else(|| format!("the probe knows no scenario {name:?}"))?;
    let saw = scenario(asked);
    let calls = calls::made();
    match saw {
        Ok(saw) => Ok(json!({ "saw": saw, "calls": calls })),
        // Useful work that fails is no answer, as with any worker: a host may try it again.
        Err(reason) if lifetimes::SCENARIOS.iter().any(|(scenario, _)| *scenario == name) => Err(reason),
        Err(reason) => Ok(json!({ "failed": reason, "calls": calls })),
    }
}

/// The names of all scenarios, by kind: `defined` ones answer, `traps` end the component, `abuse` may do either.
fn list() -> Value {
    let names = |scenarios: &[&[Scenario]]| -> Vec<&str> {
        scenarios.iter().flat_map(|group| group.iter()).map(|(name, _)| *name).collect()
    };
    json!({
        "defined": names(&SCENARIOS),
        "traps": names(&[surfaces::SCENARIOS]),
        "abuse": names(&abuse::SCENARIOS),
    })
}

/// Fails unless both are equal.
#[allow(clippy::needless_pass_by_value, reason = "what is compared is made for it")]
fn expect<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(
    what: &str,
    found: T,
    wanted: U,
) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?} instead of {wanted:?}")) }
}

/// Fails unless it holds.
fn must(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("it does not hold that {what}")) }
}
