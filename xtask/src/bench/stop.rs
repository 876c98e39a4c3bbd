//! Ctrl-C and SIGTERM: a measurement that is told to stop still ends its servers and removes its folder.

use anyhow::{Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Whether someone wants us to stop.
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes the two signals from now on.
    pub(crate) fn on_signals() -> Result<Self> {
        let told = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, told.clone())?;
        }
        Ok(Self(told))
    }

    /// # Errors
    /// When a signal came.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("told to stop before the measurement was complete");
        }
        Ok(())
    }

    /// Sleeps until `when`.
    ///
    /// # Errors
    /// At once when a signal comes.
    pub(crate) fn sleep_until(&self, when: Instant) -> Result<()> {
        loop {
            self.check()?;
            match when.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => thread::sleep(left.min(LOOK_INTERVAL)),
                _ => return Ok(()),
            }
        }
    }
}
