//! The host's end of a session: commands are put together and sent in batches, answers come back in order, and the loss
//! of the device, or of the whole process, ends every wait.

use std::os::fd::BorrowedFd;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use roadstead_gpu_wire::{
    Event, INLINE_BYTES_MAX, Id, LANE_BYTES, Op, Reply, ServerFrame,
    control::SessionId,
    frame::{self, FRAME_BYTES_MAX},
    op::{Create, Data, QueueOp},
    reply::{GpuError, Lost},
    shared::{Lane, SharedMemory},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
};

use super::owner::GpuOwner;

/// Bytes of commands that are gathered before they are sent.
const BATCH_BYTES: usize = 32_768;

/// Answers that may wait to be read; the host asks one thing at a time.
const REPLIES_MAX: usize = 4;

/// Errors that no scope took and the guest has not been told of; older ones are forgotten first.
const UNCAPTURED_MAX: usize = 16;

/// How a device was lost, and whose fault it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) lost: Lost,
    /// The process ended by what another workload did, or for a reason of its own: another try may go well.
    pub(super) by_others: bool,
}

/// What is known of a session's device.
#[derive(Debug, Clone, Default)]
pub(super) struct DeviceState {
    pub(super) loss: Option<Loss>,
    pub(super) uncaptured: Vec<GpuError>,
}

/// Nothing more comes from the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// One device of one instance. Dropping it ends the session.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) owner: Arc<GpuOwner>,
    memory: SharedMemory,
    out: Mutex<Outgoing>,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    replies: tokio::sync::Mutex<mpsc::Receiver<Reply>>,
    state: watch::Sender<DeviceState>,
    pub(super) work: Arc<WorkInHand>,
    next_id: AtomicU32,
}

/// Commands that are not sent yet, and how much of the lane upwards they and those before them take.
#[derive(Default)]
struct Outgoing {
    batch: Vec<u8>,
    lane_used: usize,
}

/// Whether a session has the process do something now: who does is suspected when the process ends.
#[derive(Debug, Default)]
pub(super) struct WorkInHand {
    /// Commands were sent that nothing has been heard of since.
    commanded: AtomicBool,
    submitted: AtomicU64,
    ran: AtomicU64,
}

impl WorkInHand {
    /// Whether something goes on.
    pub(super) fn is_any(&self) -> bool {
        self.commanded.load(Ordering::Acquire)
            || self.submitted.load(Ordering::Acquire) > self.ran.load(Ordering::Acquire)
    }

    /// A submit has ended.
    pub(super) fn note_ran(&self) {
        self.ran.fetch_add(1, Ordering::AcqRel);
    }
}

impl Session {
    /// A session over a connected socket, whose other end the process has. Answers are read by a task that ends with
    /// the socket.
    pub(super) fn new(
        id: SessionId,
        owner: Arc<GpuOwner>,
        socket: UnixStream,
        memory: SharedMemory,
        state: watch::Sender<DeviceState>,
    ) -> Self {
        let (reader, writer) = socket.into_split();
        let (answers, replies) = mpsc::channel(REPLIES_MAX);
        let work = Arc::new(WorkInHand::default());
        tokio::spawn(listen(reader, answers, state.clone(), work.clone()));
        Self {
            id,
            owner,
            memory,
            out: Mutex::default(),
            writer: tokio::sync::Mutex::new(writer),
            replies: tokio::sync::Mutex::new(replies),
            state,
            work,
            next_id: AtomicU32::new(1),
        }
    }

