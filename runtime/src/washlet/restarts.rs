//! What becomes of a service whose run has ended: it is started again after a pause, has done its work, or has failed for
//! good. It decides only; it starts nothing and knows no clock but the one that it is told.

use std::time::Duration;

/// First and longest pause before a service is started again; it doubles from one to the next.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A run of this length is a success: the next pause is the first one again. What counts towards `maxRestarts` stays.
const HEALTHY_TIME: Duration = Duration::from_secs(60);

/// How a run of a service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// `wasi:cli/run` returned ok.
    Clean,
    /// It returned an error, trapped, or could not be started.
    Failed,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterExit {
    /// Start it again after this time.
    RestartAfter(Duration),
    /// It has done its work: `WORKLOAD_STATE_COMPLETED`.
    Completed,
    /// It has been started again as often as it may: `WORKLOAD_STATE_ERROR`.
    GivenUp,
}

/// The restarts of one service.
#[derive(Debug, Clone)]
pub struct Restarts {
    max: u64,
    used: u64,
    /// Failures in a row.
    failures: u32,
}

impl Restarts {
    /// For a service that may be started again `max` times (`maxRestarts`).
    pub fn new(max: u64) -> Self {
        Self { max, used: 0, failures: 0 }
    }

    /// How often it has been started again.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// A run of the length `ran` has ended.
    pub fn ended(&mut self, exit: Exit, ran: Duration) -> AfterExit {
        match exit {
            Exit::Clean => return AfterExit::Completed,
            Exit::Failed if self.used == self.max => return AfterExit::GivenUp,
            Exit::Failed => self.used += 1,
        }
        if ran >= HEALTHY_TIME {
            self.failures = 0;
        }
        let doublings = self.failures.min(RESTART_PAUSE.1.as_secs().ilog2() + 1);
        self.failures = self.failures.saturating_add(1);
        AfterExit::RestartAfter((RESTART_PAUSE.0 * 2_u32.pow(doublings)).min(RESTART_PAUSE.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(10);

    fn pauses(restarts: &mut Restarts, ran: &[Duration]) -> Vec<u64> {
        let pause = |ran: &Duration| match restarts.ended(Exit::Failed, *ran) {
            AfterExit::RestartAfter(pause) => pause.as_secs(),
            other => panic!("{other:?}"),
        };
        ran.iter().map(pause).collect()
    }

    #[test]
    fn a_clean_end_completes_whatever_was_before() {
        assert_eq!(Restarts::new(0).ended(Exit::Clean, SHORT), AfterExit::Completed);
        let mut restarts = Restarts::new(3);
        pauses(&mut restarts, &[SHORT; 2]);
        assert_eq!(restarts.ended(Exit::Clean, SHORT), AfterExit::Completed);
        assert_eq!(restarts.used(), 2);
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut restarts = Restarts::new(u64::MAX);
        assert_eq!(pauses(&mut restarts, &[SHORT; 9]), [1, 2, 4, 8, 16, 32, 60, 60, RESTART_PAUSE.1.as_secs()]);
    }

    #[test]
    fn a_long_run_begins_the_pauses_anew() {
        let mut restarts = Restarts::new(u64::MAX);
        let nearly = HEALTHY_TIME - SHORT;
        assert_eq!(pauses(&mut restarts, &[SHORT, SHORT, nearly, HEALTHY_TIME, SHORT]), [1, 2, 4, 1, 2]);
    }

    #[test]
    fn so_many_restarts_and_no_more() {
        assert_eq!(Restarts::new(0).ended(Exit::Failed, SHORT), AfterExit::GivenUp);
        let mut restarts = Restarts::new(2);
        pauses(&mut restarts, &[SHORT, HEALTHY_TIME]);
        for _ in 0..3 {
            assert_eq!(restarts.ended(Exit::Failed, HEALTHY_TIME), AfterExit::GivenUp);
        }
        assert_eq!(restarts.used(), 2);
    }
}
