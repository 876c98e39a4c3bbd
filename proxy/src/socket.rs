//! Listening sockets: where one comes from, when it begins to listen, and how it is given up without a client noticing.
//! What is said on a connection is not known here.

use std::{io, net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout_at},
};

use crate::clock;

/// Connections that the kernel keeps until they are accepted: what tokio asks for.
const BACKLOG_CONNECTIONS: u32 = 1024;

/// How long a shared socket is kept for connections whose handshake has begun. Less than the second after which clients
/// whose first packet was dropped send another.
const HANDSHAKE_TIME: Duration = Duration::from_millis(500);

/// Pause after a failed accept: most of its causes, like a lack of file descriptors, take time to pass.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where a listening socket comes from.
#[derive(Debug)]
pub enum ListenAt {
    /// An address that nobody else listens on; port 0 takes a free one.
    Address(SocketAddr),
    /// An address that further processes of the same user may listen on (`SO_REUSEPORT`): the kernel gives each
    /// connection to one of those that listen.
    Shared(SocketAddr),
    /// A socket that listens already, and that another process keeps: connections that are not accepted here are left
    /// to whoever accepts from it next.
    Given(std::net::TcpListener),
}

impl From<SocketAddr> for ListenAt {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

/// Why there is no listening socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    /// The address that was asked for, or that of the socket.
    pub address: SocketAddr,
    #[source]
    pub source: io::Error,
}

impl ListenAt {
    /// Takes the address, or makes sure that the socket is one that listens.
    pub(crate) fn take(self) -> Result<Claimed, ListenError> {
        match self {
            Self::Address(address) => Claimed::bind(address, false),
            Self::Shared(address) => Claimed::bind(address, true),
            Self::Given(listener) => Claimed::given(listener),
        }
    }

    /// Listens, for who is not a server of this crate and has no clients to care for at its end.
    ///
    /// # Errors
    /// When the address cannot be taken, or the socket is none that listens.
    pub fn listen(self) -> Result<TcpListener, ListenError> {
        Ok(self.take()?.listen()?.listener)
    }
}

/// An address, or a part in one, that has been taken.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) address: SocketAddr,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    /// Bound to a shared address: once it listens, it has a part in the address's clients.
    Bound(TcpSocket),
    Listening(Listener),
}

impl Claimed {
    fn bind(address: SocketAddr, shared: bool) -> Result<Self, ListenError> {
        let bound = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            if shared {
                socket.set_reuseport(true)?;
            }
            socket.bind(address)?;
            let address = socket.local_addr()?;
            if shared {
                return Ok(Self { address, socket: Socket::Bound(socket) });
            }
            // An address is one process's own only from here on.
            let listener = Listener { listener: socket.listen(BACKLOG_CONNECTIONS)?, kept_by: KeptBy::Nobody };
            Ok(Self { address, socket: Socket::Listening(listener) })
        };
        bound().map_err(|source| ListenError { address, source })
    }

    fn given(listener: std::net::TcpListener) -> Result<Self, ListenError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = listener.local_addr().map_err(|source| ListenError { address: unknown, source })?;
        let taken = || {
            if !SockRef::from(&listener).is_listener()? {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen"));
            }
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listener = taken().map_err(|source| ListenError { address, source })?;
        Ok(Self { address, socket: Socket::Listening(Listener { listener, kept_by: KeptBy::Others }) })
    }

    /// From here on at the latest the kernel takes connections for this process.
    pub(crate) fn listen(self) -> Result<Listener, ListenError> {
        let Self { address, socket } = self;
        match socket {
            Socket::Listening(listener) => Ok(listener),
            Socket::Bound(socket) => {
                let listener = socket.listen(BACKLOG_CONNECTIONS).map_err(|source| ListenError { address, source })?;
                Ok(Listener { listener, kept_by: KeptBy::OthersBeside })
            }
        }
    }
}

/// What becomes of clients that connect after a listener is gone.
#[derive(Debug, Clone, Copy)]
enum KeptBy {
    /// They are refused.
    Nobody,
    /// The address is another's as well: clients that connect reach that.
    OthersBeside,
    /// The socket itself is another's as well, with those who wait in it.
    Others,
}

/// A socket that connections come from.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    kept_by: KeptBy,
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.listener.accept().await
    }

    /// Gives the socket up. Whom the kernel has told that it is connected, and whom nobody else would accept, goes to
    /// `take`: it is not to see a reset.
    pub(crate) async fn give_up(self, mut take: impl FnMut(TcpStream, SocketAddr)) {
        match self.kept_by {
            KeptBy::Others => return,
            KeptBy::OthersBeside if refuse_new(&self.listener) => {
                let until = clock::from_now(HANDSHAKE_TIME);
                while let Ok(accepted) = timeout_at(until, self.listener.accept()).await {
                    match accepted {
                        Ok((socket, peer)) => take(socket, peer),
                        Err(_) => sleep(ACCEPT_PAUSE).await,
                    }
                }
            }
            KeptBy::OthersBeside | KeptBy::Nobody => {}
        }
        let Ok(listener) = self.listener.into_std() else { return };
        for _ in 0..BACKLOG_CONNECTIONS {
            let Ok((socket, peer)) = listener.accept() else { return };
            if let Ok(socket) = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket)) {
                take(socket, peer);
            }
        }
    }
}

