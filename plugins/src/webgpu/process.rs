//! The GPU process, seen from the host: started, watched over, started again, and asked for sessions. Whatever becomes
//! of it, the host goes on; all who wait for it are told.

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use roadstead_config::Limits;
use roadstead_gpu_wire::{
    control::{AdapterFacts, FromHost, FromProcess, Overrun, SessionId, SessionOrders, receive, send},
    reply::Lost,
    shared::SharedMemory,
};
use roadstead_runtime::{BackendHealth, WorkloadId, error_text};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::{
    io::{AsyncRead, AsyncReadExt, unix::AsyncFd},
    net::UnixStream,
    process::{Child, ChildStderr, Command},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::{
    metrics::GpuMetrics,
    owner::{GpuOwner, Records},
    session::{DeviceState, Loss, Session, WorkInHand},
};

/// Bytes of what the process prints that are read at once.
const SAID_BYTES_MAX: usize = 4_096;

/// Time that the process has to say what adapter it has.
const START: Duration = Duration::from_secs(30);

/// First and longest pause before a process that ended is started again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// A process that lived so long begins with the shortest pause again.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// Time that the process has to end by itself when the host stops.
const STOP: Duration = Duration::from_secs(2);

/// The program that serves a GPU: see `roadstead_gpu::serve`, which is to be called by it with its standard input as the
/// control socket and the limits that its arguments name.
#[derive(Debug, Clone)]
pub struct GpuProgram {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl GpuProgram {
    /// The program at `path`, started with `arguments`, and after them `--limit NAME=VALUE` for each limit that differs
    /// from its default. Of the environment it sees nothing but `environment`, with what drivers are found by.
    pub fn new(
        path: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        Self {
            path: path.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: environment.into_iter().collect(),
        }
    }
}

/// Why there is no GPU.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error("the GPU process cannot be started")]
    Start(#[source] io::Error),
    #[error("there is no GPU to be used: {0}")]
    NoAdapter(String),
    #[error("the GPU process ended before it said what it has: {0}")]
    Ended(String),
    #[error("the GPU process did not say within {} s what it has", START.as_secs())]
    Silent,
}

/// Why a session cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("the host has no socket or memory for it: {0}")]
    System(#[from] io::Error),
    #[error("the GPU process is gone")]
    Gone,
}

/// A process that serves.
struct Running {
    child: Child,
    control: Arc<AsyncFd<OwnedFd>>,
    facts: Arc<AdapterFacts>,
}

/// What is known of a session while it lives.
struct Registered {
    owner: Arc<GpuOwner>,
    state: watch::Sender<DeviceState>,
    work: Option<Arc<WorkInHand>>,
    /// What tells the instance that its device is gone.
    instance: Option<Arc<BackendHealth>>,
}

/// The GPU of a host.
pub(super) struct Gpu {
    program: GpuProgram,
    limits: Arc<Limits>,
    facts: Arc<AdapterFacts>,
    /// The control socket of the process that serves now; none while it is started anew.
    control: watch::Sender<Option<Arc<AsyncFd<OwnedFd>>>>,
    sessions: Mutex<HashMap<SessionId, Registered>>,
    next_session: AtomicU64,
    pub(super) records: Records,
    pub(super) metrics: GpuMetrics,
    stopping: CancellationToken,
    stopped: CancellationToken,
}

impl Gpu {
    /// Starts the process, and the task that looks after it.
    ///
    /// # Errors
    /// When it does not start, or has no adapter.
    pub(super) async fn start(
        program: GpuProgram,
        limits: Arc<Limits>,
        metrics: GpuMetrics,
    ) -> Result<Arc<Self>, GpuError> {
        let running = begin(&program, &limits).await?;
        let gpu = Arc::new(Self {
            program,
            limits,
            facts: running.facts.clone(),
            control: watch::Sender::new(Some(running.control.clone())),
            sessions: Mutex::default(),
            next_session: AtomicU64::new(1),
            records: Records::default(),
            metrics,
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
        });
        tokio::spawn(gpu.clone().supervise(running));
        Ok(gpu)
    }

    /// What the adapter is and can do.
    pub(super) fn facts(&self) -> &Arc<AdapterFacts> {
        &self.facts
    }

    /// The limits that the process has as well.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the process serves now.
    pub(super) fn is_up(&self) -> bool {
        self.control.borrow().is_some()
    }

    /// Ends the process, and waits until it is gone.
    pub(super) async fn stop(&self) {
        self.stopping.cancel();
        let _ = tokio::time::timeout(2 * STOP, self.stopped.cancelled()).await;
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Registered>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why a workload gets no GPU any more, if it does not.
    pub(super) fn condemns(&self, workload: &WorkloadId) -> Option<String> {
        let (ended, max) = (self.records.ended(workload), self.limits.gpu_crashes_max);
        (ended >= max).then(|| {
            format!(
                "it ended the GPU process {ended} times (gpu_crashes_max) and gets no GPU until it is deployed anew"
            )
        })
    }

    /// An instance is to be told when the device of its session is gone.
    pub(super) fn watch(&self, session: SessionId, instance: Arc<BackendHealth>) {
        if let Some(registered) = self.sessions().get_mut(&session) {
            registered.instance = Some(instance);
        }
    }

    /// A session has no holder any more.
    pub(super) fn forget(&self, session: SessionId) {
        self.sessions().remove(&session);
        self.metrics.sessions.set(i64::try_from(self.sessions().len()).unwrap_or(i64::MAX));
    }

    /// Opens a session for a workload. Waits while the process is started anew.
    ///
    /// # Errors
    /// When there is no process any more, or the host has no means.
    pub(super) async fn open(self: &Arc<Self>, owner: &Arc<GpuOwner>) -> Result<Arc<Session>, SessionError> {
        let mut control = self.control.subscribe();
        let control = control.wait_for(Option::is_some).await.map_err(|_| SessionError::Gone)?.clone();
        let control = control.ok_or(SessionError::Gone)?;
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        let memory = SharedMemory::new()?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let state = watch::Sender::new(DeviceState::default());
        let registered = Registered { owner: owner.clone(), state: state.clone(), work: None, instance: None };
        self.sessions().insert(id, registered);
        let session = Arc::new(Session::new(id, owner.clone(), UnixStream::from_std(ours)?, memory, state));
        if let Some(registered) = self.sessions().get_mut(&id) {
            registered.work = Some(session.work.clone());
        }
        self.metrics.sessions.set(i64::try_from(self.sessions().len()).unwrap_or(i64::MAX));
        let orders = SessionOrders {
            session: id,
            tenant: owner.workload.namespace.to_string(),
            workload: owner.key.clone(),
            alone: self.records.works_alone(&owner.workload),
        };
        let message = FromHost::Open(orders);
        loop {
            let mut ready = control.writable().await?;
            let sent =
                ready.try_io(|control| send(control.get_ref(), &message, &[theirs.as_fd(), session.memory_file()]));
            match sent {
                Ok(Ok(())) => return Ok(session),
                Ok(Err(_)) => return Err(SessionError::Gone),
                Err(_) => {}
            }
        }
    }

    /// Looks after the process until the host stops.
    async fn supervise(self: Arc<Self>, mut running: Running) {
        let mut pause = PAUSE.0;
        loop {
            let began = std::time::Instant::now();
            let overran = tokio::select! {
                overran = self.listen(&running.control) => overran,
                () = self.stopping.cancelled() => {
                    self.end(running).await;
                    return self.stopped.cancel();
                }
            };
            self.control.send_replace(None);
            let status = ended(&mut running.child).await;
            drop(running);
            self.account_for(overran, &status);
            if began.elapsed() >= LONG_LIFE {
                pause = PAUSE.0;
            }
            running = loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.stopping.cancelled() => return self.stopped.cancel(),
                }
                pause = (2 * pause).min(PAUSE.1);
                match begin(&self.program, &self.limits).await {
                    Ok(running) => break running,
                    Err(error) => {
                        tracing::error!(reason = error_text(&error), "the GPU process cannot be started again")
                    }
                }
            };
            self.control.send_replace(Some(running.control.clone()));
            tracing::info!(adapter = running.facts.info.name, "the GPU process serves again");
        }
    }

    /// Ends a process: its control socket is closed, and when that does not do it, it is killed.
    async fn end(&self, running: Running) {
        self.control.send_replace(None);
        let Running { mut child, control, .. } = running;
        drop(control);
        if tokio::time::timeout(STOP, child.wait()).await.is_err() {
            // Fails only when it has ended meanwhile.
            let _ = child.kill().await;
        }
    }

    /// Hears what the process says until it says nothing more; the session that took too long, if that was why.
    async fn listen(&self, control: &AsyncFd<OwnedFd>) -> Option<(SessionId, Overrun)> {
        let mut overran = None;
        loop {
            let Ok(mut ready) = control.readable().await else { return overran };
            let message = match ready.try_io(|control| receive::<FromProcess>(control.get_ref())) {
                Ok(Ok(Some((message, _)))) => message,
                Ok(_) => return overran,
                Err(_) => continue,
            };
            match message {
                FromProcess::Ran { session, waited_us, ran_us } => self.note_ran(session, waited_us, ran_us),
                FromProcess::Holds { memory_bytes, objects } => self.metrics.holds(memory_bytes, objects),
                FromProcess::Overran { session, what } => overran = Some((session, what)),
                FromProcess::Closed(_) | FromProcess::Ready(_) | FromProcess::NoAdapter(_) => {}
            }
        }
    }

    fn note_ran(&self, session: SessionId, waited_us: u64, ran_us: u64) {
        let sessions = self.sessions();
        let Some(registered) = sessions.get(&session) else { return };
        if let Some(work) = &registered.work {
            work.note_ran();
        }
        registered.owner.series.ran(waited_us, ran_us);
    }

    /// The process has ended: finds out whose doing it was, and tells all sessions.
    fn account_for(&self, overran: Option<(SessionId, Overrun)>, status: &io::Result<ExitStatus>) {
        let sessions = std::mem::take(&mut *self.sessions());
        let mut at_work: Vec<WorkloadId> = match overran {
            Some((session, _)) => {
                sessions.get(&session).map(|registered| registered.owner.workload.clone()).into_iter().collect()
            }
            None => {
                let busy = |registered: &&Registered| registered.work.as_ref().is_some_and(|work| work.is_any());
                sessions.values().filter(busy).map(|registered| registered.owner.workload.clone()).collect()
            }
        };
        at_work.sort();
        at_work.dedup();
        self.records.note(&at_work);
        let how = match (overran, status) {
            (Some((_, Overrun::Compile)), _) => {
                format!("a compilation took longer than {} ms (gpu_compile_ms_max)", self.limits.gpu_compile_ms_max)
            }
            (Some((_, Overrun::Run)), _) => {
                format!("a submit ran longer than {} ms (gpu_run_ms_max)", self.limits.gpu_run_ms_max)
            }
            (None, Ok(status)) => format!("the driver or the graphics library failed ({status})"),
            (None, Err(error)) => format!("it was lost ({error})"),
        };
        let suspects: Vec<String> = at_work.iter().map(ToString::to_string).collect();
        tracing::error!(reason = how, at_work = suspects.join(", "), "the GPU process ended; it is started again");
        self.metrics.resets.inc();
        for registered in sessions.values() {
            let own = at_work == [registered.owner.workload.clone()];
            let message = if own {
                format!("the GPU was reset: {how}")
            } else {
                "the GPU was reset; it was no fault of this workload that is known".to_owned()
            };
            if let Some(instance) = &registered.instance {
                instance.lose(!own);
            }
            registered.state.send_modify(|state| {
                state.loss.get_or_insert(Loss { lost: Lost { destroyed: false, message }, by_others: !own });
            });
        }
        self.metrics.sessions.set(0);
    }
}

/// Waits for a process whose control socket is closed.
async fn ended(child: &mut Child) -> io::Result<ExitStatus> {
    match tokio::time::timeout(STOP, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            // Fails only when it has ended meanwhile.
            let _ = child.kill().await;
            child.wait().await
        }
    }
}

