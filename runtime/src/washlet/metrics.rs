//! The figures of a host's connection to its scheduler. What they mean for `/readyz` is not known here.

use std::sync::Arc;

use roadstead_metrics::{
    Counter, CounterBy, Error, Gauge, Metrics, Slots,
    catalogue::{CONTROL_COMMANDS, HEARTBEATS, SCHEDULER_CONNECTED, SCHEDULER_LOST},
};

/// The words of the label `command`.
const COMMANDS: &[&str] = &["start", "stop", "status", "heartbeat"];

/// What a host counts of its control plane.
#[derive(Clone)]
pub(super) struct ControlMetrics {
    commands: Arc<Slots<CounterBy>>,
    pub(super) heartbeats: Counter,
    pub(super) connected: Gauge,
    pub(super) lost: Counter,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done.
    Done,
    /// It was well formed and was not done.
    Failed,
    /// It was no message of the protocol, or no workload.
    Malformed,
    /// There are as many under way as there may be.
    Busy,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
        }
    }
}

impl ControlMetrics {
    pub(super) fn new(metrics: &Metrics) -> Result<Self, Error> {
        let (family, commands) = (metrics.counters_by(&CONTROL_COMMANDS)?, Slots::new(COMMANDS));
        for command in COMMANDS {
            let _ = commands.of(command, |command| family.with([command], &[]));
        }
        Ok(Self {
            commands: Arc::new(commands),
            heartbeats: metrics.counters(&HEARTBEATS)?.with([]),
            connected: metrics.gauges(&SCHEDULER_CONNECTED)?.with([]),
            lost: metrics.counters(&SCHEDULER_LOST)?.with([]),
        })
    }

    /// Counts a command.
    pub(super) fn command(&self, command: &str, outcome: Outcome) {
        // Made when this was.
        if let Some(counter) = self.commands.get(command) {
            counter.inc(outcome.label());
        }
    }
}
