//! `/v1/workloads`, `/v1/triggers`, `/v1/hosts` and `/v1/events`: what runs, how it fares, and why not. JSON whose field
//! names are stable within v1. No setting, no secret and no body is told.

use http::StatusCode;
use roadstead_runtime::{
    ConditionStatus, WorkloadId,
    host::{Host, WorkloadSummary},
};
use serde::Serialize;
use serde_json::json;

use super::routes::{Answer, Asked, json as answer_json, text};

/// Events that are told at once.
const EVENTS_MAX: usize = 1_000;
/// The same when nobody says how many.
const EVENTS_DEFAULT: usize = 200;

/// A list of things.
#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
}

/// A trigger's routes and whether it answers.
#[derive(Serialize)]
struct TriggerRow<'a> {
    namespace: &'a str,
    name: &'a str,
    host: &'a str,
    paths: &'a [String],
    timeout_ms: u128,
    ready: ConditionStatus,
    reason: &'static str,
    message: &'a str,
}

pub(super) fn list(asked: &Asked<'_>) -> Answer {
    answer_json(StatusCode::OK, &Items { items: summaries(asked) })
}

/// The workloads, those of one namespace where `namespace` says so.
fn summaries(asked: &Asked<'_>) -> Vec<WorkloadSummary> {
    let namespace: Option<String> = asked.parameter("namespace");
    let mut all = asked.state.host.summaries();
    all.retain(|workload| namespace.as_ref().is_none_or(|wanted| *wanted == workload.status.namespace));
    all
}

pub(super) fn one(asked: &Asked<'_>) -> Answer {
    let id = asked.rest.split_once('/').and_then(|(namespace, name)| id_of(namespace, name));
    match id.and_then(|id| asked.state.host.report(&id)) {
        Some(report) => answer_json(StatusCode::OK, &report),
        None => not_there(),
    }
}

/// A workload's name, where both parts are names.
pub(super) fn id_of(namespace: &str, name: &str) -> Option<WorkloadId> {
    Some(WorkloadId { namespace: namespace.parse().ok()?, name: name.parse().ok()? })
}

pub(super) fn not_there() -> Answer {
    text(StatusCode::NOT_FOUND, "there is no such workload on this host; /v1/workloads lists those that there are\n")
}

pub(super) fn triggers(asked: &Asked<'_>) -> Answer {
    let workloads = summaries(asked);
    let row = |workload: &'_ WorkloadSummary| -> Option<serde_json::Value> {
        let (trigger, ready) = (workload.status.trigger.as_ref()?, workload.conditions.first()?);
        let row = TriggerRow {
            namespace: &workload.status.namespace,
            name: &workload.status.name,
            host: &trigger.host,
            paths: &trigger.paths,
            timeout_ms: trigger.timeout_ms,
            ready: ready.status,
            reason: ready.reason,
            message: &ready.message,
        };
        serde_json::to_value(row).ok()
    };
    answer_json(StatusCode::OK, &Items { items: workloads.iter().filter_map(row).collect() })
}

/// This host alone: a list, as of the other kinds.
pub(super) fn hosts(asked: &Asked<'_>) -> Answer {
    answer_json(StatusCode::OK, &Items { items: vec![host(&asked.state.host)] })
}

fn host(host: &Host) -> serde_json::Value {
    let status = host.status();
    let not_ready = host.not_ready();
    json!({
        "name": status.name,
        "version": status.version,
        "uptime_s": status.uptime_s,
        "ready": not_ready.is_empty(),
        "reasons": not_ready,
        "http_address": status.http_address,
        "https_address": status.https_address,
        "workloads": status.workloads.len(),
        "plugins": status.plugins,
        "interfaces": status.interfaces,
    })
}

pub(super) fn events(asked: &Asked<'_>) -> Answer {
    let count = asked.parameter("limit").unwrap_or(EVENTS_DEFAULT).min(EVENTS_MAX);
    let namespace: Option<String> = asked.parameter("namespace");
    let mut items = asked.state.host.events(EVENTS_MAX);
    items.retain(|event| namespace.as_ref().is_none_or(|wanted| *wanted == event.namespace));
    let items = items.split_off(items.len().saturating_sub(count));
    answer_json(StatusCode::OK, &Items { items })
}
