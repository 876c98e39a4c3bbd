//! How many connections each client has. It knows addresses alone.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bits of an IPv6 address that a network has for itself: a client with one of these has all of them.
const IPV6_HOST_BITS: u32 = 64;

/// The connections of clients that have any; no more of them than `connections_max`.
#[derive(Debug)]
pub(crate) struct Clients {
    connections_max: u64,
    open: Mutex<HashMap<IpAddr, u64>>,
}

/// A connection of a client, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Clients {
    /// Every client may have so many connections.
    pub(crate) fn new(connections_max: u64) -> Arc<Self> {
        Arc::new(Self { connections_max, open: Mutex::default() })
    }

    /// Counts a connection of the client at `address`; `None` when it has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<ClientConnection> {
        let client = match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> IPV6_HOST_BITS << IPV6_HOST_BITS).into(),
            v4 => v4,
        };
        let mut open = self.open();
        let connections = open.get(&client).copied().unwrap_or(0);
        if connections >= self.connections_max {
            return None;
        }
        open.insert(client, connections + 1);
        Some(ClientConnection { clients: self.clone(), client })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, u64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        let mut open = self.clients.open();
        match open.get_mut(&self.client) {
            Some(connections @ 2..) => *connections -= 1,
            _ => drop(open.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_share() {
        let clients = Clients::new(2);
        let enter = |address: &str| clients.enter(address.parse().unwrap());
        let (first, second) = (enter("203.0.113.7").unwrap(), enter("::ffff:203.0.113.7").unwrap());
        assert!(enter("203.0.113.7").is_none());
        assert!(enter("203.0.113.8").is_some());
        drop(first);
        let third = enter("203.0.113.7").unwrap();
        let _network = (enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap());
        assert!(enter("2001:db8::3").is_none());
        assert!(enter("2001:db8:0:1::3").is_some());
        drop((second, third));
        assert_eq!(clients.open().len(), 1);
    }
}
