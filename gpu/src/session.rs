//! One session: one device, one thread, which does all that is done on the device. Commands come in order from the
//! host; what goes wrong goes to the device's error scopes, as WebGPU has it; what the graphics library does not
//! survive makes the device lost.

mod buffers;
mod create;
mod device;
mod draw;
mod encoders;
mod errors;
mod objects;
mod pipelines;
mod queue;
mod textures;

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use roadstead_gpu_wire::{
    Event, Op, Reply, ServerFrame,
    control::{GpuLimits, SessionOrders},
    frame,
    op::Data,
    reply::{GpuError, Lost},
    shared::{Lane, SharedMemory},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    accounts::Account,
    process::Process,
    turns::{Owner, Work},
};
use device::OpenDevice;
use objects::Objects;
use queue::InFlight;

/// How long the thread waits for a command before it looks whether submitted work is done.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// Bytes that commands may stage before the one that takes them.
const STAGED_BYTES_MAX: usize = 64 << 20;

/// Why a session ends before the host ends it.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("the socket fails")]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] frame::FrameError),
    #[error("the host broke the protocol: {0}")]
    Protocol(&'static str),
}

/// A session with all that it has.
pub(crate) struct Session {
    process: Arc<Process>,
    orders: SessionOrders,
    owner: Owner,
    account: Arc<Account>,
    socket: UnixStream,
    memory: SharedMemory,
    device: Option<OpenDevice>,
    objects: Objects,
    staged: Vec<u8>,
    in_flight: VecDeque<InFlight>,
    /// Bytes that were written to buffers and textures since the last submit, for which the library keeps copies.
    unsubmitted_bytes: u64,
    lost: bool,
}

impl Session {
    pub(crate) fn new(process: Arc<Process>, orders: SessionOrders, socket: UnixStream, memory: SharedMemory) -> Self {
        let owner = Owner { session: orders.session, tenant: orders.tenant.as_str().into(), alone: orders.alone };
        let account = process.accounts.of(&orders.workload, process.limits);
        Self {
            process,
            orders,
            owner,
            account,
            socket,
            memory,
            device: None,
            objects: Objects::default(),
            staged: Vec::new(),
            in_flight: VecDeque::new(),
            unsubmitted_bytes: 0,
            lost: false,
        }
    }

