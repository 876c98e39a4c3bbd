//! Hosts whose workloads store things: in the host's memory, on its disk, over a real nats-server with JetStream, or in
//! a real PostgreSQL. Two tenants, `a` and `b`, have the probe of the stores each, under `a.test` and `b.test`.

use std::time::Duration;

use super::{
    client::Response,
    host::{Host, Options},
    nats::NatsServer,
    postgres::PostgresServer,
};

pub struct Stores {
    pub host: Host,
    pub server: Option<NatsServer>,
    pub database: Option<PostgresServer>,
    /// Removed after the host has ended.
    #[expect(dead_code, reason = "held for its end")]
    pub data: Option<tempfile::TempDir>,
}

/// The probe of a tenant; `config` is that of its `wasi:config` interface, in braces, with what belongs to it.
pub fn probe(tenant: &str, config: &str) -> String {
    format!(
        "\
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata: {{name: probe, namespace: {tenant}}}
spec:
  ingress: {{host: {tenant}.test}}
  timeout: 60s
  template:
    spec:
      hostInterfaces:
        - {{namespace: wasi, package: config, version: 0.2.0-rc.1, interfaces: [store]{config}}}
        - {{namespace: wasi, package: keyvalue, version: 0.2.0-draft, interfaces: [store, atomics, batch]}}
        - {{namespace: wasi, package: blobstore, version: 0.2.0-draft, interfaces: [blobstore, container, types]}}
      components:
        - name: probe-store
          image: file:probe-store.wasm
---
"
    )
}

/// Both tenants' probes; `a` has a setting that `b` has not.
pub fn both() -> String {
    probe("a", ", config: {only-a: secret}") + &probe("b", "")
}

/// On a busy machine the probe takes long to compile, the first time.
pub fn patient(options: Options) -> Options {
    options.flag("--limit", "compile_time_ms=240000").ready_within(Duration::from_secs(240))
}

/// How one backend is started.
pub type Start = fn(Options) -> Stores;

impl Stores {
    /// Every backend, each of which has to do the same.
    pub const BACKENDS: [Start; 4] =
        [Self::in_memory_with, Self::on_disk_with, Self::over_nats_with, Self::in_postgres_with];

    pub fn in_memory() -> Self {
        Self::in_memory_with(Options::default())
    }

    pub fn in_memory_with(options: Options) -> Self {
        let host = Host::start_with(&both(), patient(options));
        Self { host, server: None, database: None, data: None }
    }

    pub fn on_disk() -> Self {
        Self::on_disk_with(Options::default())
    }

    pub fn on_disk_with(options: Options) -> Self {
        let data = tempfile::tempdir().unwrap();
        let host = Host::start_with(&both(), patient(options.flag("--data-dir", data.path().to_str().unwrap())));
        Self { host, server: None, database: None, data: Some(data) }
    }

    pub fn over_nats() -> Self {
        Self::over_nats_with(Options::default())
    }

    pub fn over_nats_with(options: Options) -> Self {
        let server = NatsServer::start_with_jetstream();
        let host = Host::start_with(&both(), patient(options.nats(&server)));
        Self { host, server: Some(server), database: None, data: None }
    }

    pub fn in_postgres() -> Self {
        Self::in_postgres_with(Options::default())
    }

    pub fn in_postgres_with(options: Options) -> Self {
        Self::in_database(PostgresServer::start(), options)
    }

    /// The same with a server of the test's own.
    pub fn in_database(database: PostgresServer, options: Options) -> Self {
        let options = options.flag("--postgres-url", &database.url());
        Self { host: Self::host(options), server: None, database: Some(database), data: None }
    }

    /// A host with both tenants' probes.
    pub fn host(options: Options) -> Host {
        Host::start_with(&both(), patient(options))
    }

    /// Sends a request of tenant `a`.
    pub async fn ask(&self, path: &str, body: &str) -> Response {
        self.ask_as("a", path, body).await
    }

    pub async fn ask_as(&self, tenant: &str, path: &str, body: &str) -> Response {
        self.host.client(&format!("{tenant}.test")).post(path).body(body.to_owned()).send().await
    }

    /// What tenant `a` is told; the test fails where that is a refusal.
    pub async fn say(&self, path: &str, body: &str) -> String {
        let response = self.ask(path, body).await;
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        response.text()
    }

    /// Why tenant `a` is refused; the test fails where it is not.
    pub async fn refusal(&self, path: &str, body: &str) -> String {
        let response = self.ask(path, body).await;
        assert_eq!(response.status, 409, "{path}: {}", response.text());
        response.text()
    }
}