/// Lets no new connection begin on a socket, while those that have begun go on: the first packets of clients are
/// dropped, so that they send them again, to another socket of the address once this one is closed. `false` where that
/// cannot be done.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn refuse_new(listener: &TcpListener) -> bool {
    use socket2::SockFilter;

    /// Where a TCP header has its flags, and the two that tell a first packet.
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    /// Classic BPF: load a byte, jump if a bit is set, return so many bytes of the packet.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    let program = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(JUMP_IF_SET, 0, 2, SYN),
        SockFilter::new(JUMP_IF_SET, 1, 0, ACK),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&program).inspect_err(|error| tracing::debug!(%error, "no filter")).is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn refuse_new(_listener: &TcpListener) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn listen(at: ListenAt) -> (SocketAddr, Listener) {
        let claimed = at.take().unwrap();
        (claimed.address, claimed.listen().unwrap())
    }

    fn any_port() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    /// Gives up and tells how many connections were taken meanwhile.
    async fn give_up(listener: Listener) -> usize {
        let mut taken = 0;
        listener.give_up(|_, _| taken += 1).await;
        taken
    }

    #[tokio::test]
    async fn an_address_is_one_processs_unless_it_is_shared() {
        let (address, _listener) = listen(any_port().into());
        assert!(ListenAt::Address(address).take().is_err());
        assert!(ListenAt::Shared(address).take().is_err());
        let (shared, _listener) = listen(ListenAt::Shared(any_port()));
        assert!(ListenAt::Address(shared).take().is_err());
        assert!(ListenAt::Shared(shared).take().is_ok());
    }

    #[tokio::test]
    async fn who_waits_is_taken_or_left_to_who_keeps_the_socket() {
        let (address, own) = listen(any_port().into());
        let _waiting = TcpStream::connect(address).await.unwrap();
        assert_eq!(give_up(own).await, 1);
        assert!(TcpStream::connect(address).await.is_err());

        let kept = std::net::TcpListener::bind(any_port()).unwrap();
        let (address, given) = listen(ListenAt::Given(kept.try_clone().unwrap()));
        let _waiting = TcpStream::connect(address).await.unwrap();
        assert_eq!(give_up(given).await, 0);
        let (_, next) = listen(ListenAt::Given(kept));
        tokio::time::timeout(PATIENCE, next.accept()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_does_not_listen_is_refused() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(any_port()).unwrap();
        let bound = std::net::TcpListener::from(std::os::fd::OwnedFd::from(socket2::Socket::from(
            std::net::TcpStream::from(std::os::fd::OwnedFd::from(SockRef::from(&socket).try_clone().unwrap())),
        )));
        assert!(ListenAt::Given(bound).take().is_err());
    }

    /// Both listen, and clients keep coming, so that some of them are on their way to the first when it is given up.
    /// `HANDSHAKE_TIME` is what the last of them need at most.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_shared_socket_is_given_up_without_a_reset() {
        const CLIENTS: usize = 100;
        let (address, old) = listen(ListenAt::Shared(any_port()));
        let (_, new) = listen(ListenAt::Shared(address));
        let accepting = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok(accepted) = new.accept().await {
                kept.push(accepted);
            }
        });
        let connect = || tokio::spawn(TcpStream::connect(address));
        let mut clients = Vec::new();
        for waiting in (0..CLIENTS).map(|_| connect()).collect::<Vec<_>>() {
            clients.push(tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap());
        }
        let coming: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
        let (begun, mut taken) = (Instant::now(), Vec::new());
        old.give_up(|socket, _| taken.push(socket)).await;
        assert!(begun.elapsed() >= HANDSHAKE_TIME);
        for client in coming {
            clients.push(tokio::time::timeout(PATIENCE, client).await.unwrap().unwrap().expect("refused"));
        }
        assert!(!taken.is_empty() && taken.len() < clients.len(), "{}", taken.len());
        for client in clients {
            // Nobody says anything on it, and nobody resets it.
            let reset = tokio::time::timeout(Duration::from_millis(1), client.readable()).await;
            let read = client.try_read(&mut [0]).map_err(|error| error.kind());
            assert!(reset.is_err() || read == Err(io::ErrorKind::WouldBlock), "{read:?}");
        }
        accepting.abort();
    }
}
