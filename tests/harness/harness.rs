//! What the integration tests are written with: real hosts, real servers, clients that speak as a user's would.
//!
//! Everything is started on a port of its own with its data in a temporary folder, and ends with the test.

pub mod askers;
pub mod browser;
pub mod certificates;
pub mod client;
pub mod collector;
pub mod components;
pub mod envoy;
pub mod fault_proxy;
pub mod gpu;
pub mod guest_toolchain;
pub mod guests;
pub mod host;
pub mod image;
pub mod lying_registry;
pub mod manifest;
pub mod nats;
pub mod nats_accounts;
pub mod operator;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod registry;
pub mod secrets;
pub mod stores;
pub mod upstream;

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Longest wait for anything that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` gives something; the test fails when that takes too long.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
