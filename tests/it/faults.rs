//! Guests that misbehave: the caller is told, the next request is served, neighbours notice nothing.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::harness::{
    host::{Host, Options},
    manifest::{trigger, worker},
};

fn application() -> String {
    trigger("gateway", "probe.test", "probe-gateway").timeout("2s").yaml()
        + &trigger("neighbour", "neighbour.test", "bare-http").namespace("other").yaml()
}

#[tokio::test]
async fn each_fault_has_its_answer_and_the_next_request_is_served() {
    let host = Host::start(&application());
    let client = host.client("probe.test");
    let table = [
        ("/trap", 502, "trap"),
        ("/exit", 502, "exit"),
        ("/no-response", 502, "no-response"),
        ("/error-code", 502, "guest-error"),
        ("/alloc?mb=500", 502, "memory-limit"),
    ];
    for (path, status, kind) in table {
        let response = client.get(path).send().await;
        assert_eq!(response.status.as_u16(), status, "{path}");
        assert_eq!(response.header("x-roadstead-error"), kind, "{path}");
        assert!(response.header("content-type").starts_with("text/plain"), "{path}");
        let text = response.text();
        assert!(text.len() < 200 && !text.contains("0x") && !text.contains("wasm"), "{path}: {text}");
        assert_eq!(client.get("/hello").send().await.text(), "hello from roadstead\n", "after {path}");
    }
    let recursed = client.get("/recurse").send().await;
    assert_eq!(recursed.status, StatusCode::BAD_GATEWAY);
    assert!(["trap", "stack-overflow"].contains(&recursed.header("x-roadstead-error")));
    // Counted when the answer has gone out, which its reader may see first.
    let traps = if recursed.header("x-roadstead-error") == "trap" { 2.0 } else { 1.0 };
    host.wait_for_metric("roadstead_http_errors_total", &["gateway", "\"trap\""], traps).await;
    host.wait_for_metric("roadstead_instances", &["probe-gateway"], 0.0).await;
}

