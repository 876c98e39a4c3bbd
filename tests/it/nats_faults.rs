//! What becomes of workers and of those who ask them when the server between them, or the way to it, fails: nothing is
//! waited for in vain, nothing stays stuck, and after at most five seconds all is as before.

use std::time::{Duration, Instant};

use futures::future::join_all;
use http::StatusCode;

use crate::harness::{
    client::Response,
    eventually,
    fault_proxy::FaultProxy,
    host::{Host, Options},
    manifest::{trigger, worker},
    nats::{NatsServer, python_within},
};

/// In which everything is to be as before.
const RECOVERY: Duration = Duration::from_secs(5);
/// What a busy machine may add.
const SLOW_MACHINE: Duration = Duration::from_secs(10);
/// How long the requests here would wait if nobody told them of anything.
const LONG_MS: u32 = 60_000;

fn manifest() -> String {
    trigger("gateway", "probe.test", "probe-gateway").timeout("90s").yaml()
        + &worker("worker", "probe.work", &["poolSize: 2"])
}

async fn ask_within(host: &Host, timeout_ms: u32, body: &str) -> Response {
    let path = format!("/request?subject=probe.work&timeout-ms={timeout_ms}");
    host.client("probe.test").post(&path).body(body.to_owned()).send().await
}

async fn ask(host: &Host, body: &str) -> Response {
    ask_within(host, 2_000, body).await
}

/// Waits until requests have answers again, and gives the time that it took.
async fn recovered(host: &Host) -> Duration {
    let begun = Instant::now();
    eventually("an answer", async || (ask(host, "echo:again").await.text() == "again").then_some(())).await;
    begun.elapsed()
}