    /// The memory that both sides see, as a file.
    pub(super) fn memory_file(&self) -> BorrowedFd<'_> {
        self.memory.file()
    }

    /// A number for a new object.
    pub(super) fn new_id(&self) -> Id {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// What is known of the device.
    pub(super) fn state(&self) -> watch::Receiver<DeviceState> {
        self.state.subscribe()
    }

    /// How the device was lost, if it was.
    pub(super) fn loss(&self) -> Option<Loss> {
        self.state.borrow().loss.clone()
    }

    fn out(&self) -> std::sync::MutexGuard<'_, Outgoing> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a command to the batch; true when the batch is large enough to be sent. One that is too large for a frame
    /// becomes its own error.
    fn add(&self, op: &Op) -> bool {
        let mut out = self.out();
        let before = out.batch.len();
        let mut batch = std::mem::take(&mut out.batch);
        // Memory cannot fail, and all commands can be written down.
        batch = frame::append(batch, op).unwrap_or_default();
        if batch.len() - before.min(batch.len()) > FRAME_BYTES_MAX - 2 * BATCH_BYTES {
            batch.truncate(before);
            let error = GpuError::validation(format!("a command is longer than {FRAME_BYTES_MAX} bytes"));
            let instead = match op {
                Op::Create { id, .. } => Op::Create { id: *id, what: Box::new(Create::Invalid(error)) },
                _ => Op::Raise(error),
            };
            batch = frame::append(batch, &instead).unwrap_or_default();
        }
        out.batch = batch;
        out.batch.len() >= BATCH_BYTES
    }

    /// Adds a command that has no answer, without sending it: for where nothing can be waited for.
    pub(super) fn add_later(&self, op: &Op) {
        self.add(op);
    }

    /// Sends a command that has no answer, sooner or later. A session that is gone takes it and does nothing, as a lost
    /// device does.
    pub(super) async fn send(&self, op: Op) {
        if let Op::Queue(QueueOp::Submit(_)) = op {
            self.add(&op);
            self.work.submitted.fetch_add(1, Ordering::AcqRel);
            // The GPU is to begin at once.
            let _ = self.flush().await;
        } else if self.add(&op) {
            let _ = self.flush().await;
        }
    }

    /// Sends all commands of the batch.
    pub(super) async fn flush(&self) -> Result<(), Gone> {
        let mut writer = self.writer.lock().await;
        let batch = std::mem::take(&mut self.out().batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.work.commanded.store(true, Ordering::Release);
        let mut bytes = frame::header(&batch).map_err(|_| Gone)?.to_vec();
        bytes.extend_from_slice(&batch);
        writer.write_all(&bytes).await.map_err(|_| Gone)
    }

    /// Sends a command, and waits for its answer.
    ///
    /// # Errors
    /// When the session is gone.
    pub(super) async fn ask(&self, op: Op) -> Result<Reply, Gone> {
        let mut replies = self.replies.lock().await;
        self.add(&op);
        let reply = match self.flush().await {
            Ok(()) => replies.recv().await.ok_or(Gone),
            Err(gone) => Err(gone),
        };
        if reply.is_err() {
            // Whose fault it was is found out by then.
            self.wait_for_loss().await;
            return Err(Gone);
        }
        // Commands come in order: what was in the lane has been read.
        self.out().lane_used = 0;
        reply
    }

    /// Waits until the device is lost.
    pub(super) async fn wait_for_loss(&self) -> Option<Loss> {
        let mut state = self.state();
        let state = state.wait_for(|state| state.loss.is_some()).await;
        state.ok().and_then(|state| state.loss.clone())
    }

    /// Gets bytes to the other side, for the next command.
    pub(super) async fn data(&self, bytes: &[u8]) -> Data {
        if bytes.len() <= INLINE_BYTES_MAX {
            return Data::Inline(bytes.to_vec());
        }
        if bytes.len() <= LANE_BYTES {
            return self.in_lane(bytes).await;
        }
        for part in bytes.chunks(LANE_BYTES) {
            let part = self.in_lane(part).await;
            self.send(Op::Stage(part)).await;
        }
        Data::Staged
    }

    /// Puts bytes into the lane upwards, when it has room for them.
    async fn in_lane(&self, bytes: &[u8]) -> Data {
        let place = |out: &mut Outgoing| {
            let offset = out.lane_used;
            (offset + bytes.len() <= LANE_BYTES).then(|| {
                out.lane_used += bytes.len();
                offset
            })
        };
        let mut offset = place(&mut self.out());
        if offset.is_none() {
            let _ = self.ask(Op::Sync).await;
            let mut out = self.out();
            out.lane_used = 0;
            offset = place(&mut out);
        }
        let offset = offset.unwrap_or(0);
        // It is within the lane: that was just made sure of.
        let _ = self.memory.write(Lane::Up, offset, bytes);
        let (offset, len) = (u32::try_from(offset).unwrap_or(0), u32::try_from(bytes.len()).unwrap_or(0));
        Data::Shared { offset, len }
    }

    /// Copies what an answer left in the lane downwards to the end of `to`.
    pub(super) fn take_bytes(&self, len: u32, to: &mut Vec<u8>) -> Result<(), Gone> {
        self.memory.read(Lane::Down, 0, len as usize, to).map_err(|_| Gone)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.owner.gpu.forget(self.id);
    }
}

/// Reads what the process says, to the end.
async fn listen(
    reader: OwnedReadHalf,
    answers: mpsc::Sender<Reply>,
    state: watch::Sender<DeviceState>,
    work: Arc<WorkInHand>,
) {
    let mut reader = BufReader::new(reader);
    let mut payload = Vec::new();
    loop {
        let mut header = [0; 4];
        if reader.read_exact(&mut header).await.is_err() {
            return;
        }
        let Ok(length) = frame::length(header) else { return };
        payload.resize(length, 0);
        if reader.read_exact(&mut payload).await.is_err() {
            return;
        }
        match frame::take::<ServerFrame>(&payload) {
            Ok((ServerFrame::Reply(reply), _)) => {
                work.commanded.store(false, Ordering::Release);
                if answers.send(reply).await.is_err() {
                    return;
                }
            }
            Ok((ServerFrame::Event(Event::Lost(lost)), _)) => {
                state.send_modify(|state| {
                    state.loss.get_or_insert(Loss { lost, by_others: false });
                });
            }
            Ok((ServerFrame::Event(Event::Uncaptured(error)), _)) => state.send_modify(|state| {
                if state.uncaptured.len() >= UNCAPTURED_MAX {
                    state.uncaptured.remove(0);
                }
                state.uncaptured.push(error);
            }),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn say(writer: &mut OwnedWriteHalf, frame: &ServerFrame) {
        let payload = frame::encode(frame).unwrap();
        writer.write_all(&frame::header(&payload).unwrap()).await.unwrap();
        writer.write_all(&payload).await.unwrap();
    }

    /// Of errors that no scope took, the latest are kept, `UNCAPTURED_MAX` of them; of answers, `REPLIES_MAX` wait.
    #[tokio::test]
    async fn what_the_process_says_is_bounded() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, _ours) = ours.into_split();
        let (_theirs, mut writer) = theirs.into_split();
        let (answers, mut replies) = mpsc::channel(REPLIES_MAX);
        let state = watch::Sender::new(DeviceState::default());
        let work = Arc::new(WorkInHand::default());
        let listening = tokio::spawn(listen(reader, answers, state.clone(), work));
        for number in 0..UNCAPTURED_MAX + 3 {
            let error = GpuError::validation(number.to_string());
            say(&mut writer, &ServerFrame::Event(Event::Uncaptured(error))).await;
        }
        for _ in 0..REPLIES_MAX + 2 {
            say(&mut writer, &ServerFrame::Reply(Reply::Done)).await;
        }
        let mut seen = state.subscribe();
        let last = (UNCAPTURED_MAX + 2).to_string();
        let is_last = |state: &DeviceState| state.uncaptured.last().is_some_and(|error| error.message == last);
        let told = tokio::time::timeout(Duration::from_secs(20), seen.wait_for(is_last)).await.unwrap().unwrap();
        assert_eq!((told.uncaptured.len(), told.uncaptured[0].message.as_str()), (UNCAPTURED_MAX, "3"));
        drop(told);
        assert!(!listening.is_finished(), "it waits with the answer that has no place");
        for _ in 0..REPLIES_MAX + 2 {
            let answer = tokio::time::timeout(Duration::from_secs(20), replies.recv()).await.unwrap();
            assert_eq!(answer, Some(Reply::Done));
        }
        drop(writer);
        assert!(listening.await.is_ok());
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_session() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, _ours) = ours.into_split();
        let (_theirs, mut writer) = theirs.into_split();
        let (answers, mut replies) = mpsc::channel(REPLIES_MAX);
        let state = watch::Sender::new(DeviceState::default());
        let listening = tokio::spawn(listen(reader, answers, state, Arc::default()));
        writer.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
        assert!(listening.await.is_ok());
        assert_eq!(replies.recv().await, None);
    }
}
