//! A host of a fleet from its start to its end: what is listened for, in which order it stops.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
};

use async_nats::connection::State;
use tokio::{
    task::JoinHandle,
    time::{Duration, Instant, timeout, timeout_at},
};

use super::{
    builder::{ClusterError, ClusterHost, random_hex},
    control::Control,
    heartbeat::{Identity, Pulse},
    json::Timestamp,
    machine::Machine,
};
use crate::host::Host;

/// Of the time for draining, what is kept for the last replies and the last heartbeat: a fraction, and the most.
const GOODBYE: (u32, Duration) = (4, Duration::from_secs(2));

/// Starts the host and begins to take commands.
///
/// What it gives back ends the host once it is awaited: commands are refused from then on, what is under way may finish
/// within `drain_timeout_ms`, and a last heartbeat is sent. Dropping it ends nothing.
///
/// # Errors
/// When the host cannot start, or its connection takes no subscription any more.
pub async fn run_cluster_host(cluster: ClusterHost) -> Result<ClusterShutdown, ClusterError> {
    let ClusterHost { group, name, environment, client, host } = cluster;
    let (machine, started) = (Machine::new(), Timestamp::now());
    let host = host.start().await?;
    let id = random_hex::<16>();
    let control = Arc::new(Control::new(host, id.clone(), client)?);
    let facts = Machine::facts();
    let identity = Identity { id: id.clone(), name: name.clone(), group: group.clone(), environment, started, facts };
    let pulse = Arc::new(Pulse::new(control.clone(), identity, machine));

    let listen = async |subject: String| {
        let subscribed = control.client.subscribe(subject.clone()).await;
        subscribed.map_err(|source| ClusterError::Subscribe { subject, source })
    };
    let starts = listen(format!("runtime.host.{id}.workload.start")).await?;
    let stops = listen(format!("runtime.host.{id}.workload.stop")).await?;
    let statuses = listen(format!("runtime.host.{id}.workload.status")).await?;
    let questions = listen(format!("runtime.host.{id}.heartbeat")).await?;
    control.listeners.spawn(control.clone().serve_starts(starts));
    control.listeners.spawn(control.clone().serve_stops(stops));
    control.listeners.spawn(control.clone().serve_statuses(statuses));
    control.listeners.spawn(pulse.clone().serve(questions));
    // On one connection the server sees the subscriptions before the heartbeat that makes the host known.
    let beating = tokio::spawn(pulse.clone().beat());
    tracing::info!(id, name, group, "host of a fleet: waiting for commands");
    Ok(ClusterShutdown { control, pulse, beating })
}

/// What of a drain's time is kept for the goodbye.
fn goodbye(limit: Duration) -> Duration {
    (limit / GOODBYE.0).min(GOODBYE.1)
}

/// A host of a fleet that runs. Await it to end it.
#[must_use = "the host runs until this is awaited"]
pub struct ClusterShutdown {
    control: Arc<Control>,
    pulse: Arc<Pulse>,
    beating: JoinHandle<()>,
}

impl ClusterShutdown {
    /// The host itself.
    pub fn host(&self) -> &Arc<Host> {
        &self.control.host
    }

    /// The id by which the scheduler knows the host; another one at each start.
    pub fn id(&self) -> &str {
        &self.control.id
    }

    /// Tells, whenever it is asked, why the scheduler cannot be reached; `None` while it can.
    pub fn scheduler_lost(&self) -> impl Fn() -> Option<&'static str> + Send + Sync + use<> {
        let client = self.control.client.clone();
        move || match client.connection_state() {
            State::Connected => None,
            State::Pending | State::Disconnected => {
                Some("the connection to the scheduler is lost; workloads go on, and it is tried again")
            }
        }
    }

    /// Ends the host within `limit`; returns how many requests were cut off.
    pub async fn stop(self, limit: Duration) -> usize {
        let Self { control, pulse, beating } = self;
        let until = Instant::now() + limit;
        let goodbye = goodbye(limit);
        control.refusing.cancel();
        control.host.refuse_starts();
        // It ends at the same sign; a heartbeat of its own after the last one would be one too many.
        let _ = beating.await;
        let cut_off = control.host.stop(limit.saturating_sub(goodbye)).await;
        control.tasks.close();
        let replied = Instant::now() + goodbye / 2;
        let _ = timeout_at(replied.min(until), control.tasks.wait()).await;
        pulse.publish().await;
        control.ended.cancel();
        control.listeners.close();
        let _ = timeout(goodbye / 4, control.listeners.wait()).await;
        let left = until.saturating_duration_since(Instant::now());
        if timeout(left.max(goodbye / 4), control.client.flush()).await.is_err() {
            tracing::warn!("the last heartbeat may not have reached the scheduler");
        }
        cut_off
    }
}

impl IntoFuture for ClusterShutdown {
    type Output = Result<(), ClusterError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let limit = Duration::from_millis(self.control.host.limits().drain_timeout_ms);
        Box::pin(async move {
            self.stop(limit).await;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goodbye_has_a_part_of_the_time_and_no_more() {
        assert_eq!(goodbye(Duration::from_secs(30)), GOODBYE.1);
        assert_eq!(goodbye(Duration::from_secs(4)), Duration::from_secs(1));
        assert_eq!(goodbye(Duration::ZERO), Duration::ZERO);
    }
}
