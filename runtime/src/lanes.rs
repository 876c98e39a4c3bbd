//! Two lanes for the work of guests. A call begins in the task that waits for it, which costs nothing; a call that keeps
//! its thread for long goes on in the background lane, whose threads come second to all others, so that calls that are
//! soon done do not queue behind it. There tenants take turns. It knows neither what is called nor why.

mod turns;

use std::{
    cell::Cell,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use roadstead_config::Namespace;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::cpu::thread_time;
use turns::{Turn, Turns};

/// How much the background lane gives way on a core that others want too: a thread with this `nice` value gets about a
/// tenth of it (sched(7)). All of what is left over is its own.
const BACKGROUND_NICE: i32 = 10;
/// Calls of a component that begin in the background lane after one that was long.
const CALLS_REMEMBERED: u32 = 32;

/// Age at which the sample of the thread's processor time is taken anew: a system call, which most polls do without.
const SAMPLE_EVERY: Duration = Duration::from_millis(1);

thread_local! {
    /// The guest that this thread runs.
    static RESUMED: Cell<Option<Resumed>> = const { Cell::new(None) };
    /// At most [`SAMPLE_EVERY`] older than `RESUMED`.
    static SAMPLE: Cell<Option<Sample>> = const { Cell::new(None) };
}

/// What this thread has had of the processor at one moment.
#[derive(Clone, Copy)]
struct Sample {
    taken: Instant,
    had: Duration,
}

impl Sample {
    fn take() -> Self {
        Self { taken: Instant::now(), had: thread_time() }
    }

    /// What this thread has had of the processor since `since`, or less by what it stood still between `earlier` and
    /// then.
    fn processor_time_since(self, since: Instant, earlier: Self) -> Duration {
        let stood_still = (self.taken - earlier.taken).saturating_sub(self.had.saturating_sub(earlier.had));
        self.taken.duration_since(since).saturating_sub(stood_still)
    }
}

/// A guest that is being polled.
#[derive(Clone, Copy)]
struct Resumed {
    since: Instant,
    /// Processor time of its polls that lasted, the one under way included once it was looked at.
    ran: Duration,
    long: bool,
    /// A tick met it: it goes on as soon as it may.
    interrupted: bool,
}

/// The threads of the background lane, as many as there are cores.
pub(crate) struct BackgroundLane {
    handle: Handle,
    turns: Arc<Turns>,
    /// `None` once dropped.
    runtime: Option<Runtime>,
}

/// One tenant's way into the background lane.
pub(crate) struct Entrance {
    threads: Handle,
    turns: Arc<Turns>,
    tenant: Namespace,
}

impl BackgroundLane {
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("background")
            .on_thread_start(|| {
                // Without it the lane is one like the other.
                let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
            })
            // A poll here is a whole tick as a rule. What comes from outside, a call or the word that a wait is over, is
            // looked for after each, not after the usual sixty.
            .global_queue_interval(1)
            .event_interval(1)
            .enable_all()
            .build()?;
        let turns = Arc::new(Turns::new(runtime.metrics().num_workers()));
        Ok(Self { handle: runtime.handle().clone(), turns, runtime: Some(runtime) })
    }

    /// The way in for the calls of `tenant`.
    pub(crate) fn entrance(&self, tenant: &Namespace) -> Arc<Entrance> {
        Arc::new(Entrance { threads: self.handle.clone(), turns: self.turns.clone(), tenant: tenant.clone() })
    }
}

impl Drop for BackgroundLane {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last of a host may be dropped by one of the lane's own threads, which cannot wait for itself.
            runtime.shutdown_background();
        }
    }
}

/// What is known of how long a component's calls run. What counts is the processor's time, not the clock's: on a busy
/// machine a thread may stand still in the middle of the shortest call.
#[derive(Debug)]
pub(crate) struct LongRuns {
    /// A guest that has had so much of the processor has run for long.
    after: Duration,
    remembered: AtomicU32,
}

impl LongRuns {
    /// `tick` is the time between two looks at a running guest.
    pub(crate) fn new(tick: Duration) -> Self {
        Self { after: tick / 2, remembered: AtomicU32::new(0) }
    }

