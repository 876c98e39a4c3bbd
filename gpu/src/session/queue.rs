//! The queue: submits in turns, with a bound on what is under way, and writes whose copies are bounded as well.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use roadstead_gpu_wire::{
    Id, Reply,
    control::FromProcess,
    op::{CopyTexture, QueueOp},
    reply::GpuError,
    wgt,
};

use super::{
    Session, SessionError,
    encoders::image,
    objects::{Commands, Kept, Object},
};
use crate::turns::{Turn, Work};

/// Bytes that are written between two submits before one is made for them alone.
const UNSUBMITTED_BYTES_MAX: u64 = 64 << 20;

/// How long one wait for the GPU lasts.
const WAIT: Duration = Duration::from_millis(20);

/// What was submitted and has not ended.
pub(super) struct InFlight {
    turn: Turn,
    done: Arc<AtomicBool>,
    _kept: Kept,
    _commands: Vec<Commands>,
}

impl Session {
    pub(super) fn queue(&mut self, op: QueueOp) -> Result<(), SessionError> {
        match op {
            QueueOp::Submit(buffers) => self.submit(&buffers),
            QueueOp::WorkDone => {
                self.finish_all();
                self.reply(Reply::Done)?;
            }
            QueueOp::WriteBuffer { buffer, offset, data } => {
                let bytes = self.bytes_of(data)?;
                self.write_buffer(buffer, offset, &bytes);
            }
            QueueOp::WriteTexture { to, data, layout, size } => {
                let bytes = self.bytes_of(data)?;
                self.write_texture(&to, &bytes, layout, size);
            }
        }
        Ok(())
    }

    fn submit(&mut self, ids: &[Id]) {
        let mut buffers = Vec::with_capacity(ids.len());
        let (mut kept, mut commands) = (Vec::new(), Vec::new());
        let mut invalid = false;
        for id in ids {
            match self
                .objects
                .entry_mut(*id)
                .map(|entry| (std::mem::replace(&mut entry.object, Object::Invalid), entry))
            {
                Some((Object::CommandBuffer(found), entry)) => {
                    buffers.push(found.buffer);
                    commands.push(found._commands);
                    kept.append(&mut entry.kept);
                }
                _ => invalid = true,
            }
        }
        if invalid {
            let text = "a command buffer is not valid, was submitted before, or is there twice: nothing was submitted";
            return self.raise(GpuError::validation(text));
        }
        self.submit_all(buffers, kept, commands);
    }

    fn submit_all(&mut self, buffers: Vec<wgpu::CommandBuffer>, kept: Kept, commands: Vec<Commands>) {
        while self.in_flight.len() as u64 >= self.limits().submits_in_flight_max.max(1) && !self.lost {
            self.wait_a_little(WAIT);
        }
        let turn = match self.turn(Work::Run) {
            Ok(turn) => turn,
            Err(error) => return self.raise(error),
        };
        let Some(open) = &self.device else { return };
        open.queue.submit(buffers);
        let done = Arc::new(AtomicBool::new(false));
        let told = done.clone();
        open.queue.on_submitted_work_done(move || told.store(true, Ordering::Release));
        self.unsubmitted_bytes = 0;
        self.in_flight.push_back(InFlight { turn, done, _kept: kept, _commands: commands });
        self.look_at_work();
    }

    /// Looks whether submitted work has ended, without waiting.
    pub(super) fn look_at_work(&mut self) {
        if let Some(open) = &self.device
            && !self.in_flight.is_empty()
        {
            let _ = open.device.poll(wgpu::PollType::Poll);
        }
        self.forget_done();
    }

    /// Waits for submitted work, but not for long.
    pub(super) fn wait_a_little(&mut self, limit: Duration) {
        if let Some(open) = &self.device {
            let _ = open.device.poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(limit) });
        }
        self.forget_done();
    }

    fn forget_done(&mut self) {
        while self.in_flight.front().is_some_and(|work| work.done.load(Ordering::Acquire)) {
            let Some(work) = self.in_flight.pop_front() else { return };
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            self.process.tell(&FromProcess::Ran {
                session: self.orders.session,
                waited_us: micros(work.turn.waited),
                ran_us: micros(work.turn.ran()),
            });
        }
    }

    /// Waits until all that was submitted has ended. What does not end is ended with the process, by the watch.
    pub(super) fn finish_all(&mut self) {
        let until = Instant::now() + Duration::from_millis(self.limits().run_ms_max.saturating_mul(2));
        while !self.in_flight.is_empty() && Instant::now() < until {
            self.wait_a_little(WAIT);
        }
        self.in_flight.clear();
    }

    fn write_buffer(&mut self, buffer: Id, offset: u64, bytes: &[u8]) {
        let found = match self.objects.buffer(buffer) {
            Ok(found) => found.buffer.clone(),
            Err(text) => return self.raise(GpuError::validation(text)),
        };
        let Some(open) = &self.device else { return };
        open.queue.write_buffer(&found, offset, bytes);
        self.count_written(bytes.len());
    }

    fn write_texture(
        &mut self,
        to: &CopyTexture,
        bytes: &[u8],
        layout: wgt::TexelCopyBufferLayout,
        size: wgt::Extent3d,
    ) {
        let found = match self.objects.texture(to.texture) {
            Ok(found) => found.clone(),
            Err(text) => return self.raise(GpuError::validation(text)),
        };
        let Some(open) = &self.device else { return };
        open.queue.write_texture(image(to, &found), bytes, layout, size);
        self.count_written(bytes.len());
    }

    fn count_written(&mut self, bytes: usize) {
        self.unsubmitted_bytes = self.unsubmitted_bytes.saturating_add(bytes as u64);
        if self.unsubmitted_bytes > UNSUBMITTED_BYTES_MAX {
            self.submit_all(Vec::new(), Vec::new(), Vec::new());
        }
    }
}
