//! The hostile corpus: each component and request that means harm, the answer that is documented for it, and what must
//! be true of the host afterwards. The components are in `tests/hostile`; those that are large are made here.

use std::{
    fs,
    io::ErrorKind,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use http::StatusCode;

use crate::harness::{
    client::Client,
    host::{Host, Options, write_application},
    manifest::trigger,
};

/// Time past its deadline in which a call must have ended.
const GRACE: Duration = Duration::from_millis(50);
/// What a slow, shared machine may add to that: connecting, a scheduler that is elsewhere, an unoptimised host.
const SLOW_MACHINE: Duration = Duration::from_secs(1);
/// Deadline of what is expected to run into it.
const SHORT: Duration = Duration::from_millis(500);
/// Deadline of what is expected to end before it.
const LONG: Duration = Duration::from_secs(20);
/// What the process's allocator may keep of the memory that a hostile call made the host use: `table_entries_max` times
/// what one entry may hold, see `docs/limits.md`.
const RETAINED_BYTES_MAX: u64 = 256 << 20;
const MEBIBYTE: u64 = 1 << 20;

/// What a component of `tests/hostile` ends in.
enum Ending {
    /// The workload runs; a request gets this status and `x-roadstead-error`.
    Answer(u16, &'static str),
    /// The workload is in WORKLOAD_STATE_ERROR with a reason that contains this.
    Refused(&'static str),
}
use Ending::{Answer, Refused};

const COMPONENTS: &[(&str, Ending)] = &[
    ("async-callback", Refused("cannot be compiled")),
    ("atomic-notify", Refused("cannot be compiled")),
    ("borrowed-handles", Answer(502, "trap")),
    ("bulk-memory", Answer(504, "deadline")),
    ("bulk-table", Answer(504, "deadline")),
    ("empty", Refused("no component of the workload exports wasi:http/incoming-handler")),
    ("handles", Answer(502, "trap")),
    ("host-calls", Answer(504, "deadline")),
    ("import-wrong-type", Refused("cannot be linked")),
    ("initial-memory", Answer(502, "memory-limit")),
    ("initial-memory-past-slot", Refused("cannot be compiled")),
    ("loop-in-handler", Answer(504, "deadline")),
    ("loop-in-start", Answer(504, "deadline")),
    ("many-memories", Answer(502, "memory-limit")),
    ("memories-in-module", Refused("cannot be compiled")),
    ("memory-grow", Answer(502, "memory-limit")),
    ("memory-grow-again", Answer(504, "deadline")),
    ("no-response", Answer(502, "no-response")),
    ("out-of-bounds", Answer(502, "trap")),
    ("realloc-calls-out", Answer(502, "trap")),
    ("recursion", Answer(502, "stack-overflow")),
    ("recursion-in-start", Answer(502, "stack-overflow")),
    ("subtypes", Refused("cannot be compiled")),
    ("table-grow", Answer(502, "trap")),
    ("table-initial", Refused("cannot be compiled")),
    ("tables-in-module", Refused("cannot be compiled")),
    ("tail-call", Answer(502, "trap")),
    ("trap-in-start", Answer(502, "trap")),
    ("unreachable", Answer(502, "trap")),
    ("utf16-unaligned", Answer(502, "trap")),
    ("wrong-type", Refused("cannot be linked")),
    // Made here.
    ("deep-components", Refused("no component of the workload exports")),
    ("deep-core-types", Answer(502, "no-response")),
    ("deep-types", Refused("cannot be compiled")),
    ("functions", Answer(502, "no-response")),
    ("instances-past-bound", Refused("cannot be compiled")),
    ("zero-length", Refused("is not WebAssembly")),
];

/// What the probe does on request: path, status, `x-roadstead-error`.
const REQUESTS: &[(&str, u16, &str)] = &[
    ("/hoard-fields", 502, "trap"),
    ("/hoard-fields?bytes=60000", 502, "trap"),
    ("/hoard-bodies", 502, "trap"),
    ("/hoard-outputs", 502, "trap"),
    ("/random", 502, "trap"),
    ("/random?bytes=1048577", 502, "trap"),
    ("/random?bytes=1048576", 200, ""),
    ("/response-headers?count=1&bytes=1000000", 502, "trap"),
    ("/response-headers?count=30000", 502, "trap"),
    ("/output?mb=4", 200, ""),
    ("/log?times=20000&message=flood", 200, ""),
    // One argument below and one past `hostcall_bytes_max`.
    ("/log?mb=15", 200, ""),
    ("/log?mb=17", 502, "trap"),
    ("/hoard-sockets?count=10", 200, ""),
    ("/env", 200, ""),
];

/// Requests to the probe that only their deadline ends.
const ENDLESS_REQUESTS: &[&str] = &["/host-calls", "/memory-fill?mb=100", "/spin", "/sleep?ms=60000"];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile")
}

/// The component called `name`, as bytes.
fn component(name: &str) -> Vec<u8> {
    let text = match name {
        "zero-length" => return Vec::new(),
        "deep-components" => return nested(2_000),
        "deep-types" => {
            let lists: String = (1..2_000).map(|n| format!("(type $t{n} (list $t{}))", n - 1)).collect();
            format!("(component (type $t0 (list u8)) {lists})")
        }
        "deep-core-types" => {
            let types = (1..50_000).map(|n| format!("(type $t{n} (func (param (ref null $t{}))))", n - 1));
            with_module(&format!("(type $t0 (func)) {}", types.collect::<String>()), "")
        }
        "functions" => with_module(&"(func (param i64) (result i64) (local.get 0))".repeat(10_000), ""),
        "instances-past-bound" => with_module("", &"(core instance (instantiate $module))".repeat(32)),
        _ => fs::read_to_string(corpus().join(name).with_extension("wat")).unwrap(),
    };
    wat::parse_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A component in a component, `depth` times: more than the text format lets one write.
fn nested(depth: usize) -> Vec<u8> {
    const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";
    const COMPONENT_SECTION: u8 = 4;
    (1..depth).fold(HEADER.to_vec(), |inner, _| {
        let mut outer = HEADER.to_vec();
        outer.push(COMPONENT_SECTION);
        let mut length = inner.len();
        while length > 0x7f {
            outer.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(inner);
        outer
    })
}

/// A component that returns without a response, with more in its module and behind it.
fn with_module(functions: &str, instances: &str) -> String {
    let text = fs::read_to_string(corpus().join("no-response.wat")).unwrap();
    let text = text.replacen("(core module $module", &format!("(core module $module {functions}"), 1);
    let first = "(core instance $instance (instantiate $module))";
    assert!(text.contains(first));
    text.replacen(first, &format!("{first} {instances}"), 1)
}

fn milliseconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn is_endless(ending: &Ending) -> bool {
    matches!(ending, Answer(504, _))
}

/// The probe under two deadlines, and a neighbour in another namespace.
fn probes() -> String {
    let probe = |name: &str, timeout| {
        let host = format!("{name}.test");
        trigger(name, &host, "probe-gateway").namespace("hostile").timeout(&milliseconds(timeout)).yaml()
    };
    let neighbour = trigger("neighbour", "neighbour.test", "bare-http").namespace("other").yaml();
    neighbour + &probe("probe", LONG) + &probe("impatient", SHORT)
}

/// A host with all of the corpus beside the neighbour.
fn start_corpus() -> Host {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = probes();
    for (name, ending) in COMPONENTS {
        let timeout = if is_endless(ending) { SHORT } else { LONG };
        let image = format!("made-{name}");
        fs::write(folder.path().join(&image).with_extension("wasm"), component(name)).unwrap();
        let workload = trigger(name, &format!("{name}.test"), &image);
        manifest += &workload.namespace("hostile").timeout(&milliseconds(timeout)).yaml();
    }
    write_application(folder.path(), &manifest);
    Host::start_in(folder, Options::default())
}

/// Sends a request and looks at its answer and at the time that it took.
async fn expect(client: &Client, path: &str, status: u16, kind: &str, deadline: Duration, case: &str) {
    let begun = Instant::now();
    let response = client.get(path).send().await;
    let took = begun.elapsed();
    let found = (response.status.as_u16(), response.header("x-roadstead-error"));
    assert_eq!(found, (status, kind), "{case}: {}", response.text());
    assert!(took < deadline + GRACE + SLOW_MACHINE, "{case} took {took:?} of {deadline:?}");
    println!("{case}: {status} {kind} after {took:?}");
}

/// Asks the neighbour without a pause until `work` is done; the answers that it gave meanwhile.
async fn beside_neighbour(host: &Host, work: impl Future<Output = ()>) -> u32 {
    let neighbour = host.client("neighbour.test");
    let mut answers = 0;
    let served = async {
        loop {
            assert_eq!(neighbour.get("/").send().await.status, StatusCode::OK);
            answers += 1;
        }
    };
    tokio::select! {
        () = work => {}
        () = served => {}
    }
    answers
}

#[test]
fn every_component_of_the_corpus_is_tried() {
    for file in fs::read_dir(corpus()).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(COMPONENTS.iter().any(|(known, _)| *known == name), "{} has no row in the table", path.display());
    }
}

#[tokio::test]
async fn hostile_components_get_their_answer_and_leave_nothing_behind() {
    let host = start_corpus();
    for (name, ending) in COMPONENTS {
        let status = host.workload(name).await;
        match ending {
            Answer(..) => assert_eq!(status["state"], "WORKLOAD_STATE_RUNNING", "{status}"),
            Refused(reason) => {
                assert_eq!(status["state"], "WORKLOAD_STATE_ERROR", "{status}");
                assert!(status["reason"].as_str().unwrap().contains(reason), "{name}: {status}");
                println!("{name}: {}", status["reason"]);
            }
        }
    }
    let before = host.resident_bytes();
    let answers = beside_neighbour(&host, async {
        for (name, ending) in COMPONENTS {
            let client = host.client(&format!("{name}.test"));
            match ending {
                Answer(status, kind) => {
                    let deadline = if is_endless(ending) { SHORT } else { LONG };
                    expect(&client, "/", *status, kind, deadline, name).await;
                }
                Refused(_) => assert_eq!(client.get("/").send().await.status, StatusCode::NOT_FOUND, "{name}"),
            }
        }
    })
    .await;
    assert!(answers > 20, "the neighbour got {answers} answers");
    host.wait_for_metric("roadstead_instances", &[], 0.0).await;
    let grown = host.resident_bytes().saturating_sub(before);
    assert!(grown < 64 * MEBIBYTE, "the host keeps {grown} bytes");
}

#[tokio::test]
async fn hostile_requests_get_their_answer_and_leave_nothing_behind() {
    let host = Host::start(&probes());
    let (patient, impatient) = (host.client("probe.test"), host.client("impatient.test"));
    let (before, files) = (host.resident_bytes(), host.open_files());
    let answers = beside_neighbour(&host, async {
        for (path, status, kind) in REQUESTS {
            expect(&patient, path, *status, kind, LONG, path).await;
        }
        for path in ENDLESS_REQUESTS {
            expect(&impatient, path, 504, "deadline", SHORT, path).await;
        }
    })
    .await;
    assert!(answers > 20, "the neighbour got {answers} answers");
    host.wait_for_metric("roadstead_instances", &[], 0.0).await;
    let once = host.resident_bytes();
    assert!(once < before + RETAINED_BYTES_MAX, "{before} bytes became {once}");
    // What the allocator keeps is kept once, not once for each attack.
    for (path, ..) in REQUESTS.iter().filter(|(path, ..)| path.starts_with("/hoard")) {
        patient.get(path).send().await;
    }
    let twice = host.resident_bytes();
    assert!(twice < once + RETAINED_BYTES_MAX / 2, "{before} bytes became {once}, then {twice}");
    crate::harness::eventually("closed files", async || (host.open_files() <= files + 4).then_some(())).await;
}

#[tokio::test]
async fn what_the_probe_got_is_what_the_limits_allow() {
    let host = Host::start(&probes());
    let client = host.client("probe.test");
    assert_eq!(client.get("/hoard-sockets?count=10").send().await.text(), "holds 0 sockets\n");
    // Nothing of the host's own environment.
    let environment = client.get("/env").send().await.text();
    assert_eq!(environment, "arg: probe-gateway\n");
    client.get("/output?mb=4").send().await;
    let dropped = crate::harness::eventually("the note about dropped output", async || {
        let log = host.log();
        let line = log.lines().find(|line| line.contains("dropped_bytes"))?;
        serde_json::from_str::<serde_json::Value>(line).ok()?["dropped_bytes"].as_u64()
    })
    .await;
    assert!((3 * MEBIBYTE..=4 * MEBIBYTE).contains(&dropped), "{dropped}");
}

#[tokio::test]
async fn a_guest_reaches_no_other_host() {
    let host = Host::start(&probes());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    for path_bytes in [1, 1_000_000] {
        let path = format!("/fetch?authority={address}&path-bytes={path_bytes}");
        let response = host.client("probe.test").get(&path).send().await;
        let reason = if path_bytes == 1 { "ErrorCode::HttpRequestDenied" } else { "the host refuses the path" };
        assert_eq!((response.status.as_u16(), response.text().trim()), (502, reason), "{path_bytes}");
    }
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "it was connected to");
}

#[tokio::test]
async fn a_guest_finds_no_name_no_file_and_no_input() {
    let host = Host::start(&probes());
    let found = host.client("probe.test").get("/reach").send().await.text();
    let (look_up, others) = found.split_once('\n').unwrap();
    // `localhost` needs no name server, so that the machine has nothing to do with it.
    assert!(look_up.contains("permanent-resolver-failure"), "{look_up}");
    let nothing = "open directories: 0\nbytes of /etc/passwd: None\nbytes of standard input: 0 (ended)\n\
                   connection to 127.0.0.1: access-denied\n";
    assert_eq!(others, nothing);
}

#[tokio::test]
async fn a_body_without_end_ends_at_the_deadline_however_slowly_it_is_read() {
    let host = Host::start(&probes());
    let begun = Instant::now();
    let mut response = host.client("impatient.test").get("/stream?chunks=1000000000&bytes=65536").open().await;
    assert_eq!(response.status, StatusCode::OK);
    let mut last = response.next().await;
    while let Some(Ok(_)) = last {
        tokio::time::sleep(Duration::from_millis(5)).await;
        last = response.next().await;
    }
    assert!(matches!(last, Some(Err(_))), "the body looks complete");
    // What the sockets hold of it is read after the host is done.
    assert!(begun.elapsed() < SHORT + GRACE + 5 * SLOW_MACHINE, "{:?}", begun.elapsed());
    host.wait_for_metric("roadstead_instances", &[], 0.0).await;
    host.wait_for_metric("roadstead_calls_total", &["impatient", "\"deadline\""], 1.0).await;
}
