//! A TCP proxy that does to connections what networks do: delay, silence, cuts.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

const PIECE_BYTES: usize = 65_536;

pub struct FaultProxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    accepting: JoinHandle<()>,
}

/// What happens to connections, which are numbered from 1.
#[derive(Clone, Copy, Default)]
struct Faults {
    connections: u64,
    delay: Duration,
    /// Nothing passes on connections up to this one, which stay open.
    silent_to: u64,
    /// Connections up to this one are closed.
    cut_to: u64,
}

impl FaultProxy {
    /// In front of what listens on `port` of this machine.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let faults = watch::Sender::new(Faults::default());
        let for_connections = faults.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                for_connections.send_modify(|faults| faults.connections += 1);
                let (number, faults) = (for_connections.borrow().connections, for_connections.subscribe());
                tokio::spawn(carry(number, client, port, faults));
            }
        });
        Self { address, faults, accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Each piece, in each direction, arrives so much later.
    pub fn delay(&self, delay: Duration) {
        self.faults.send_modify(|faults| faults.delay = delay);
    }

    /// The connections there are now stay open and carry nothing any more; new ones do.
    pub fn go_half_open(&self) {
        self.faults.send_modify(|faults| faults.silent_to = faults.connections);
    }

    /// No connection carries anything, new ones neither, until [`FaultProxy::heal`].
    pub fn partition(&self) {
        self.faults.send_modify(|faults| faults.silent_to = u64::MAX);
    }

    /// Connections that were silent carry what has waited.
    pub fn heal(&self) {
        self.faults.send_modify(|faults| faults.silent_to = 0);
    }

    /// Closes the connections there are now.
    pub fn cut(&self) {
        self.faults.send_modify(|faults| faults.cut_to = faults.connections);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(number: u64, client: TcpStream, port: u16, faults: watch::Receiver<Faults>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut cut = faults.clone();
    tokio::select! {
        () = pass(number, from_client, to_server, faults.clone()) => {}
        () = pass(number, from_server, to_client, faults) => {}
        _ = cut.wait_for(|faults| faults.cut_to >= number) => {}
    }
}

async fn pass(
    number: u64,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut faults: watch::Receiver<Faults>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let Ok(bytes @ 1..) = from.read(&mut piece).await else { return };
        let Ok(delay) = faults.wait_for(|faults| faults.silent_to < number).await.map(|faults| faults.delay) else {
            return;
        };
        tokio::time::sleep(delay).await;
        if to.write_all(&piece[..bytes]).await.is_err() {
            return;
        }
    }
}
