//! Clients that others wrote, over HTTP/1.1 and HTTP/2 without TLS: each is served as it expects, in bounded memory.

use std::{fs::File, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::{Instant, interval, timeout},
};

use crate::harness::{
    PATIENCE,
    host::{Host, Options},
    manifest::trigger,
    nats::python,
    programs::{printed, program},
};

/// The requests' host is the address, which is what each of these clients says unless told.
fn probe() -> Host {
    Host::start(&trigger("probe", "127.0.0.1", "probe-gateway").yaml())
}

#[tokio::test]
async fn a_grpc_client_gets_messages_and_the_status_in_trailers() {
    const SCRIPT: &str = r#"
import grpc, json, sys
channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_http_proxy", 0)])
told = {}
told["said"] = channel.unary_unary("/probe.Probe/Say")(b"ahoy", timeout=20).decode()
large = b"x" * 60000
told["large"] = channel.unary_unary("/probe.Probe/Say")(large, timeout=20) == large
counted = channel.unary_stream("/probe.Probe/Count")(b"100", timeout=20)
told["counted"] = [message.decode() for message in counted]
told["counted_code"] = counted.code().name
for method, request in [("Find", b""), ("Other", b""), ("Count", b"many")]:
    try:
        list(channel.unary_stream("/probe.Probe/" + method)(request, timeout=20))
    except grpc.RpcError as error:
        told[method] = [error.code().name, error.details()]
calls = [channel.unary_unary("/probe.Probe/Say").future(str(i).encode(), timeout=20) for i in range(100)]
told["at_once"] = sum(call.result() == str(i).encode() for i, call in enumerate(calls))
print(json.dumps(told))
"#;
    let host = probe();
    let told: Value = serde_json::from_str(&python(SCRIPT, &[&host.http_address().to_string()]).await).unwrap();
    let messages: Vec<_> = (0..100).map(|number| format!("message {number}")).collect();
    let wanted = json!({
        "said": "ahoy",
        "large": true,
        "counted": messages,
        "counted_code": "OK",
        "Find": ["NOT_FOUND", "there is nothing to find"],
        "Other": ["UNIMPLEMENTED", "the probe has no such method"],
        "Count": ["INVALID_ARGUMENT", "the request is no number"],
        "at_once": 100,
    });
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn curl_speaks_each_version() {
    let host = probe();
    let url = format!("http://{}/hello", host.http_address());
    // A server tells its own version, to clients of 1.0 as well (RFC 9110, section 2.5).
    for (version, told) in [("--http1.0", "1.1"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let arguments = ["-sS", "--noproxy", "*", version, "-w", "%{http_version} %{http_code}", &url];
        let answer = printed(program("curl", &arguments), PATIENCE).await;
        assert_eq!(answer, format!("hello from roadstead\n{told} 200"), "{version}");
    }
}

#[tokio::test]
async fn h2load_is_answered_on_a_hundred_streams() {
    let host = probe();
    let url = format!("http://{}/hello", host.http_address());
    let told = printed(program("h2load", &["-n", "3000", "-c", "2", "-m", "100", &url]), PATIENCE).await;
    assert!(
        told.contains("3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{told}"
    );
    assert!(told.contains("status codes: 3000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{told}");
    println!("{}", told.lines().find(|line| line.starts_with("finished in")).unwrap_or_default());
}

/// curl is the client of the events and, by its upload, says when the next one is due.
#[tokio::test]
async fn each_server_sent_event_arrives_before_the_next_is_written() {
    let host = probe();
    let url = format!("http://{}/events", host.http_address());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        // `-T .` reads what comes without waiting for it; `-N` prints what comes at once.
        let arguments = ["-sS", "--noproxy", "*", version, "-N", "-X", "POST", "-T", ".", &url];
        let mut curl =
            program("curl", &arguments).stdin(Stdio::piped()).spawn().expect("`cargo xtask setup` installs curl");
        let mut asks = curl.stdin.take().unwrap();
        let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
        for number in 0..5 {
            asks.write_all(format!("wave {number}\n").as_bytes()).await.unwrap();
            for wanted in [format!("id: {number}"), format!("data: wave {number}"), String::new()] {
                let line = timeout(PATIENCE, lines.next_line()).await.expect("the event does not come").unwrap();
                assert_eq!(line, Some(wanted), "{version}");
            }
        }
        drop(asks);
        assert_eq!(timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap(), None);
        assert!(timeout(PATIENCE, curl.wait()).await.unwrap().unwrap().success());
    }
}

/// Bytes of the upload over HTTP/1.1, in chunks; over HTTP/2 it is a quarter of them.
const UPLOAD_BYTES: u64 = 1 << 30;
/// Bytes by which the host may be larger meanwhile.
const UPLOAD_MEMORY_BYTES: u64 = 16 << 20;
/// Longest time that it may take, on a machine that is busy with other things.
const UPLOAD_TIME: Duration = Duration::from_secs(300);

#[tokio::test]
async fn an_upload_of_a_gibibyte_leaves_the_memory_flat() {
    let manifest = trigger("bulk", "127.0.0.1", "bulk-http").timeout("300s").yaml();
    let options = Options::default().flag("--limit", &format!("body_bytes_max={UPLOAD_BYTES}"));
    let host = Host::start_with(&manifest, options);
    let url = format!("http://{}/count", host.http_address());
    for (version, bytes) in [("--http1.1", UPLOAD_BYTES), ("--http2-prior-knowledge", UPLOAD_BYTES / 4)] {
        let file = host.folder.path().join("upload");
        File::create(&file).unwrap().set_len(bytes).unwrap();
        let mut curl = program("curl", &["-sS", "--noproxy", "*", version, "-X", "POST", "-T", "-", &url]);
        // Of standard input curl does not know the length.
        curl.stdin(File::open(&file).unwrap());
        assert_eq!(host.client("127.0.0.1").post("/count").body("warm").send().await.text(), "4\n");
        let (before, begun) = (host.resident_bytes(), Instant::now());
        let mut most = before;
        let mut upload = std::pin::pin!(printed(curl, UPLOAD_TIME));
        let mut look = interval(Duration::from_millis(50));
        let answer = loop {
            tokio::select! {
                answer = &mut upload => break answer,
                _ = look.tick() => most = most.max(host.resident_bytes()),
            }
        };
        assert_eq!(answer, format!("{bytes}\n"), "{version}");
        let grown = most.saturating_sub(before);
        println!("{version}: {:?}, {} KiB more than {} KiB", begun.elapsed(), grown >> 10, before >> 10);
        assert!(grown <= UPLOAD_MEMORY_BYTES, "{version}: {grown} bytes more");
    }
}
