//! What users are promised, tried on the real program with real peers. One binary, so that the engine is linked once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(
    unreachable_pub,
    clippy::needless_pass_by_value,
    reason = "the harness is written to be read at the place of its use"
)]

#[path = "../harness/harness.rs"]
mod harness;

mod access_log;
mod admin;
mod admin_access;
mod asking;
mod bad_input;
mod behind_envoy;
mod blobstore;
mod bounds;
mod cli;
mod clients;
mod compiling;
mod configuration;
mod deploy_files;
mod describe;
mod egress;
mod egress_faults;
mod embedding;
mod embedding_examples;
mod fairness;
mod faults;
mod fleet;
mod fleet_connections;
mod fleet_faults;
mod floods;
mod framing;
mod generated;
mod hostile;
mod image;
mod images;
mod keyvalue;
mod languages;
mod leftovers;
mod lifetimes;
mod lying_registry;
mod main_job;
mod messaging;
mod messaging_coverage;
mod metrics;
mod nats;
mod nats_faults;
mod neighbours;
mod new_project;
mod operator_limits;
mod outcomes;
mod postgres;
mod postgres_faults;
mod prometheus;
mod reload;
mod scarcity;
mod secrets;
mod slow_attacks;
mod status_page;
mod stopping;
mod store_backends;
mod store_coverage;
mod store_faults;
mod streaming;
mod telemetry;
mod tenancy;
mod tls;
mod trigger_certificates;
mod two_hosts;
mod upgrade;
mod webgpu;
mod webgpu_abuse;
mod webgpu_coverage;
mod webgpu_limits;