    /// Serves the session until the host ends it.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.serve() {
            eprintln!("session {} of {} ends: {error}", self.orders.session, self.orders.workload);
        }
        // The host is to know at once that nothing more comes.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            self.finish_all();
            self.objects.clear();
            self.device = None;
        }));
        if ended.is_err() {
            eprintln!("session {} could not be cleared away", self.orders.session);
        }
    }

    fn limits(&self) -> &GpuLimits {
        &self.process.limits
    }

    fn serve(&mut self) -> Result<(), SessionError> {
        let mut payload = Vec::new();
        while let Some(()) = self.read_frame(&mut payload)? {
            let mut rest = payload.as_slice();
            while !rest.is_empty() {
                let (op, after) = frame::take::<Op>(rest)?;
                rest = after;
                self.execute(op)?;
            }
        }
        Ok(())
    }

    /// Reads the next frame; `None` when the host has ended the session.
    fn read_frame(&mut self, payload: &mut Vec<u8>) -> Result<Option<()>, SessionError> {
        while !self.in_flight.is_empty() && !self.readable(LOOK_EVERY)? {
            self.look_at_work();
        }
        let mut header = [0; 4];
        match self.socket.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        payload.clear();
        payload.resize(frame::length(header)?, 0);
        self.socket.read_exact(payload)?;
        Ok(Some(()))
    }

    /// Whether the host says something, or is gone, within a time.
    fn readable(&self, within: Duration) -> Result<bool, SessionError> {
        let mut watched = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        let within = Timespec { tv_sec: 0, tv_nsec: i64::from(within.subsec_nanos()) };
        Ok(poll(&mut watched, Some(&within)).map_err(io::Error::from)? > 0)
    }

    /// Whether the host has ended the session while something is waited for.
    fn is_abandoned(&self) -> bool {
        let mut watched = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut watched, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    fn send(&mut self, message: &ServerFrame) -> Result<(), SessionError> {
        let payload = frame::encode(message)?;
        let mut bytes = frame::header(&payload)?.to_vec();
        bytes.extend_from_slice(&payload);
        Ok(self.socket.write_all(&bytes)?)
    }

    fn reply(&mut self, reply: Reply) -> Result<(), SessionError> {
        self.send(&ServerFrame::Reply(reply))
    }

    /// Does what a command says. A panic of the graphics library makes the device lost, and the command is answered
    /// nonetheless.
    fn execute(&mut self, op: Op) -> Result<(), SessionError> {
        let unanswered = answer_when_lost(&op);
        let done = catch_unwind(AssertUnwindSafe(|| self.perform(op)));
        match done {
            Ok(done) => done?,
            Err(_) => {
                self.lose("the graphics library failed in a way that it does not survive")?;
                if let Some(reply) = unanswered {
                    self.reply(reply)?;
                }
            }
        }
        self.tell_events()
    }

    fn perform(&mut self, op: Op) -> Result<(), SessionError> {
        match op {
            Op::OpenDevice { label, features, limits } => self.open_device(&label, features, &limits),
            Op::DestroyDevice => self.destroy_device(),
            Op::Create { id, what } => self.create(id, *what),
            Op::Drop { id } => {
                self.objects.remove(id);
                Ok(())
            }
            Op::Destroy { id } => {
                self.destroy_object(id);
                Ok(())
            }
            Op::Buffer { id, op } => self.buffer(id, op),
            Op::Encoder { id, op } => {
                self.encoder(id, op);
                Ok(())
            }
            Op::ComputePass { id, op } => {
                self.compute_pass(id, op);
                Ok(())
            }
            Op::RenderPass { id, op } => {
                self.render_pass(id, op);
                Ok(())
            }
            Op::Bundle { id, op } => {
                self.bundle(id, op);
                Ok(())
            }
            Op::Queue(op) => self.queue(op),
            Op::PushErrorScope(filter) => {
                self.push_scope(filter);
                Ok(())
            }
            Op::PopErrorScope => {
                let popped = self.pop_scope();
                self.reply(Reply::Scope(popped))
            }
            Op::Raise(error) => {
                self.raise(error);
                Ok(())
            }
            Op::Stage(data) => {
                let part = self.bytes_of(data)?;
                if self.staged.len() + part.len() > STAGED_BYTES_MAX {
                    return Err(SessionError::Protocol("too much is staged"));
                }
                self.staged.extend_from_slice(&part);
                Ok(())
            }
            Op::CompilationInfo { module } => {
                let messages = self.compilation_info(module);
                self.reply(Reply::Compilation(messages))
            }
            Op::Sync => self.reply(Reply::Done),
        }
    }

    /// The bytes of a command, copied out of what the host can change.
    fn bytes_of(&mut self, data: Data) -> Result<Vec<u8>, SessionError> {
        match data {
            Data::Inline(bytes) => Ok(bytes),
            Data::Staged => Ok(std::mem::take(&mut self.staged)),
            Data::Shared { offset, len } => {
                let (offset, len) = (offset as usize, len as usize);
                let mut bytes = Vec::with_capacity(len.min(roadstead_gpu_wire::LANE_BYTES));
                let read = self.memory.read(Lane::Up, offset, len, &mut bytes);
                read.map_err(|_| SessionError::Protocol("data lie outside of the shared memory"))?;
                Ok(bytes)
            }
        }
    }

    /// The device is lost through no act of the guest.
    fn lose(&mut self, message: &str) -> Result<(), SessionError> {
        if self.lost {
            return Ok(());
        }
        self.lost = true;
        if let Some(device) = &self.device {
            device.errors.close();
            let _ = catch_unwind(AssertUnwindSafe(|| device.device.destroy()));
        }
        self.send(&ServerFrame::Event(Event::Lost(Lost { destroyed: false, message: message.to_owned() })))
    }

    /// Tells the host what happened meanwhile.
    fn tell_events(&mut self) -> Result<(), SessionError> {
        let Some(device) = &self.device else { return Ok(()) };
        let (errors, lost) = device.errors.take_events();
        for error in errors {
            self.send(&ServerFrame::Event(Event::Uncaptured(error)))?;
        }
        if let Some(lost) = lost.filter(|_| !self.lost) {
            self.lost = true;
            self.send(&ServerFrame::Event(Event::Lost(lost)))?;
        }
        Ok(())
    }

    /// Waits for a turn; the reason when it does not come.
    fn turn(&mut self, work: Work) -> Result<crate::turns::Turn, GpuError> {
        let limit = Duration::from_millis(self.limits().queue_ms_max);
        let (turns, owner) = (self.process.turns.clone(), self.owner.clone());
        let turn = turns.wait(&owner, work, limit, || {
            self.look_at_work();
            !self.is_abandoned()
        });
        turn.ok_or_else(|| {
            let text = format!("the GPU was busy for others for {} ms (gpu_queue_ms_max)", limit.as_millis());
            GpuError::internal(text)
        })
    }
}

/// What is answered to a command when the device was lost while it ran; `None` for commands without an answer.
fn answer_when_lost(op: &Op) -> Option<Reply> {
    use roadstead_gpu_wire::{
        op::{BufferOp, Create, QueueOp},
        reply::{DeviceRefused, MapRefused},
    };
    const LOST: &str = "the device is lost";
    match op {
        Op::OpenDevice { .. } => Some(Reply::Device(Err(DeviceRefused::Full(LOST.to_owned())))),
        Op::Buffer { op: BufferOp::Map { .. }, .. } => Some(Reply::Mapped(Err(MapRefused::Abort(LOST.to_owned())))),
        Op::Buffer { op: BufferOp::Read { .. }, .. } => Some(Reply::Bytes(None)),
        Op::PopErrorScope => Some(Reply::Scope(Ok(None))),
        Op::CompilationInfo { .. } => Some(Reply::Compilation(Vec::new())),
        Op::Queue(QueueOp::WorkDone) | Op::Sync => Some(Reply::Done),
        Op::Create { what, .. } => match **what {
            Create::ComputePipeline { answered: true, .. } | Create::RenderPipeline { answered: true, .. } => {
                Some(Reply::Pipeline(Err(GpuError::internal(LOST))))
            }
            _ => None,
        },
        _ => None,
    }
}
