//! The thread that looks after the others: what cannot be interrupted and takes too long ends the process, after the
//! host was told whose it was.

use std::{sync::Arc, thread, time::Duration};

use roadstead_gpu_wire::control::{FromProcess, Overrun};

use crate::{
    process::Process,
    turns::{UnderWay, Work},
};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A compilation that takes so many times as long as it may by the clock is stuck, whatever it computes.
const STUCK: u32 = 10;

/// Exit code of a process that ended itself because something took too long.
const OVERRAN: i32 = 3;

/// Starts the thread.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn start(process: Arc<Process>) -> std::io::Result<()> {
    thread::Builder::new().name("gpu-watch".to_owned()).spawn(move || watch(&process)).map(drop)
}

fn watch(process: &Process) {
    let mut told = (0, 0);
    loop {
        thread::sleep(LOOK_EVERY);
        if let Some(over) = process.turns.under_way().into_iter().find(|work| is_over(process, work)) {
            let what = if over.work == Work::Compile { Overrun::Compile } else { Overrun::Run };
            process.tell(&FromProcess::Overran { session: over.session, what });
            std::process::exit(OVERRAN);
        }
        let holds = process.accounts.held();
        if holds != told {
            told = holds;
            process.tell(&FromProcess::Holds { memory_bytes: holds.0, objects: holds.1 });
        }
    }
}

/// Whether something takes too long: a submit by the clock, a compilation by the processor's time, since that of a busy
/// machine is nobody's fault, and by the clock when it does nothing at all.
fn is_over(process: &Process, work: &UnderWay) -> bool {
    match work.work {
        Work::Run => work.for_ > Duration::from_millis(process.limits.run_ms_max),
        Work::Compile => {
            let max = Duration::from_millis(process.limits.compile_ms_max);
            let computed = || processor_time(work.thread.id()).unwrap_or(work.for_);
            work.for_ > max && (computed() > max || work.for_ > max * STUCK)
        }
    }
}

/// The processor's time that a thread of this process has had.
fn processor_time(thread: i32) -> Option<Duration> {
    let told = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    told.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