/// Starts a process, and waits for what it says first.
async fn begin(program: &GpuProgram, limits: &Limits) -> Result<Running, GpuError> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|error| GpuError::Start(error.into()))?;
    rustix::io::ioctl_fionbio(&ours, true).map_err(|error| GpuError::Start(error.into()))?;
    let mut command = Command::new(&program.path);
    command
        .arg0("roadstead")
        .args(&program.arguments)
        .args(limits.changed().flat_map(|setting| ["--limit".to_owned(), setting.to_string()]))
        .env_clear()
        .envs(program.environment.iter().cloned())
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(GpuError::Start)?;
    drop(command);
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(relay(stderr));
    }
    let control = registered(ours).map_err(GpuError::Start)?;
    let first = tokio::time::timeout(START, first_message(&control)).await.map_err(|_| GpuError::Silent)?;
    match first {
        Some(FromProcess::Ready(facts)) => Ok(Running { child, control: Arc::new(control), facts: Arc::new(*facts) }),
        Some(FromProcess::NoAdapter(reason)) => Err(GpuError::NoAdapter(reason)),
        _ => {
            let status = ended(&mut child).await;
            Err(GpuError::Ended(status.map_or_else(|error| error.to_string(), |status| status.to_string())))
        }
    }
}

/// What the process and its driver print, as lines of the host's log; what is longer than a piece is cut there.
async fn relay(stderr: ChildStderr) {
    each_line(stderr, |line| tracing::warn!(said = line, "the GPU process")).await;
}

