//! What is started and what is asked: a nats-server, a host that uses it and one that does not, both with the same
//! manifest. It does not know how it is measured.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

use crate::bench::server::{Roadstead, Server};
use crate::bench::{Bench, manifests};
use crate::setup::TestParts;

/// What the worker subscribes to, and what bare-gateway asks.
pub(super) const SUBJECT: &str = "bare.echo";
const HELLO_HOST: &str = "hello.test";
const ASKING_HOST: &str = "asking.test";
const POOL_SIZE: u32 = 8;

/// The way of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// HTTP to a component that answers by itself.
    Hello,
    /// HTTP, a gateway, NATS, the worker, and back.
    HttpNats,
    /// The same through the broker in the process.
    HttpInProcess,
    /// NATS, the worker, and back.
    Nats,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [Self::Hello, Self::HttpNats, Self::HttpInProcess, Self::Nats];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::HttpNats => "HTTP, NATS",
            Self::HttpInProcess => "HTTP, in process",
            Self::Nats => "NATS",
        }
    }

    /// The host that is asked over HTTP.
    pub(super) fn host_name(self) -> Option<&'static str> {
        match self {
            Self::Hello => Some(HELLO_HOST),
            Self::HttpNats | Self::HttpInProcess => Some(ASKING_HOST),
            Self::Nats => None,
        }
    }
}

/// What runs.
pub(super) struct Parts {
    pub(super) nats: Server,
    with_nats: Server,
    in_process: Server,
}

impl Parts {
    /// Starts all of it.
    ///
    /// # Errors
    /// When a part is not installed or does not start.
    pub(super) fn start(bench: &Bench<'_>, roadstead: &Path) -> Result<Self> {
        let nats = TestParts::ready(bench.layout).context("no nats-server: run `cargo xtask setup`")?.nats_server;
        let folder = bench.scratch.folder("messaging")?;
        for component in ["bare-http", "bare-gateway", "bare-worker"] {
            let file = format!("{component}.wasm");
            let original = bench.layout.test_guests().join(&file);
            fs::copy(&original, folder.join(&file)).with_context(|| format!("cannot copy {}", original.display()))?;
        }
        let manifest = manifests::trigger("hello", HELLO_HOST, "30s", "bare-http.wasm")
            + &manifests::trigger("asking", ASKING_HOST, "30s", "bare-gateway.wasm")
            + &manifests::worker("worker", SUBJECT, POOL_SIZE, "bare-worker.wasm");
        let manifests = folder.join("app.yaml");
        fs::write(&manifests, manifest).context("cannot write a manifest")?;

        let nats = Server::nats(bench, &nats, None).context("nats-server")?;
        let component_cache = bench.scratch.path().join("component-cache");
        let host = |nats| {
            let (program, manifests, component_cache) = (roadstead, &*manifests, &*component_cache);
            Server::roadstead(bench, &Roadstead { program, manifests, component_cache, pinned: true, nats, more: &[] })
        };
        let with_nats = host(Some(nats.http)).context("the host with NATS")?;
        let in_process = host(None).context("the host with its own broker")?;
        Ok(Self { nats, with_nats, in_process })
    }

    /// The host that a request goes through.
    pub(super) fn host(&self, way: Way) -> &Server {
        match way {
            Way::HttpInProcess => &self.in_process,
            Way::Hello | Way::HttpNats | Way::Nats => &self.with_nats,
        }
    }

    /// # Errors
    /// When one has ended by itself.
    pub(super) fn must_run(&mut self) -> Result<()> {
        [&mut self.nats, &mut self.with_nats, &mut self.in_process].into_iter().try_for_each(Server::must_run)
    }
}
