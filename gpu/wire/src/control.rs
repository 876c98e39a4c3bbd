//! What passes on the control socket of a GPU process: who it serves, and what it says of itself. The socket keeps
//! messages apart (SOCK_SEQPACKET); it is the process's standard input, and its end is the end of the process.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wgpu_types as wgt;

use crate::frame;

/// Largest message on the control socket, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 65_536;

/// Files that come with a message: the socket of a session and its memory.
pub const FILES_MAX: usize = 2;

/// Number of a session in its process, never used again.
pub type SessionId = u64;

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromHost {
    /// A new session: its socket and its memory come with it.
    Open(SessionOrders),
}

/// Whose a session is and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOrders {
    pub session: SessionId,
    /// Tenants take turns.
    pub tenant: String,
    /// What all sessions of a workload may have together is counted under this name.
    pub workload: String,
    /// The workload was there when a process ended: what it runs now, it runs alone.
    pub alone: bool,
}

/// What a workload or a process may do; see the table of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuLimits {
    pub devices_max: u64,
    pub workload_devices_max: u64,
    pub memory_bytes_max: u64,
    pub objects_max: u64,
    pub dispatch_workgroups_max: u64,
    pub shader_bytes_max: u64,
    pub private_bytes_max: u64,
    pub shader_size_max: u64,
    pub compile_ms_max: u64,
    pub run_ms_max: u64,
    pub queue_ms_max: u64,
    pub submits_in_flight_max: u64,
}

/// What the process says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromProcess {
    /// The first message: the adapter that it serves.
    Ready(Box<AdapterFacts>),
    /// The first and only message of a process that has no adapter, with the reason.
    NoAdapter(String),
    /// A session has ended, and all that it had is given back.
    Closed(SessionId),
    /// A session does what cannot be interrupted for longer than it may: the process ends now.
    Overran { session: SessionId, what: Overrun },
    /// A piece of work of a session has ended.
    Ran { session: SessionId, waited_us: u64, ran_us: u64 },
    /// What all sessions have together.
    Holds { memory_bytes: u64, objects: u64 },
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overrun {
    Compile,
    Run,
}

/// What is known of an adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdapterFacts {
    /// Its place in the list of `roadstead gpu`.
    pub index: u32,
    pub info: wgt::AdapterInfo,
    pub features: wgt::Features,
    pub limits: wgt::Limits,
    /// Names of the language extensions of WGSL that the process knows.
    pub wgsl_features: Vec<String>,
}

impl AdapterFacts {
    /// Whether a program on the processor stands in for a GPU.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgt::DeviceType::Cpu
    }
}

fn invalid(error: frame::FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Sends a message with files.
///
/// # Errors
/// Those of the socket; `WouldBlock` where it is set not to wait.
pub fn send<T: Serialize>(socket: impl AsFd, message: &T, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = frame::encode(message).map_err(invalid)?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(invalid(frame::FrameError::TooLong(bytes.len())));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many files for one message"));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a message with its files; `None` when the other side is gone.
///
/// # Errors
/// Those of the socket; `WouldBlock` where it is set not to wait; `InvalidData` for what is no message.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            files.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let (message, _rest) = frame::take(bytes.get(..received.bytes).unwrap_or_default()).map_err(invalid)?;
    Ok(Some((message, files)))
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;
    use crate::shared::SharedMemory;

    #[test]
    fn a_session_and_its_memory_cross() {
        let (host, process) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let memory = SharedMemory::new().unwrap();
        let orders = SessionOrders { session: 7, tenant: "t".into(), workload: "t/w".into(), alone: false };
        let sent = FromHost::Open(orders);
        send(&host, &sent, &[memory.file(), host.as_fd()]).unwrap();
        let (received, files) = receive::<FromHost>(&process).unwrap().unwrap();
        assert_eq!((received, files.len()), (sent, 2));
        drop(host);
        drop(files);
        assert!(receive::<FromHost>(&process).unwrap().is_none());
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (host, process) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::send(&host, &[9, 9, 9], SendFlags::empty()).unwrap();
        assert_eq!(receive::<FromHost>(&process).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