async fn each_line(mut from: impl AsyncRead + Unpin, mut tell: impl FnMut(&str)) {
    let mut piece = vec![0; SAID_BYTES_MAX];
    while let Ok(length) = from.read(&mut piece).await {
        if length == 0 {
            return;
        }
        let said = String::from_utf8_lossy(piece.get(..length).unwrap_or_default()).into_owned();
        said.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(&mut tell);
    }
}

#[expect(deprecated, reason = "what took its place is unsafe to call, and an owned descriptor stays open as it must")]
fn registered(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(socket)
}

async fn first_message(control: &AsyncFd<OwnedFd>) -> Option<FromProcess> {
    loop {
        let mut ready = control.readable().await.ok()?;
        if let Ok(received) = ready.try_io(|control| receive::<FromProcess>(control.get_ref())) {
            return received.ok().flatten().map(|(message, _)| message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_printed_is_told_in_lines_of_bounded_length() {
        let printed = format!("one\n\n  two \n{}", "x".repeat(3 * SAID_BYTES_MAX));
        let mut told = Vec::new();
        each_line(printed.as_bytes(), |line| told.push(line.to_owned())).await;
        assert_eq!(told[..2], ["one", "two"]);
        assert!(told.len() >= 5 && told.iter().all(|line| line.len() <= SAID_BYTES_MAX));
    }
}
