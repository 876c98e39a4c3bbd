//! What is asked of the servers: the components, their manifests and the requests. It does not know how it is measured.

use anyhow::{Context, Result};
use clap::ValueEnum;
use std::fs;
use std::path::PathBuf;

use crate::bench::{Bench, manifests};

const ECHO_BYTES: usize = 256 * 1024;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Case {
    /// The smallest component: one constant answer
    Hello,
    /// A body of 1 MiB, streamed by the component
    Stream,
    /// A body of 256 KiB, sent back by the component
    Echo,
    /// The page of examples/harbor-watch; Roadstead alone, since `wasmtime serve` has no messaging
    Page,
}

/// A case on this machine.
pub(super) struct Prepared {
    /// What Roadstead is started with.
    pub(super) manifest: PathBuf,
    /// What `wasmtime serve` is started with, where it can be.
    pub(super) for_wasmtime: Option<PathBuf>,
    /// Path and query.
    pub(super) target: &'static str,
    pub(super) host: Option<&'static str>,
    /// For wrk, where the request is no plain GET.
    pub(super) script: Option<PathBuf>,
    /// For oha, where the request is a POST.
    pub(super) body: Option<PathBuf>,
}

impl Case {
    pub(super) const ALL: [Self; 4] = [Self::Hello, Self::Stream, Self::Echo, Self::Page];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Stream => "stream",
            Self::Echo => "echo",
            Self::Page => "page",
        }
    }

    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Hello => "the smallest component",
            Self::Stream => "a streamed body of 1 MiB",
            Self::Echo => "a body of 256 KiB there and back",
            Self::Page => "the page of harbor-watch",
        }
    }

    /// Numbers of connections at which its speed is measured.
    pub(super) fn connections(self) -> &'static [u32] {
        match self {
            Self::Hello => &[1, 32, 256],
            Self::Stream | Self::Echo | Self::Page => &[32],
        }
    }

    /// Writes what the servers and clients read.
    ///
    /// # Errors
    /// When a component is missing or a file cannot be written.
    pub(super) fn prepare(self, bench: &Bench<'_>) -> Result<Prepared> {
        match self {
            Self::Hello => one_component(bench, self.name(), "bare-http", "/"),
            Self::Stream => one_component(bench, self.name(), "bulk-http", "/stream?bytes=1048576"),
            Self::Echo => {
                let script = format!("wrk.method = 'POST'\nwrk.body = string.rep('r', {ECHO_BYTES})\n");
                Ok(Prepared {
                    script: Some(bench.scratch.file("echo.lua", script.as_bytes())?),
                    body: Some(bench.scratch.file("echo.body", &vec![b'r'; ECHO_BYTES])?),
                    ..one_component(bench, self.name(), "bulk-http", "/echo")?
                })
            }
            Self::Page => Ok(Prepared {
                manifest: bench.layout.example("harbor-watch").join("app.yaml"),
                for_wasmtime: None,
                target: "/",
                host: Some("harborwatch.localhost"),
                script: None,
                body: None,
            }),
        }
    }
}

/// A folder with a component and a manifest that answers any host with it.
fn one_component(bench: &Bench<'_>, name: &str, component: &str, target: &'static str) -> Result<Prepared> {
    let folder = bench.scratch.folder(name)?;
    let file = format!("{component}.wasm");
    let copy = folder.join(&file);
    let original = bench.layout.test_guests().join(&file);
    fs::copy(&original, &copy).with_context(|| format!("cannot copy {}", original.display()))?;
    let manifest = folder.join("app.yaml");
    fs::write(&manifest, manifests::trigger(name, "*", "30s", &file)).context("cannot write a manifest")?;
    Ok(Prepared { manifest, for_wasmtime: Some(copy), target, host: None, script: None, body: None })
}
