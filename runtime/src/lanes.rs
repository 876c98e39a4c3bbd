//! Two lanes for the work of guests. A call begins in the task that waits for it, which costs nothing; a call that keeps
//! its thread for long goes on in the background lane, whose threads come second to all others, so that calls that are
//! soon done do not queue behind it. It knows neither what is called nor why.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// How much the background lane gives way on a core that others want too: a thread with this `nice` value gets about a
/// tenth of it (sched(7)). All of what is left over is its own.
const BACKGROUND_NICE: i32 = 10;
/// Calls of a component that begin in the background lane after one that was long.
const CALLS_REMEMBERED: u32 = 32;

thread_local! {
    /// When the guest that this thread runs was last resumed, and whether it has run for long since.
    static RESUMED: Cell<Option<(Instant, bool)>> = const { Cell::new(None) };
}

/// The threads of the background lane, as many as there are cores.
pub(crate) struct BackgroundLane {
    handle: Handle,
    /// `None` once dropped.
    runtime: Option<Runtime>,
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
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
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

/// What is known of how long a component's calls run.
#[derive(Debug)]
pub(crate) struct LongRuns {
    /// A guest that was not interrupted for this long has run for long.
    after: Duration,
    remembered: AtomicU32,
}

impl LongRuns {
    /// `tick` is the time between two looks at a running guest.
    pub(crate) fn new(tick: Duration) -> Self {
        Self { after: tick / 2, remembered: AtomicU32::new(0) }
    }

    /// Looks at the guest that this thread runs; true when it has run for long.
    pub(crate) fn look(&self) -> bool {
        let long = RESUMED.get().is_some_and(|(since, _)| since.elapsed() >= self.after);
        if long {
            RESUMED.set(RESUMED.get().map(|(since, _)| (since, true)));
            self.remembered.store(CALLS_REMEMBERED, Ordering::Relaxed);
        }
        long
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
    background: Handle,
}

enum Place<T> {
    Here(BoxFuture<'static, T>),
    Background(AbortOnDropHandle<T>),
    Over,
}

impl<T: Send + 'static> InLane<T> {
    pub(crate) fn new(lane: &BackgroundLane, runs: &LongRuns, task: impl Future<Output = T> + Send + 'static) -> Self {
        let background = lane.handle.clone();
        let place = match runs.expected() {
            true => Place::Background(move_to(&background, Box::pin(task))),
            false => Place::Here(Box::pin(task)),
        };
        Self { place, background }
    }
}

impl<T: Send + 'static> Future for InLane<T> {
    type Output = Result<T, LaneError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Place::Here(task) = &mut this.place {
            let (polled, long) = watched(|| task.as_mut().poll(cx));
            if polled.is_ready() || !long {
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

fn move_to<T: Send + 'static>(background: &Handle, mut task: BoxFuture<'static, T>) -> AbortOnDropHandle<T> {
    let watched = std::future::poll_fn(move |cx| watched(|| task.as_mut().poll(cx)).0);
    AbortOnDropHandle::new(background.spawn(watched))
}

/// Polls a call with the clock running for [`LongRuns::look`]; also says whether it ran for long.
fn watched<T>(poll: impl FnOnce() -> Poll<T>) -> (Poll<T>, bool) {
    /// Puts back what was there, also after a panic.
    struct Restore(Option<(Instant, bool)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            RESUMED.set(self.0);
        }
    }
    let _outer = Restore(RESUMED.replace(Some((Instant::now(), false))));
    let polled = poll();
    (polled, RESUMED.get().is_some_and(|(_, long)| long))
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc, thread};

    use super::*;

    fn thread_name() -> String {
        thread::current().name().unwrap_or_default().to_owned()
    }

    /// Busy for `busy` in each of two polls; tells the threads of both.
    fn two_polls(runs: Arc<LongRuns>, busy: Duration) -> impl Future<Output = Vec<String>> + Send {
        let mut names = Vec::new();
        poll_fn(move |cx| {
            names.push(thread_name());
            let begun = Instant::now();
            while begun.elapsed() < busy {}
            runs.look();
            if names.len() < 2 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(std::mem::take(&mut names))
        })
    }

    #[tokio::test]
    async fn a_long_call_goes_on_in_the_background_and_its_successors_begin_there() {
        let lane = BackgroundLane::start().unwrap();
        let runs = Arc::new(LongRuns::new(Duration::from_millis(10)));
        let here = thread_name();
        let short = InLane::new(&lane, &runs, two_polls(runs.clone(), Duration::ZERO)).await.unwrap();
        assert_eq!(short, [here.clone(), here.clone()]);
        let long = InLane::new(&lane, &runs, two_polls(runs.clone(), Duration::from_millis(6))).await.unwrap();
        assert_eq!(long, [here.as_str(), "background"]);
        for _ in 0..CALLS_REMEMBERED {
            let next = InLane::new(&lane, &runs, two_polls(runs.clone(), Duration::ZERO)).await.unwrap();
            assert_eq!(next, ["background", "background"]);
        }
        let forgiven = InLane::new(&lane, &runs, two_polls(runs.clone(), Duration::ZERO)).await.unwrap();
        assert_eq!(forgiven, [here.clone(), here]);
    }

    #[tokio::test]
    async fn a_call_in_the_background_ends_when_it_is_dropped() {
        let lane = BackgroundLane::start().unwrap();
        let runs = Arc::new(LongRuns::new(Duration::ZERO));
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        let call = InLane::new(&lane, &runs, {
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
