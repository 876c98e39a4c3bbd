//! The host's side of the compiler child: starts it with nothing in hand, feeds it, bounds it, and reads how it ended.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bytes::Bytes;
use roadstead_config::Limits;
use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
};

use super::{CompileError, frame, load::Artifact};

/// Bytes of the child's complaint that are kept.
const SAID_BYTES_MAX: u64 = 4_096;
/// Characters of it that a reason names.
const SAID_CHARACTERS_MAX: usize = 600;
/// What the child exits with when it refuses a component.
const REFUSED: i32 = 1;

/// The program that compiles one component from standard input to standard output: see
/// [`compile_child`](super::compile_child), which is to be called by it with the limits that its arguments name.
#[derive(Debug, Clone)]
pub struct CompilerProgram {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl CompilerProgram {
    /// The program at `path`, started with `arguments`, and after them `--limit NAME=VALUE` for each limit that
    /// differs from its default.
    pub fn new(path: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self { path: path.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }
}

/// All that a child gave, and how it ended.
struct Ended {
    output: Vec<u8>,
    said: Vec<u8>,
    status: std::io::Result<ExitStatus>,
}

/// Compiles a component in a child of its own, which is gone when this returns or is dropped.
pub(super) async fn compile(
    program: &CompilerProgram,
    limits: &Limits,
    component: Bytes,
) -> Result<Artifact, CompileError> {
    let mut command = Command::new(&program.path);
    command
        .arg0("roadstead")
        .args(&program.arguments)
        .args(limits.changed().flat_map(|setting| ["--limit".to_owned(), setting.to_string()]))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| CompileError::NotStarted(error.to_string()))?;
    let output_max = limits.compile_output_bytes_max.saturating_add(frame::HEADER_BYTES as u64);
    let limit = Duration::from_millis(limits.compile_time_ms);
    match tokio::time::timeout(limit, converse(&mut child, component, output_max)).await {
        Ok(ended) => settle(ended, limits, output_max),
        Err(_) => {
            // Fails only when it has ended meanwhile.
            let _ = child.kill().await;
            Err(CompileError::TimedOut { limit_ms: limits.compile_time_ms })
        }
    }
}

async fn converse(child: &mut Child, component: Bytes, output_max: u64) -> Ended {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A child that ends early says so by its status.
            let _ = stdin.write_all(&component).await;
            let _ = stdin.shutdown().await;
        }
    };
    let output = async {
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            let _ = stdout.take(output_max.saturating_add(1)).read_to_end(&mut output).await;
        }
        output
    };
    let said = async {
        match stderr {
            Some(stderr) => listen(stderr).await,
            None => Vec::new(),
        }
    };
    let ((), output, said, status) = tokio::join!(feed, output, said, child.wait());
    Ended { output, said, status }
}

/// Keeps the beginning and lets the rest pass, so that a child with much to say does not wait.
async fn listen(mut stderr: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = (&mut stderr).take(SAID_BYTES_MAX).read_to_end(&mut said).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    said
}

fn settle(ended: Ended, limits: &Limits, output_max: u64) -> Result<Artifact, CompileError> {
    let status = ended.status.map_err(|error| CompileError::Internal(error.to_string()))?;
    if ended.output.len() as u64 > output_max {
        return Err(CompileError::OutputTooLarge { limit_bytes: limits.compile_output_bytes_max });
    }
    if status.success() {
        return frame::read(ended.output);
    }
    let said = one_line(&ended.said);
    if tells_of_memory(&said) {
        return Err(CompileError::OutOfMemory { limit_bytes: limits.compile_memory_bytes_max });
    }
    if status.code() == Some(REFUSED) {
        return Err(CompileError::Refused(said));
    }
    if status.signal() == Some(Signal::XCPU.as_raw()) {
        return Err(CompileError::TimedOut { limit_ms: limits.compile_time_ms });
    }
    Err(CompileError::Crashed { status: status.to_string(), said })
}

/// What an allocation past the limit makes the child say: Rust's own words, or the system's.
fn tells_of_memory(said: &str) -> bool {
    ["memory allocation of", "Cannot allocate memory", "Resource temporarily unavailable"]
        .iter()
        .any(|text| said.contains(text))
}

/// The child's words as one line of bounded length: they may quote the component, which a tenant wrote.
fn one_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line: String = words.collect::<Vec<_>>().join(" ").chars().take(SAID_CHARACTERS_MAX).collect();
    if line.is_empty() { "it said nothing".into() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_beginning_of_what_a_child_says_is_kept() {
        let words = vec![b'w'; 100_000];
        let said = listen(words.as_slice()).await;
        assert_eq!(said.len() as u64, SAID_BYTES_MAX);
        assert_eq!(one_line(&said), "w".repeat(SAID_CHARACTERS_MAX));
    }
}
