//! The process as a whole: it says what adapter it has, takes sessions from the control socket, gives each a thread,
//! and ends when the host is gone.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    thread,
};

use roadstead_gpu_wire::{
    control::{FromHost, FromProcess, GpuLimits, SessionOrders, receive, send},
    shared::SharedMemory,
};
use wgpu::Adapter;

use crate::{
    accounts::Accounts,
    adapters::{self, AdapterChoice},
    panics,
    session::Session,
    turns::Turns,
    watch,
};

/// Native stack of a session's thread. Shaders are compiled on a larger one.
const SESSION_STACK_BYTES: usize = 4 << 20;

/// Why a GPU process ends.
#[derive(Debug, thiserror::Error)]
pub enum GpuProcessError {
    #[error("no adapter: {0}")]
    NoAdapter(String),
    #[error("the control socket fails")]
    Control(#[source] io::Error),
    #[error("the system gives no thread")]
    Thread(#[source] io::Error),
}

/// What all sessions share.
pub(crate) struct Process {
    pub(crate) adapter: Adapter,
    pub(crate) limits: GpuLimits,
    pub(crate) accounts: Accounts,
    pub(crate) turns: Arc<Turns>,
    control: OwnedFd,
}

impl Process {
    /// Tells the host something. A host that is gone needs no telling.
    pub(crate) fn tell(&self, message: &FromProcess) {
        let _ = send(self.control.as_fd(), message, &[]);
    }
}

/// Serves the sessions that come on `control` until the host is gone.
///
/// This changes what a panic of the process prints. Call it in a process that is there for nothing else.
///
/// # Errors
/// When there is no adapter, or the process cannot go on.
pub fn serve(control: OwnedFd, choice: &AdapterChoice, limits: GpuLimits) -> Result<(), GpuProcessError> {
    panics::print_as_lines();
    let instance = adapters::instance();
    let (facts, adapter) = match adapters::choose(&instance, choice) {
        Ok(chosen) => chosen,
        Err(reason) => {
            let _ = send(control.as_fd(), &FromProcess::NoAdapter(reason.clone()), &[]);
            return Err(GpuProcessError::NoAdapter(reason));
        }
    };
    send(control.as_fd(), &FromProcess::Ready(Box::new(facts)), &[]).map_err(GpuProcessError::Control)?;
    let process = Arc::new(Process {
        adapter,
        limits,
        accounts: Accounts::default(),
        turns: Arc::new(Turns::default()),
        control,
    });
    watch::start(process.clone()).map_err(GpuProcessError::Thread)?;
    while let Some((message, files)) = receive::<FromHost>(process.control.as_fd()).map_err(GpuProcessError::Control)? {
        let FromHost::Open(orders) = message;
        open(&process, orders, files);
    }
    // What runs on the GPU now is nobody's any more: not worth a wait.
    std::process::exit(0);
}

/// Gives a session its thread. One that cannot begin has its socket closed, which the host sees.
fn open(process: &Arc<Process>, orders: SessionOrders, files: Vec<OwnedFd>) {
    let id = orders.session;
    let Ok([socket, memory]) = <[OwnedFd; 2]>::try_from(files) else {
        return process.tell(&FromProcess::Closed(id));
    };
    let shared = process.clone();
    let run = move || {
        match SharedMemory::open(memory) {
            Ok(memory) => Session::new(shared.clone(), orders, UnixStream::from(socket), memory).run(),
            Err(error) => eprintln!("session {id} has no memory: {error}"),
        }
        shared.tell(&FromProcess::Closed(id));
    };
    let builder = thread::Builder::new().name(format!("gpu-{id}")).stack_size(SESSION_STACK_BYTES);
    if let Err(error) = builder.spawn(run) {
        eprintln!("session {id} has no thread: {error}");
        process.tell(&FromProcess::Closed(id));
    }
}