/// All is as it was: no message under way, every instance of the pool there and free.
async fn is_at_rest(host: &Host) {
    host.wait_for_metric("roadstead_messages_in_flight", &["\"worker\""], 0.0).await;
    host.wait_for_metric("roadstead_pool_busy", &["probe-worker"], 0.0).await;
    host.wait_for_metric("roadstead_instances", &["probe-worker"], 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_yet_keeps_no_request_waiting_that_needs_no_message() {
    let mut server = NatsServer::start();
    server.kill();
    let host = Host::start_with(&manifest(), Options::default().nats(&server));
    assert_eq!(host.client("probe.test").get("/count").send().await.text(), "1");
    assert_eq!(ask_within(&host, LONG_MS, "echo:x").await.text(), "the messaging server cannot be reached");
    let ready = host.admin("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().contains("wasmcloud-messaging: "), "{}", ready.text());
    let log = host.log();
    assert!(log.contains("NATS cannot be reached yet") && log.contains(&server.url()), "{log}");
    assert_eq!(host.workload("worker").await["state"], "WORKLOAD_STATE_ERROR");

    server.start_again();
    let took = recovered(&host).await;
    assert!(took < RECOVERY + SLOW_MACHINE, "{took:?}");
    assert_eq!(host.admin("/readyz").await.status, StatusCode::OK);
    assert_eq!(host.workload("worker").await["state"], "WORKLOAD_STATE_RUNNING");
    is_at_rest(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_costs_requests_under_way_no_wait() {
    let mut server = NatsServer::start();
    let host = Host::start_with(&manifest(), Options::default().nats(&server));
    assert_eq!(ask(&host, "echo:before").await.text(), "before");
    let asked = async {
        let answer = ask_within(&host, LONG_MS, "silent").await;
        (answer, Instant::now())
    };
    let killed = async {
        host.wait_for_metric("roadstead_messages_handled_total", &["\"worker\"", "\"ok\""], 2.0).await;
        server.kill();
        Instant::now()
    };
    let ((answer, answered), killed) = tokio::join!(asked, killed);
    let lost = "the connection to the messaging server was lost; whether the message was handled is not known";
    assert_eq!(answer.text(), lost);
    assert!(answered - killed < SLOW_MACHINE, "{:?}", answered - killed);
    assert_eq!(host.client("probe.test").get("/count").send().await.text(), "1");

    server.start_again();
    let took = recovered(&host).await;
    assert!(took < RECOVERY + SLOW_MACHINE, "{took:?}");
    assert_eq!(host.metric("roadstead_nats_connections_lost_total", &[]).await, 1.0);
    assert_eq!(host.metric("roadstead_nats_connected", &[]).await, 1.0);
    is_at_rest(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_and_goes_under_load_leaves_nothing_behind() {
    let mut server = NatsServer::start();
    let host = Host::start_with(&manifest(), Options::default().nats(&server));
    let load = async {
        let mut answered = 0;
        loop {
            let answer = ask_within(&host, 1_000, "echo:x").await;
            // An answer or a reason, never the end of the trigger's patience.
            assert!([StatusCode::OK, StatusCode::BAD_GATEWAY].contains(&answer.status), "{answer:?}");
            answered += u32::from(answer.status == StatusCode::OK);
            if answered >= 200 {
                return;
            }
        }
    };
    let faults = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.kill();
            tokio::time::sleep(Duration::from_millis(300)).await;
            server.start_again();
            recovered(&host).await;
        }
    };
    tokio::join!(load, faults);
    is_at_rest(&host).await;
}

/// A host that reaches its server through a proxy.
async fn behind(server: &NatsServer) -> (FaultProxy, Host) {
    let proxy = FaultProxy::start(server.port()).await;
    let url = format!("nats://{}", proxy.address());
    let host = Host::start_with(&manifest(), Options::default().flag("--data-nats-url", &url));
    assert_eq!(ask(&host, "echo:before").await.text(), "before");
    (proxy, host)
}

/// Without `connect::PING_EVERY` nobody would notice for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_open_on_one_side_only_is_given_up() {
    let server = NatsServer::start();
    let (proxy, host) = behind(&server).await;
    proxy.go_half_open();
    let begun = Instant::now();
    let answer = ask_within(&host, LONG_MS, "echo:x").await;
    assert!(answer.text().starts_with("the connection to the messaging server was lost"), "{}", answer.text());
    recovered(&host).await;
    assert!(begun.elapsed() < RECOVERY + SLOW_MACHINE, "{:?}", begun.elapsed());
    is_at_rest(&host).await;
}

/// Without `connect::ATTEMPT_TIMEOUT` the attempt that was under way would be waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_ends_when_it_ends() {
    let server = NatsServer::start();
    let (proxy, host) = behind(&server).await;
    proxy.partition();
    eventually("the word that the connection is lost", async || {
        (host.metric("roadstead_nats_connected", &[]).await == 0.0).then_some(())
    })
    .await;
    let begun = Instant::now();
    assert_eq!(ask_within(&host, LONG_MS, "echo:x").await.text(), "the messaging server cannot be reached");
    assert!(begun.elapsed() < SLOW_MACHINE, "{:?}", begun.elapsed());
    proxy.cut();
    proxy.heal();
    let took = recovered(&host).await;
    assert!(took < RECOVERY + SLOW_MACHINE, "{took:?}");
    is_at_rest(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_way_costs_its_time_and_nothing_else() {
    let server = NatsServer::start();
    let (proxy, host) = behind(&server).await;
    let delay = Duration::from_millis(200);
    proxy.delay(delay);
    let begun = Instant::now();
    assert_eq!(ask_within(&host, 20_000, "echo:far").await.text(), "far");
    // To the server and back, twice: the request and its answer.
    assert!(begun.elapsed() >= 4 * delay, "{:?}", begun.elapsed());
    // The way counts against the time of the one who asks.
    let late = ask_within(&host, 300, "echo:far").await.text();
    assert_eq!(late, "no reply on probe.work within 300 ms (the guest's timeout)");
    assert_eq!(host.metric("roadstead_nats_connections_lost_total", &[]).await, 0.0);
    is_at_rest(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_revoked_are_named_and_may_come_back() {
    let users = |password: &str| format!("authorization {{ users: [ {{user: host, password: {password}}} ] }}\n");
    let mut server = NatsServer::start_with(&users("secret"));
    let url = server.url().replace("nats://", "nats://host:secret@");
    let host = Host::start_with(&manifest(), Options::default().flag("--data-nats-url", &url));
    assert_eq!(ask(&host, "echo:before").await.text(), "before");
    server.reconfigure(&users("another"));
    eventually("the word that the connection is lost", async || {
        (host.admin("/readyz").await.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    assert_eq!(ask_within(&host, LONG_MS, "echo:x").await.text(), "the messaging server cannot be reached");
    assert_eq!(host.client("probe.test").get("/count").send().await.text(), "1");
    assert!(!host.log().contains("secret"), "{}", host.log());
    server.reconfigure(&users("secret"));
    let took = recovered(&host).await;
    assert!(took < RECOVERY + SLOW_MACHINE, "{took:?}");
    is_at_rest(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_would_not_take_is_refused_before_it_is_sent() {
    let server = NatsServer::start_with("max_payload: 1000\n");
    let host = Host::start_with(&manifest(), Options::default().nats(&server));
    let large = format!("echo:{}", "x".repeat(1_000));
    assert_eq!(ask(&host, &large).await.text(), "the message is 1005 bytes large, at most 1000 are allowed");
    // The same for an answer: the handler learns it and says so.
    let answer = ask(&host, "bytes:1001").await.text();
    assert_eq!(answer, "worker: the message is 1001 bytes large, at most 1000 are allowed");
    assert_eq!(host.metric("roadstead_nats_connections_lost_total", &[]).await, 0.0);
    is_at_rest(&host).await;
}

/// The burst is more than `subscription_messages_max` and the pool together: the rest is dropped, and counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_a_hundred_thousand_messages_is_taken_or_counted_and_memory_is_bounded() {
    const MESSAGES: u32 = 100_000;
    const GROWTH_BYTES_MAX: u64 = 192 * 1024 * 1024;
    let server = NatsServer::start();
    let host = Host::start_with(&manifest(), Options::default().nats(&server));
    assert_eq!(ask(&host, "echo:before").await.text(), "before");
    let before = host.resident_bytes();
    let script = "
import asyncio, nats, sys
async def main():
    client = await nats.connect(sys.argv[1], pending_size=64 * 1024 * 1024)
    for _ in range(int(sys.argv[2])):
        await client.publish('probe.work', b'echo:x')
    await client.drain()
asyncio.run(main())
";
    let (url, messages) = (server.url(), MESSAGES.to_string());
    let arguments = [url.as_str(), messages.as_str()];
    let sent = python_within(Duration::from_secs(120), script, &arguments);
    let most = std::cell::Cell::new(before);
    let watched = async {
        loop {
            most.set(most.get().max(host.resident_bytes()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = sent => {}
        () = watched => {}
    }
    // How many were dropped is known with the next message that is taken.
    recovered(&host).await;
    is_at_rest(&host).await;
    recovered(&host).await;
    let handled = host.metric("roadstead_messages_handled_total", &["\"worker\""]).await;
    let dropped = host.metric("roadstead_messages_dropped_total", &["\"worker\""]).await;
    // On a machine that is too slow the client drops some itself, and says so without a number.
    let by_client = host.metric("roadstead_nats_slow_consumers_total", &[]).await;
    let all = f64::from(MESSAGES);
    assert!(handled + dropped >= all || by_client > 0.0, "{handled} handled, {dropped} dropped");
    assert!(handled > 0.0 && dropped > 0.0, "{handled} handled, {dropped} dropped");
    let growth = most.get().max(host.resident_bytes()).saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{growth}");
    is_at_rest(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_traps_now_and_then_fails_those_messages_and_no_others() {
    let server = NatsServer::start();
    let host = Host::start_with(&manifest(), Options::default().nats(&server));
    for turn in 0..30 {
        let body = if turn % 3 == 2 { "trap" } else { "echo:fine" };
        let begun = Instant::now();
        let answer = ask_within(&host, LONG_MS, body).await.text();
        match body {
            "trap" => assert_eq!(answer, "worker: the component failed (trap)"),
            _ => assert_eq!(answer, "fine"),
        }
        assert!(begun.elapsed() < SLOW_MACHINE, "{:?}", begun.elapsed());
    }
    assert_eq!(host.metric("roadstead_instances_retired_total", &["probe-worker", "fault"]).await, 10.0);
    is_at_rest(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_spin_or_stay_silent_are_free_again_after_their_requesters_time() {
    let server = NatsServer::start();
    let host = Host::start_with(&manifest(), Options::default().nats(&server));
    for body in ["spin", "sleep:60000", "silent"] {
        let answers = tokio::join!(ask_within(&host, 300, body), ask_within(&host, 300, body));
        for answer in [answers.0, answers.1] {
            // Whose time is up first, the requester's or the worker's, is chance.
            let text = answer.text();
            let asker = "no reply on probe.work within 300 ms (the guest's timeout)";
            assert!([asker, "worker: the component did not answer in time"].contains(&text.as_str()), "{body}: {text}");
        }
        let took = recovered(&host).await;
        assert!(took < RECOVERY + SLOW_MACHINE, "{body}: {took:?}");
        is_at_rest(&host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_requester_that_has_left_asked_for_is_not_begun() {
    let host = Host::start(&manifest());
    let busy = futures::future::join(ask_within(&host, 5_000, "sleep:1000"), ask_within(&host, 5_000, "sleep:1000"));
    let left = async {
        host.wait_for_metric("roadstead_pool_busy", &["probe-worker"], 2.0).await;
        let leaves = ask_within(&host, LONG_MS, "echo:x");
        assert!(tokio::time::timeout(Duration::from_millis(300), leaves).await.is_err());
    };
    tokio::join!(busy, left);
    host.wait_for_metric("roadstead_messages_handled_total", &["\"requester-gone\""], 1.0).await;
    is_at_rest(&host).await;
}

/// What the worker cannot do in its requesters' time is told them in time and not begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_worker_with_a_queue_answers_whom_it_can_and_tells_the_others_in_time() {
    const REQUESTS: usize = 40;
    const WAIT_MS: u32 = 2_000;
    let server = NatsServer::start();
    let host = Host::start_with(&manifest(), Options::default().nats(&server));
    let begun = Instant::now();
    let answers = join_all((0..REQUESTS).map(|_| ask_within(&host, WAIT_MS, "sleep:500"))).await;
    assert!(begun.elapsed() < Duration::from_millis(WAIT_MS.into()) + SLOW_MACHINE, "{:?}", begun.elapsed());
    let answered = answers.iter().filter(|answer| answer.text() == "slept 500 ms").count();
    // Two instances, four times as long as a call each.
    assert!((1..=8).contains(&answered), "{answered}");
    let told =
        ["no reply on probe.work within 2000 ms (the guest's timeout)", "worker: the component did not answer in time"];
    let others = answers.iter().map(Response::text).filter(|text| text != "slept 500 ms");
    assert!(others.clone().all(|text| told.contains(&text.as_str())), "{:?}", others.collect::<Vec<_>>());
    is_at_rest(&host).await;
    // Not those that had no time left when an instance was free: at most a few of them had come later than others.
    let calls = host.metric("roadstead_calls_total", &["probe-worker"]).await;
    assert!(calls <= REQUESTS as f64 / 2.0, "{calls} calls for {answered} answers");
    let handled = host.metric("roadstead_messages_handled_total", &["\"worker\""]).await;
    assert_eq!(handled, REQUESTS as f64);
    recovered(&host).await;
}

/// NATS does not tell that a requester has left: what it asked for ends when it would not have waited any longer.
#[tokio::test(flavor = "multi_thread")]
async fn over_nats_what_a_requester_that_has_left_asked_for_ends_with_its_time() {
    let server = NatsServer::start();
    let host = Host::start_with(&manifest(), Options::default().nats(&server));
    let script = "
import asyncio, nats, os, sys
async def main():
    client = await nats.connect(sys.argv[1])
    for body in [b'spin', b'sleep:60000']:
        headers = {'Roadstead-Deadline-Ms': '3000'}
        await client.publish('probe.work', body, reply=client.new_inbox(), headers=headers)
    await client.flush()
    os._exit(0)
asyncio.run(main())
";
    let begun = Instant::now();
    python_within(Duration::from_secs(30), script, &[&server.url()]).await;
    host.wait_for_metric("roadstead_messages_handled_total", &["\"worker\"", "\"deadline\""], 2.0).await;
    assert!(begun.elapsed() < Duration::from_secs(3) + SLOW_MACHINE, "{:?}", begun.elapsed());
    assert_eq!(host.metric("roadstead_instances_retired_total", &["probe-worker", "deadline"]).await, 2.0);
    recovered(&host).await;
    is_at_rest(&host).await;
}
