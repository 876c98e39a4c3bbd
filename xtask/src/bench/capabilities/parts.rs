//! What is started: one host that has every place for values, the servers of two of them, and the server that answers
//! outgoing requests. It does not know how it is measured.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

use crate::bench::postgres::Postgres;
use crate::bench::server::{Roadstead, Server};
use crate::bench::{Bench, programs};
use crate::setup::TestParts;

pub(super) const STORE_HOST: &str = "store.test";
pub(super) const GATEWAY_HOST: &str = "gateway.test";
/// Outgoing requests of a run.
pub(super) const REQUESTS: u32 = 20_000;
/// More than a run sends: a call may usually send 1,000.
const REQUESTS_LIMIT: &str = "outgoing_requests_per_call_max=1000000";

/// Where values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    Memory,
    Disk,
    Nats,
    Postgres,
}

/// What is done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Get,
    Set,
}

impl Backend {
    pub(super) const ALL: [Self; 4] = [Self::Memory, Self::Disk, Self::Nats, Self::Postgres];

    /// As manifests have it, and the name of the bucket.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Nats => "nats",
            Self::Postgres => "postgres",
        }
    }

    /// Calls of a run: fewer where each waits for a disk.
    pub(super) fn calls(self, operation: Operation) -> u32 {
        match (self, operation) {
            (Self::Memory, _) => 5_000,
            (Self::Disk | Self::Nats | Self::Postgres, Operation::Get) => 1_000,
            (Self::Nats, Operation::Set) => 500,
            (Self::Disk | Self::Postgres, Operation::Set) => 200,
        }
    }
}

impl Operation {
    pub(super) const ALL: [Self; 2] = [Self::Get, Self::Set];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
        }
    }
}

/// What runs. The host ends before what it is connected to.
pub(super) struct Parts {
    pub(super) host: Server,
    pub(super) upstream: Server,
    nats: Server,
    postgres: Postgres,
    pub(super) native: PathBuf,
    native_file: PathBuf,
}

impl Parts {
    /// Starts all of it.
    ///
    /// # Errors
    /// When a part is not installed or does not start.
    pub(super) fn start(bench: &Bench<'_>, roadstead: &Path, native: &Path, hyper: &Path) -> Result<Self> {
        let nats = TestParts::ready(bench.layout).context("no nats-server: run `cargo xtask setup`")?.nats_server;
        let nats = Server::nats(bench, &nats, Some(&bench.scratch.folder("jetstream")?)).context("nats-server")?;
        let postgres = Postgres::start(bench).context("PostgreSQL")?;
        let upstream = Server::bare_on(programs::CLIENT_CORE, bench, "bare-hyper", hyper, &["http1"])?;

        let folder = bench.scratch.folder("capabilities")?;
        for component in ["probe-store", "probe-gateway"] {
            let file = format!("{component}.wasm");
            let original = bench.layout.test_guests().join(&file);
            fs::copy(&original, folder.join(&file)).with_context(|| format!("cannot copy {}", original.display()))?;
        }
        let manifests = folder.join("app.yaml");
        fs::write(&manifests, manifest(&upstream.http.to_string(), upstream.http.port()))
            .context("cannot write a manifest")?;
        let data = bench.scratch.folder("data")?;
        let (data, url) = (data.display().to_string(), postgres.url());
        let more = ["--data-dir", &data, "--postgres-url", &url, "--allow-host-loopback", "--limit", REQUESTS_LIMIT];
        let component_cache = bench.scratch.path().join("component-cache");
        let (program, manifests, component_cache) = (roadstead, &*manifests, &*component_cache);
        let start = Roadstead { program, manifests, component_cache, pinned: true, nats: Some(nats.http), more: &more };
        let host = Server::roadstead(bench, &start).context("the host")?;
        let native_file = bench.scratch.folder("native")?.join("values.redb");
        Ok(Self { host, upstream, nats, postgres, native: native.to_owned(), native_file })
    }

    /// What native-calls calls this backend's library, and where it is to keep values; `None` where there is none.
    pub(super) fn native_place(&self, backend: Backend) -> Option<(&'static str, String)> {
        match backend {
            Backend::Memory => None,
            Backend::Disk => Some(("redb", self.native_file.display().to_string())),
            Backend::Nats => Some(("nats", format!("nats://{}", self.nats.http))),
            Backend::Postgres => Some(("postgres", self.postgres.url())),
        }
    }

    /// # Errors
    /// When one has ended by itself.
    pub(super) fn must_run(&mut self) -> Result<()> {
        let Self { host, upstream, nats, postgres, .. } = self;
        [host, upstream, nats, &mut postgres.server].into_iter().try_for_each(Server::must_run)
    }
}

/// The probe of the stores, with a bucket in each backend, and a gateway that may reach `upstream`.
fn manifest(upstream: &str, port: u16) -> String {
    let entries = Backend::ALL.map(|backend| {
        let name = backend.name();
        format!(
            "        - {{namespace: wasi, package: keyvalue, version: 0.2.0-draft, interfaces: [store, atomics, batch], \
             name: {name}, config: {{backend: {name}}}}}\n"
        )
    });
    format!(
        "\
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata: {{name: store, namespace: bench}}
spec:
  ingress: {{host: {STORE_HOST}}}
  timeout: 120s
  template:
    spec:
      hostInterfaces:
        - {{namespace: wasi, package: config, version: 0.2.0-rc.1, interfaces: [store]}}
        - namespace: wasi
          package: blobstore
          version: 0.2.0-draft
          interfaces: [blobstore, container, types]
          config: {{backend: memory}}
{}      components:
        - name: store
          image: file:probe-store.wasm
---
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata: {{name: gateway, namespace: bench}}
spec:
  ingress: {{host: {GATEWAY_HOST}}}
  timeout: 120s
  template:
    spec:
      hostInterfaces:
        - {{namespace: wasi, package: logging, version: 0.1.0-draft, interfaces: [logging]}}
        - {{namespace: wasmcloud, package: messaging, version: '0.2.0', interfaces: [consumer, types]}}
      components:
        - name: gateway
          image: file:probe-gateway.wasm
          localResources:
            allowedHosts: ['{upstream}']
            allowedHostLoopbackPorts: [{port}]
",
        entries.concat(),
    )
}
