//! The access log: one event a request, with names and numbers for fields.

use std::{
    io,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use roadstead_runtime::{CallError, FaultKind};

use crate::{
    client::Client,
    host::{Host, binding, soon, telling, workload},
};

/// What all tests of this process log. Touched before the first event, or tracing might remember that nobody wants
/// it.
pub(crate) static LINES: LazyLock<&Mutex<Vec<u8>>> = LazyLock::new(|| {
    static BYTES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let subscriber =
        tracing_subscriber::fmt().json().with_max_level(tracing::Level::INFO).with_writer(|| Writer(&BYTES)).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    &BYTES
});

struct Writer(&'static Mutex<Vec<u8>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first line that has all of these; waits for it.
pub(crate) async fn line_with(parts: &[&str]) -> String {
    soon(async {
        loop {
            let text = String::from_utf8(LINES.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap();
            if let Some(line) = text.lines().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.to_owned();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_its_line() {
    let host = Host::behind("127.0.0.0/8", |_| {}).await;
    host.bind("team/app", "a.test", "/", telling());
    let mut client = Client::connect(&host).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    client
        .send(format!(
            "POST /{}?secret HTTP/1.1\r\nHost: A.test:80\r\nContent-Length: 3\r\n\
             traceparent: 00-{trace}-b7ad6b7169203331-01\r\nX-Request-Id: r-1\r\n\
             X-Forwarded-For: 203.0.113.7\r\nUser-Agent: {}\r\n\r\nabc",
            "x".repeat(300),
            "\u{e9}".repeat(80)
        ))
        .await;
    client.got().await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    client.got().await;
    let served = line_with(&[trace]).await;
    for field in [
        r#""target":"roadstead::access""#,
        r#""client":"203.0.113.7""#,
        r#""protocol":"HTTP/1.1""#,
        // So many bytes of it, each of which is not plain text.
        &format!(r#""user_agent":"{}""#, r"\\xc3\\xa9".repeat(64)),
        r#""request_id":"r-1""#,
        r#""response_flags":"-""#,
        r#""namespace":"team""#,
        r#""trigger":"app""#,
        r#""method":"POST""#,
        r#""host":"a.test""#,
        &format!(r#""path":"/{}""#, "x".repeat(255)),
        r#""status":200"#,
        r#""request_bytes":3"#,
        r#""response_bytes":317"#,
        r#""duration_ms":"#,
        &format!(r#""trace_id":"{trace}""#),
    ] {
        assert!(served.contains(field), "{field} is not in {served}");
    }
    assert!(!served.contains("secret"), "{served}");
    let refused = [r#""status":400"#, r#""reason":"bad-request""#, r#""trigger":"""#, r#""response_flags":"DPE""#];
    line_with(&[&refused[..], &[r#""client":"127.0.0.1""#]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_says_why_a_request_ended() {
    let host = Host::start().await;
    let trapping = workload(|_, _| async { Err(CallError::fault(FaultKind::Trap, "unreachable")) });
    host.bind("team/flags-trap", "a.test", "/flags-trap", trapping);
    host.bind("team/flags-gone", "a.test", "/flags-gone", workload(|_, _| std::future::pending()));
    let mut late = binding("team/flags-late", "a.test", "/flags-late", None);
    late.target = Some(workload(|_, _| std::future::pending()));
    late.timeout = Duration::from_millis(50);
    host.try_bind(late).unwrap();
    host.try_bind(binding("team/flags-down", "a.test", "/flags-down", None)).unwrap();
    let mut client = Client::connect(&host).await;
    for path in ["/flags-trap", "/flags-late", "/flags-down", "/flags-nowhere"] {
        client.get(path).await;
    }
    client.send("GET /flags-gone HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    host.metric_becomes(r#"roadstead_http_requests_in_flight{namespace="team",trigger="flags-gone"}"#, 1.0).await;
    drop(client);
    for (path, reason, flags) in [
        ("/flags-trap", "trap", "UC"),
        ("/flags-late", "deadline", "UT"),
        ("/flags-down", "no-replica", "UH"),
        ("/flags-nowhere", "no-route", "NR"),
        ("/flags-gone", "client-gone", "DC"),
    ] {
        let line = line_with(&[&format!(r#""path":"{path}""#)]).await;
        for field in [format!(r#""reason":"{reason}""#), format!(r#""response_flags":"{flags}""#)] {
            assert!(line.contains(&field), "{field} is not in {line}");
        }
    }
}
