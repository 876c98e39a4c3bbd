//! The service with compilers that misbehave, and with none.

use std::{net::TcpListener, path::Path};

use roadstead_metrics::Metrics;

use super::*;
use crate::{
    engine::{EngineWithClock, compiler_engine},
    metrics::RuntimeMetrics,
};

/// The smallest component.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
/// A component whose one section is cut off.
const BROKEN: &[u8] = b"\0asm\x0d\0\x01\0\x01";

fn limits() -> Limits {
    Limits { compile_time_ms: 5_000, ..Limits::default() }
}

fn service(limits: Limits, program: Option<CompilerProgram>, cache: Option<&Path>) -> CompileService {
    let limits = Arc::new(limits);
    let cache = cache.map(|path| Arc::new(Cache::open(path, &limits).unwrap()));
    let metrics = RuntimeMetrics::new(&Metrics::default()).unwrap().compiles;
    CompileService::with_cache(compiler_engine(&limits).unwrap(), limits, program, cache, metrics)
}

/// A compiler that is a shell script.
fn script(text: &str) -> Option<CompilerProgram> {
    Some(CompilerProgram::new("/bin/sh", ["-c", text]))
}

async fn failure(limits: Limits, program: Option<CompilerProgram>) -> CompileError {
    let result = service(limits, program, None).ready(Bytes::from_static(EMPTY)).await;
    result.err().expect("this compiler gives no code")
}

#[tokio::test]
async fn a_compiler_that_breaks_down_is_told_apart() {
    let crashed = failure(limits(), script("echo some words >&2; kill -SEGV $$")).await;
    assert_eq!(crashed, CompileError::Crashed { status: "signal: 11 (SIGSEGV)".into(), said: "some words".into() });
    let crashed = failure(limits(), script("exit 101")).await;
    assert_eq!(crashed, CompileError::Crashed { status: "exit status: 101".into(), said: "it said nothing".into() });
    let refused = failure(limits(), script("cat >/dev/null; printf 'not\\nvalid\\033[1m' >&2; exit 1")).await;
    assert_eq!(refused, CompileError::Refused("not valid [1m".into()));
    let memory = failure(limits(), script("echo memory allocation of 99 bytes failed >&2; kill -ABRT $$")).await;
    assert_eq!(memory, CompileError::OutOfMemory { limit_bytes: limits().compile_memory_bytes_max });
    assert!(matches!(
        failure(limits(), Some(CompilerProgram::new("/no/such/program", [""; 0]))).await,
        CompileError::NotStarted(_)
    ));
}

