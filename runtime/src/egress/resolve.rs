//! How names become addresses. Whether an address may be dialled is not decided here.

use std::{io, net::IpAddr};

use async_trait::async_trait;

/// Finds the addresses of a name. It is asked once for each connection, never for one that is there.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// The addresses of `name`, which is in lower case and has no trailing dot.
    ///
    /// # Errors
    /// When they cannot be found out.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own resolver, with its search list, its hosts file and its caches.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        // The port is only there because the function asks for one.
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}