    /// Looks at the guest that this thread runs.
    pub(crate) fn look(&self) {
        let (Some(mut resumed), Some(sample)) = (RESUMED.get(), SAMPLE.get()) else { return };
        resumed.interrupted = true;
        RESUMED.set(Some(resumed));
        let now = Sample::take();
        let ran = now.processor_time_since(resumed.since, sample);
        // A tick may meet a guest that has just been resumed: many of these are not one that runs for long.
        if ran < self.after / 5 {
            return;
        }
        resumed.since = now.taken;
        resumed.ran = resumed.ran.saturating_add(ran);
        resumed.long = resumed.ran >= self.after;
        RESUMED.set(Some(resumed));
        SAMPLE.set(Some(now));
        if resumed.long {
            self.remembered.store(CALLS_REMEMBERED, Ordering::Relaxed);
        }
    }

    /// Whether the next call had better begin in the background.
    fn expected(&self) -> bool {
        // Read first: most components never run for long, and their calls share no written cache line.
        self.remembered.load(Ordering::Relaxed) > 0
            && self.remembered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// A panic in a call that ran in the background, or the end of the lane.
#[derive(Debug, thiserror::Error)]
#[error("the call was given up: {0}")]
pub struct LaneError(#[from] tokio::task::JoinError);

/// A call in one lane or the other. Dropped before its end, it is cancelled.
#[must_use = "a call does nothing unless it is waited for"]
pub struct InLane<T> {
    place: Place<T>,
    background: Arc<Entrance>,
    /// As in [`Resumed`].
    ran: Duration,
}

enum Place<T> {
    Here(BoxFuture<'static, T>),
    Background(AbortOnDropHandle<T>),
    Over,
}

impl<T: Send + 'static> InLane<T> {
    pub(crate) fn new(
        background: &Arc<Entrance>,
        runs: &LongRuns,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        let place = match runs.expected() {
            true => Place::Background(move_to(background, Box::pin(task))),
            false => Place::Here(Box::pin(task)),
        };
        Self { place, background: background.clone(), ran: Duration::ZERO }
    }
}

impl<T: Send + 'static> Future for InLane<T> {
    type Output = Result<T, LaneError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Place::Here(task) = &mut this.place {
            let (polled, was) = watched(&mut this.ran, || task.as_mut().poll(cx));
            if polled.is_ready() || !was.long {
                return polled.map(Ok);
            }
        }
        this.place = match std::mem::replace(&mut this.place, Place::Over) {
            Place::Here(task) => Place::Background(move_to(&this.background, task)),
            place => place,
        };
        match &mut this.place {
            Place::Background(handle) => Poll::Ready(ready!(Pin::new(handle).poll(cx)).map_err(LaneError)),
            Place::Here(_) | Place::Over => Poll::Pending,
        }
    }
}

fn move_to<T: Send + 'static>(background: &Entrance, mut task: BoxFuture<'static, T>) -> AbortOnDropHandle<T> {
    let mut ran = Duration::ZERO;
    let mut turn = Turn::new(&background.turns, &background.tenant);
    let in_turn = std::future::poll_fn(move |cx| {
        ready!(turn.poll_taken(cx));
        let (polled, was) = watched(&mut ran, || task.as_mut().poll(cx));
        turn.end(polled.is_pending() && was.interrupted, cx.waker());
        polled
    });
    AbortOnDropHandle::new(background.threads.spawn(in_turn))
}

/// How a guest has been while it was polled.
#[derive(Default)]
struct Was {
    long: bool,
    interrupted: bool,
}