#[tokio::test]
async fn a_fault_in_the_middle_of_a_body_does_not_look_complete() {
    let host = Host::start(&application());
    let client = host.client("probe.test");
    for path in ["/fail-midbody", "/short-body"] {
        let mut response = client.get(path).open().await;
        assert_eq!(response.status, StatusCode::OK, "{path}");
        let mut last = None;
        while let Some(piece) = response.next().await {
            let failed = piece.is_err();
            last = Some(piece);
            if failed {
                break;
            }
        }
        assert!(matches!(last, Some(Err(_))), "{path}: {last:?}");
    }
    assert_eq!(client.get("/hello").send().await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_guest_that_loops_ends_at_its_deadline_and_neighbours_are_served_meanwhile() {
    let host = Host::start(&application());
    let client = host.client("probe.test");
    // More of them than the machine has cores.
    let spinning: Vec<_> = (0..4)
        .map(|_| {
            let request = client.get("/spin");
            tokio::spawn(async move {
                let begun = Instant::now();
                (request.send().await, begun.elapsed())
            })
        })
        .collect();
    host.wait_for_metric("roadstead_instances", &["probe-gateway"], 4.0).await;
    let neighbour = host.client("neighbour.test");
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(neighbour.get("/").send().await.status, StatusCode::OK);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    for spun in spinning {
        let (response, took) = spun.await.unwrap();
        assert_eq!(response.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(response.header("x-roadstead-error"), "deadline");
        assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(4), "{took:?}");
    }
    host.wait_for_metric("roadstead_calls_total", &["probe-gateway", "\"deadline\""], 4.0).await;
    host.wait_for_metric("roadstead_instances", &["probe-gateway"], 0.0).await;
}

#[tokio::test]
async fn a_guest_that_sleeps_past_its_deadline_is_ended() {
    let host = Host::start(&application());
    let begun = Instant::now();
    let response = host.client("probe.test").get("/sleep?ms=60000").send().await;
    assert_eq!(response.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(begun.elapsed() < Duration::from_secs(4));
    host.wait_for_metric("roadstead_instances", &["probe-gateway"], 0.0).await;
}

#[tokio::test]
async fn a_guest_that_goes_on_after_its_response_keeps_its_place_until_its_deadline() {
    const DEADLINE: Duration = Duration::from_secs(4);
    let timeout = format!("{}s", DEADLINE.as_secs());
    let manifest = trigger("gateway", "probe.test", "probe-gateway").timeout(&timeout).yaml();
    let options = Options::default().flag("--limit", "workload_instances_max=1");
    for path in ["/go-on?ms=600000", "/go-on"] {
        let host = Host::start_with(&manifest, options.clone());
        let client = host.client("probe.test");
        let begun = Instant::now();
        let response = client.get(path).send().await;
        assert_eq!((response.status, response.text()), (StatusCode::OK, "that was all\n".into()), "{path}");
        assert!(begun.elapsed() < DEADLINE, "{path}: {:?}", begun.elapsed());
        // It holds the component's only place.
        assert_eq!(client.get("/hello").send().await.header("x-roadstead-error"), "workload-busy", "{path}");
        host.wait_for_metric("roadstead_calls_total", &["probe-gateway", "\"deadline\""], 1.0).await;
        assert!(begun.elapsed() >= DEADLINE, "{path}: {:?}", begun.elapsed());
        assert!(begun.elapsed() < 3 * DEADLINE, "{path}: {:?}", begun.elapsed());
        host.wait_for_metric("roadstead_instances", &["probe-gateway"], 0.0).await;
        assert_eq!(client.get("/hello").send().await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_guest_that_takes_more_processor_time_than_it_may_is_ended() {
    let limited = "localResources: {cpuLimit: 50}";
    let gateway = trigger("gateway", "probe.test", "probe-gateway").with(limited).yaml();
    let host = Host::start(&(gateway + &worker("worker", "probe.work", &["poolSize: 1", limited])));
    let client = host.client("probe.test");
    // Waiting is not work.
    assert_eq!(client.get("/sleep?ms=300").send().await.text(), "slept 300 ms\n");
    let begun = Instant::now();
    let spun = client.get("/spin").send().await;
    assert_eq!(spun.status, StatusCode::BAD_GATEWAY);
    assert_eq!(spun.header("x-roadstead-error"), "cpu-limit");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    host.wait_for_metric("roadstead_calls_total", &["probe-gateway", "\"cpu-limit\""], 1.0).await;
    assert!(host.log().contains("more than the 50 ms of processor time that it may (cpuLimit)"), "{}", host.log());

    let ask = async |body: &'static str| client.post("/request?subject=probe.work").body(body).send().await.text();
    assert_eq!(ask("spin").await, "worker: the component failed (cpu-limit)");
    assert_eq!(ask("count").await, "1");
}

#[tokio::test]
async fn unknown_hosts_and_paths_are_not_found() {
    let host = Host::start(&trigger("gateway", "probe.test", "probe-gateway").path("/foo").yaml());
    let client = host.client("probe.test");
    assert_eq!(client.get("/foobar").send().await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.get("/").send().await.status, StatusCode::NOT_FOUND);
    assert_eq!(host.client("other.test").get("/foo").send().await.status, StatusCode::NOT_FOUND);
    // The probe itself knows no such path: the request has reached it.
    assert_eq!(client.get("/foo").send().await.text(), "the probe has no such path\n");
    assert_eq!(client.get("/x/../foo//bar").send().await.text(), "the probe has no such path\n");
}

#[tokio::test]
async fn a_guest_that_logs_without_end_is_cut_off() {
    let host = Host::start(&application());
    let response = host.client("probe.test").get("/log?times=20000&message=flood-of-words").send().await;
    assert_eq!(response.status, StatusCode::OK);
    let log = crate::harness::eventually("the note about what was dropped", async || {
        let log = host.log();
        log.contains("dropped_bytes").then_some(log)
    })
    .await;
    let lines = log.lines().filter(|line| line.contains("flood-of-words")).count();
    assert!(lines > 100 && lines < 5_000, "{lines}");
}

#[tokio::test]
async fn a_log_line_cannot_forge_another() {
    let host = Host::start(&application());
    host.client("probe.test").get("/log?message=one%0Atwo%1B%5B31m").send().await;
    let log = crate::harness::eventually("the line", async || {
        let log = host.log();
        log.contains("two").then_some(log)
    })
    .await;
    let line = log.lines().find(|line| line.contains("two")).unwrap();
    assert!(line.contains(r"one\\ntwo\\u{1b}[31m"), "{line}");
}
