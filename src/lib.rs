//! Roadstead: a multi-tenant WebAssembly edge host. This is the face for programs that embed it.
//!
//! Everything is made in the crates below; what is named here keeps its name and place.

mod admin;
pub mod cli;

/// Hosts: how they are put together, and what can be asked of them.
pub mod host {
    pub use roadstead_runtime::WorkloadId;
    pub use roadstead_runtime::host::{
        BuildError, Host, HostApi, HostBuilder, HostStatus, TriggerSpec, WorkloadRequest, WorkloadState, WorkloadStatus,
    };

    /// HTTP for a host.
    pub mod http {
        pub use roadstead_proxy::{
            CertificateFiles, DynamicRouter, HttpServer, ListenAt, ListenError, TlsError, TlsFiles,
        };
    }
}

/// Where images come from and where they are kept.
pub mod artifact {
    pub use roadstead_runtime::artifact::{
        ArtifactCleaner, ArtifactLease, ArtifactOptions, ArtifactStore, Declaration, Inspected, PullError,
        PullProgress, PullSecretError, PullSource, Pulled, pull_secret,
    };
}

/// How components become code, for programs that let a child process of theirs compile, or fill a cache beforehand.
pub mod compile {
    pub use roadstead_runtime::compile::{
        ChildError, CodeSource, CompileError, CompilerProgram, PrecompileError, Precompiled, Precompiler, compile_child,
    };
}

/// Outgoing HTTP of components: what an operator opens, and what resolves names.
pub mod egress {
    pub use roadstead_runtime::egress::{EgressOptions, EgressSetupError, Resolve, SystemResolver};
}

/// Capabilities of a host, and what one needs to write another.
pub mod plugin {
    pub use roadstead_runtime::plugin::{
        Activation, BoundState, ComponentBinding, HostPlugin, InterfaceOffer, PluginContext, PluginError,
    };
    pub use roadstead_runtime::{
        BackendHealth, Call, CallError, ComponentHandle, FaultKind, GuestFuture, GuestLog, InLane, InstanceState,
        LaneError, LogText, OwnedSeries, PoolStatus, Series, SeriesByOwner, TraceContext, TraceId,
    };

    /// Connections to NATS for capabilities that store things.
    pub use roadstead_plugins::tenant_nats::NatsClients;

    /// The folder of capabilities that store things on the host's own disk.
    pub use roadstead_plugins::{
        data_dir::{DataDir, DataDirError},
        embedded::DiskError,
    };
    /// A PostgreSQL database for capabilities that store things.
    pub mod postgres {
        pub use roadstead_plugins::tenant_postgres::{Database, PostgresError, PostgresUrl, PostgresUrlError};
    }

    /// `wasi:blobstore`.
    pub mod wasi_blobstore {
        pub use roadstead_plugins::wasi_blobstore::{
            BlobBackend, BlobError, Blobstore, Chunks, ContainerInfo, Containers, DiskContainers, InMemoryContainers,
            NatsBlobstore, NatsContainers, ObjectInfo, ObjectPage, PostgresBlobstore, PostgresContainers,
        };
    }

    /// `wasi:config`.
    pub mod wasi_config {
        pub use roadstead_plugins::wasi_config::DynamicConfig;
    }

    /// `wasi:keyvalue`.
    pub mod wasi_keyvalue {
        pub use roadstead_plugins::wasi_keyvalue::{
            Buckets, DiskBuckets, Expected, InMemoryBuckets, KeyPage, KeyValue, KeyValueBackend, KeyValueError,
            NatsBuckets, NatsKeyValue, PostgresBuckets, PostgresKeyValue, Versioned,
        };
    }

    /// `wasi:logging`.
    pub mod wasi_logging {
        pub use roadstead_plugins::wasi_logging::TracingLogger;
    }

    /// `wasmcloud:messaging`.
    pub mod wasmcloud_messaging {
        pub use roadstead_plugins::wasmcloud_messaging::{
            ConnectError, Messaging, NatsMessaging, NatsServer, TenantSubjects, connect_nats, connect_scheduler,
        };
    }

    /// `wasmcloud:secrets`.
    pub mod wasmcloud_secrets {
        pub use roadstead_plugins::wasmcloud_secrets::{SecretBytes, SecretError, Secrets};
    }
}

/// Hosts of a fleet, which a scheduler drives over NATS.
pub mod washlet {
    pub use roadstead_runtime::washlet::{
        AfterExit, ClusterError, ClusterHost, ClusterHostBuilder, ClusterShutdown, Exit, Restarts, run_cluster_host,
    };
}

/// Manifests, limits and the types that they are made of.
pub use roadstead_config as config;

/// The programs of docs/embedding.md compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct Embedding;

/// The program of docs/fleet.md compiles.
#[cfg(doctest)]
#[doc = include_str!("../docs/fleet.md")]
struct Fleet;
