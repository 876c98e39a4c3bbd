//! The figures of a host's connection to its scheduler. What they mean for `/readyz` is not known here.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What a host counts of its control plane.
#[derive(Clone)]
pub(super) struct ControlMetrics {
    commands: IntCounterVec,
    pub(super) heartbeats: IntCounter,
    pub(super) connected: IntGauge,
    pub(super) lost: IntCounter,
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
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            commands: IntCounterVec::new(
                Opts::new(
                    "roadstead_control_commands_total",
                    "Commands of the scheduler, by command and how they ended.",
                ),
                &["command", "outcome"],
            )?,
            heartbeats: IntCounter::new("roadstead_heartbeats_total", "Heartbeats that were published.")?,
            connected: IntGauge::new(
                "roadstead_scheduler_connected",
                "Whether the connection to the scheduler's NATS server is there: 1 or 0.",
            )?,
            lost: IntCounter::new(
                "roadstead_scheduler_connections_lost_total",
                "Times that the connection to the scheduler's NATS server was lost.",
            )?,
        };
        registry.register(Box::new(metrics.commands.clone()))?;
        registry.register(Box::new(metrics.heartbeats.clone()))?;
        registry.register(Box::new(metrics.connected.clone()))?;
        registry.register(Box::new(metrics.lost.clone()))?;
        Ok(metrics)
    }

    /// Counts a command.
    pub(super) fn command(&self, command: &str, outcome: Outcome) {
        self.commands.with_label_values(&[command, outcome.label()]).inc();
    }
}
