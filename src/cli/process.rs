//! What every command that serves has in common: its runtime, its signals, how its end becomes an exit code. What it
//! serves is not known here.

mod orphans;

use std::{error::Error, future::Future, io, process::ExitCode, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::fail;

/// The signal by which the host is told to stop.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told {
    Interrupt,
    Terminate,
}

/// How a host ended that did not fail.
pub(super) enum Ended {
    /// As it was told to.
    Stopped,
    /// Told again, it did not wait for what was under way: shells name that by 128 and the signal's number.
    AtOnce(Told),
}

#[derive(Debug, thiserror::Error)]
#[error("the runtime cannot be started")]
struct RuntimeError(#[source] io::Error);

/// Runs `work` to its end and makes an exit code of it.
pub(super) fn run<E: Error + 'static>(work: impl Future<Output = Result<Ended, E>>) -> ExitCode {
    raise_descriptors();
    // The one TLS provider of the process; that another is installed already cannot be.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(RuntimeError) {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let ended = runtime.block_on(async {
        orphans::reap_if_first();
        work.await
    });
    // What is left is not worth a wait, during which nobody would listen for a signal: a file that is being read, a
    // component that is being loaded, a guest that computes.
    runtime.shutdown_background();
    match ended {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::AtOnce(Told::Interrupt)) => ExitCode::from(130),
        Ok(Ended::AtOnce(Told::Terminate)) => ExitCode::from(143),
        Err(error) => fail(&error),
    }
}

/// Who was told to stop a second time does not wait any more.
pub(super) fn at_once(told: Told) -> Ended {
    tracing::warn!("told to stop again: ending at once");
    Ended::AtOnce(told)
}

/// The signals by which a host is told to stop.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes them from now on.
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Returns at the next one.
    pub(super) async fn told_to_stop(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Interrupt,
            _ = self.terminate.recv() => Told::Terminate,
        }
    }
}

/// Lets the process have as many files and sockets open as it may: what it is given at first is meant for programs that
/// cannot deal with more.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, current = limit.current, "the number of open files stays as it is");
    }
}

/// Tells who started this process, where that wants to know (NOTIFY_SOCKET).
pub(super) fn tell_service_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// As limits count time.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