#[tokio::test]
async fn output_that_is_no_code_is_refused() {
    for text in [
        "true",
        "printf RSTDCODE",
        "printf 'something else that is long enough'",
        "printf 'RSTDCODE\\005\\0\\0\\0\\0\\0\\0\\0four'",
        "printf 'RSTDCODE\\004\\0\\0\\0\\0\\0\\0\\0more than four'",
        "printf 'RSTDCODE\\004\\0\\0\\0\\0\\0\\0\\0four'",
    ] {
        let error = failure(limits(), script(text)).await;
        assert!(matches!(error, CompileError::Garbage(_)), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_compiler_without_end_is_ended() {
    let begun = Instant::now();
    let short = Limits { compile_time_ms: 200, ..limits() };
    assert_eq!(failure(short, script("exec sleep 60")).await, CompileError::TimedOut { limit_ms: 200 });
    let small = Limits { compile_output_bytes_max: 10_000, ..limits() };
    assert_eq!(
        failure(small, script("exec cat /dev/zero")).await,
        CompileError::OutputTooLarge { limit_bytes: 10_000 }
    );
    let chatty = failure(limits(), script("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3")).await;
    assert!(chatty.to_string().len() < 1_000, "{chatty}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_child_inherits_no_socket_no_file_and_no_environment() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = tempfile::tempfile().unwrap();
    // What this process itself was started with and did not close is passed on; what the host opens is not.
    let said = failure(limits(), script("ls -l /proc/self/fd /proc/self/cwd >&2; env >&2; exit 1")).await.to_string();
    assert!(said.contains("0 -> pipe:"), "{said}");
    assert!(!said.contains("socket:") && !said.contains("deleted"), "{said}");
    assert!(said.contains("/proc/self/cwd -> /"), "{said}");
    assert!(!said.contains("CARGO") && !said.contains("HOME="), "{said}");
    drop((listener, file));
}

#[tokio::test]
async fn the_same_component_shares_its_code_while_somebody_has_it() {
    let service = service(limits(), None, None);
    let first = service.ready(Bytes::from_static(EMPTY)).await.unwrap();
    assert_eq!(first.source, CodeSource::Process);
    let second = service.ready(Bytes::from_static(EMPTY)).await.unwrap();
    assert_eq!(second.source, CodeSource::Memory);
    assert!(Arc::ptr_eq(&first.component, &second.component));
    drop((first, second));
    assert_eq!(service.ready(Bytes::from_static(EMPTY)).await.unwrap().source, CodeSource::Process);
}

#[tokio::test]
async fn callers_at_the_same_time_share_one_compilation() {
    let service = service(limits(), None, None);
    let ready = futures::future::join_all((0..8).map(|_| service.ready(Bytes::from_static(EMPTY)))).await;
    let ready: Vec<Ready> = ready.into_iter().map(Result::unwrap).collect();
    assert_eq!(ready.iter().filter(|ready| ready.source == CodeSource::Process).count(), 1);
}

#[tokio::test]
async fn so_many_compilers_run_at_a_time_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    // Each notes how many there are besides it, and stays long enough to be seen.
    let program = script(&format!(
        "cd {} && : > under-way.$$ && ls | grep -c under-way >> counts && sleep 0.3 && rm under-way.$$; exit 1",
        folder.path().display()
    ));
    let service = service(Limits { compiles_at_once_max: 2, compile_time_ms: 60_000, ..limits() }, program, None);
    let different = (0..6_u8).map(|number| Bytes::from([EMPTY, &[0, 2, 1, number]].concat()));
    let refused = futures::future::join_all(different.map(|component| service.ready(component))).await;
    assert!(refused.iter().all(|refused| matches!(refused, Err(CompileError::Refused(_)))));
    let counts = std::fs::read_to_string(folder.path().join("counts")).unwrap();
    let counts: Vec<u32> = counts.lines().map(|count| count.parse().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().max()), (6, Some(&2)), "{counts:?}");
}

#[tokio::test]
async fn what_cannot_be_compiled_is_not_tried_again_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let program = script(&format!("echo x >> {}; echo no >&2; exit 1", log.display()));
    let quick = Limits { compile_retry_ms: 300, ..limits() };
    let service = service(quick, program, None);
    let tries = || std::fs::read_to_string(&log).unwrap().lines().count();
    for _ in 0..3 {
        assert_eq!(service.ready(Bytes::from_static(EMPTY)).await.err(), Some(CompileError::Refused("no".into())));
    }
    assert_eq!(tries(), 1);
    while tries() == 1 {
        let _ = service.ready(Bytes::from_static(EMPTY)).await;
    }
}

#[tokio::test]
async fn a_damaged_file_is_compiled_again_and_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let source = async || {
        let service = service(limits(), None, Some(&path));
        service.ready(Bytes::from_static(EMPTY)).await.unwrap().source
    };
    assert_eq!(source().await, CodeSource::Process);
    assert_eq!(source().await, CodeSource::Disk);
    let files = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let file = files.into_iter().find(|file| file.extension().is_some()).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(source().await, CodeSource::Process);
    assert_eq!(source().await, CodeSource::Disk);
}

#[tokio::test]
async fn a_cache_that_cannot_be_used_is_done_without() {
    let options = CompileOptions { program: None, cache_directory: Some("/dev/null/cache".into()) };
    let metrics = RuntimeMetrics::new(&Metrics::default()).unwrap().compiles;
    let engine = compiler_engine(&limits()).unwrap();
    let service = CompileService::new(engine, Arc::new(limits()), options, metrics).await;
    let ready = service.ready(Bytes::from_static(EMPTY)).await.unwrap();
    assert!(matches!((ready.source, ready.kept), (CodeSource::Process, Kept::AsItWas)));
    let refused = service.ready(Bytes::from_static(BROKEN)).await.err().unwrap();
    assert!(matches!(refused, CompileError::Refused(_)));
}

#[test]
fn a_compiler_and_a_host_with_the_same_limits_have_the_same_fingerprint() {
    let of = |limits: &Limits| {
        let host = EngineFingerprint::of(EngineWithClock::new(limits).unwrap().engine());
        assert_eq!(host, EngineFingerprint::of(&compiler_engine(limits).unwrap()));
        host
    };
    let changed =
        Limits { instances_max: 10, memory_slot_bytes_max: 1 << 28, guest_stack_bytes_max: 1 << 18, ..limits() };
    assert_eq!(of(&Limits::default()), of(&changed), "none of these limits shapes code");
}