/// Polls a call such that [`LongRuns::look`] sees how long it has run; also says how that was.
fn watched<T>(ran: &mut Duration, poll: impl FnOnce() -> Poll<T>) -> (Poll<T>, Was) {
    /// Puts back what was there, also after a panic.
    struct Restore(Option<Resumed>);
    impl Drop for Restore {
        fn drop(&mut self) {
            RESUMED.set(self.0);
        }
    }
    let since = Instant::now();
    if SAMPLE.get().is_none_or(|sample| since.duration_since(sample.taken) >= SAMPLE_EVERY) {
        SAMPLE.set(Some(Sample { taken: since, had: thread_time() }));
    }
    let begins = Resumed { since, ran: *ran, long: false, interrupted: false };
    let _outer = Restore(RESUMED.replace(Some(begins)));
    let polled = poll();
    let Some(resumed) = RESUMED.get() else { return (polled, Was::default()) };
    *ran = resumed.ran;
    (polled, Was { long: resumed.long, interrupted: resumed.interrupted })
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, thread};

    use super::*;

    fn lane() -> (BackgroundLane, Arc<Entrance>) {
        let lane = BackgroundLane::start().unwrap();
        let entrance = lane.entrance(&"team".parse().unwrap());
        (lane, entrance)
    }

    fn thread_name() -> String {
        thread::current().name().unwrap_or_default().to_owned()
    }

    /// Uses the processor for `busy` in each of some polls, and tells the thread of each.
    fn polls(runs: Arc<LongRuns>, count: usize, busy: Duration) -> impl Future<Output = Vec<String>> + Send {
        let mut names = Vec::new();
        poll_fn(move |cx| {
            names.push(thread_name());
            let begun = thread_time();
            while thread_time() - begun < busy {}
            runs.look();
            if names.len() < count {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(std::mem::take(&mut names))
        })
    }

    fn of_ticks_of_10_ms() -> Arc<LongRuns> {
        Arc::new(LongRuns::new(Duration::from_millis(10)))
    }

    #[tokio::test]
    async fn a_long_call_goes_on_in_the_background_and_its_successors_begin_there() {
        let (_lane, entrance) = lane();
        let runs = of_ticks_of_10_ms();
        let here = thread_name();
        let two_polls = |busy| InLane::new(&entrance, &runs, polls(runs.clone(), 2, busy));
        assert_eq!(two_polls(Duration::ZERO).await.unwrap(), [here.clone(), here.clone()]);
        assert_eq!(two_polls(Duration::from_millis(7)).await.unwrap(), [here.as_str(), "background"]);
        for _ in 0..CALLS_REMEMBERED {
            assert_eq!(two_polls(Duration::ZERO).await.unwrap(), ["background", "background"]);
        }
        assert_eq!(two_polls(Duration::ZERO).await.unwrap(), [here.clone(), here]);
    }

    #[tokio::test]
    async fn the_time_of_several_polls_counts_together() {
        let (_lane, entrance) = lane();
        let runs = of_ticks_of_10_ms();
        let here = thread_name();
        let names = InLane::new(&entrance, &runs, polls(runs.clone(), 3, Duration::from_millis(4))).await.unwrap();
        assert_eq!(names, [here.as_str(), &here, "background"]);
    }

    /// As a thread does that others keep from running.
    #[tokio::test]
    async fn a_call_whose_thread_stands_still_is_not_long() {
        let (_lane, entrance) = lane();
        let runs = of_ticks_of_10_ms();
        let stopped = {
            let runs = runs.clone();
            async move {
                thread::sleep(30 * SAMPLE_EVERY);
                runs.look();
            }
        };
        InLane::new(&entrance, &runs, stopped).await.unwrap();
        assert!(!runs.expected());
    }

    #[tokio::test]
    async fn a_call_in_the_background_ends_when_it_is_dropped() {
        let (_lane, entrance) = lane();
        let runs = Arc::new(LongRuns::new(Duration::ZERO));
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        let call = InLane::new(&entrance, &runs, {
            let runs = runs.clone();
            async move {
                let _held = held;
                runs.look();
                std::future::pending::<()>().await;
            }
        });
        let mut call = Box::pin(call);
        assert!(futures::poll!(call.as_mut()).is_pending());
        assert!(matches!(call.place, Place::Background(_)));
        drop(call);
        assert!(dropped.await.is_err());
    }

    #[tokio::test]
    async fn the_background_comes_second() {
        let lane = BackgroundLane::start().unwrap();
        let nice = lane.handle.spawn(async { rustix::process::getpriority_process(None) }).await.unwrap().unwrap();
        let here = rustix::process::getpriority_process(None).unwrap();
        // Who comes third already cannot come second.
        assert_eq!(nice, BACKGROUND_NICE.max(here));
    }
}
