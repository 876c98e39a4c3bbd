//! The behaviour of messaging, the same on both brokers: every test here runs in process and over a real NATS.

use std::time::{Duration, Instant};

use futures::future::join_all;
use http::StatusCode;
use serde_json::Value;

use crate::harness::{
    client::Response,
    host::{Host, Options},
    manifest::{trigger, worker},
    nats::{NatsServer, python},
};

/// A host with its broker.
struct Stage {
    host: Host,
    server: Option<NatsServer>,
}

impl Stage {
    async fn ask(&self, subject: &str, body: &str) -> Response {
        self.ask_within(subject, body, 5_000).await
    }

    async fn ask_within(&self, subject: &str, body: &str, timeout_ms: u32) -> Response {
        let path = format!("/request?subject={subject}&timeout-ms={timeout_ms}");
        self.host.client("probe.test").post(&path).body(body.to_owned()).send().await
    }
}

/// Runs `test` on a host of `manifest` with each broker.
async fn on_both(manifest: &str, test: impl AsyncFn(&Stage)) {
    let gateway = trigger("gateway", "probe.test", "probe-gateway").timeout("8s").yaml();
    let manifest = gateway + manifest;
    let alone = Stage { host: Host::start(&manifest), server: None };
    test(&alone).await;
    drop(alone);
    let server = NatsServer::start();
    let host = Host::start_with(&manifest, Options::default().nats(&server));
    test(&Stage { host, server: Some(server) }).await;
}

fn pool_of(size: u32) -> String {
    worker("worker", "probe.work", &[&format!("poolSize: {size}")])
}

#[tokio::test]
async fn a_request_has_its_answer() {
    on_both(&pool_of(1), async |stage| {
        assert_eq!(stage.ask("probe.work", "echo:hello").await.text(), "hello");
        assert_eq!(stage.ask("probe.work", "subject").await.text(), "probe.work");
        // The first of several answers counts.
        assert_eq!(stage.ask("probe.work", "reply-twice:x").await.text(), "x");
    })
    .await;
}

#[tokio::test]
async fn failures_reach_the_one_who_asked_at_once_with_the_reason() {
    on_both(&pool_of(1), async |stage| {
        let table = [
            ("err:the disk is full", "worker: the disk is full"),
            ("trap", "worker: the component failed (trap)"),
            ("alloc:500", "worker: the component failed (memory-limit)"),
        ];
        for (command, reason) in table {
            let begun = Instant::now();
            let response = stage.ask("probe.work", command).await;
            assert_eq!((response.status, response.text()), (StatusCode::BAD_GATEWAY, reason.into()), "{command}");
            assert!(begun.elapsed() < Duration::from_secs(2), "{command}: {:?}", begun.elapsed());
        }
        assert_eq!(stage.ask("probe.work", "echo:still here").await.text(), "still here");
    })
    .await;
}

#[tokio::test]
async fn nobody_to_ask_is_told_at_once() {
    on_both(&pool_of(1), async |stage| {
        let begun = Instant::now();
        let response = stage.ask("nobody.here", "x").await;
        assert_eq!(response.text(), "nobody subscribes to nobody.here");
        assert!(begun.elapsed() < Duration::from_secs(2));
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_never_answers_costs_the_guests_own_timeout() {
    on_both(&pool_of(1), async |stage| {
        let begun = Instant::now();
        let response = stage.ask_within("probe.work", "silent", 300).await;
        assert_eq!(response.text(), "no reply on probe.work within 300 ms (the guest's timeout)");
        assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(2));
    })
    .await;
}

#[tokio::test]
async fn a_worker_ends_when_its_caller_stops_waiting() {
    on_both(&pool_of(1), async |stage| {
        let response = stage.ask_within("probe.work", "spin", 300).await;
        assert_eq!(response.status, StatusCode::BAD_GATEWAY);
        // The one instance is free again although it was spinning.
        assert_eq!(stage.ask("probe.work", "echo:free").await.text(), "free");
        let retired = stage.host.metric("roadstead_instances_retired_total", &["probe-worker", "deadline"]).await;
        assert_eq!(retired, 1.0);
    })
    .await;
}

#[tokio::test]
async fn the_hosts_request_timeout_bounds_every_request() {
    let manifest = trigger("gateway", "probe.test", "probe-gateway").yaml() + &pool_of(1);
    let host = Host::start_with(&manifest, Options::default().flag("--request-timeout", "200ms"));
    let response = host.client("probe.test").post("/request?subject=probe.work&timeout-ms=60000").body("silent");
    assert_eq!(response.send().await.text(), "no reply on probe.work within 200 ms (the host's request timeout)");
}

#[tokio::test]
async fn reserved_subjects_are_refused() {
    on_both(&pool_of(1), async |stage| {
        for subject in ["$SYS.REQ.SERVER.PING", "$JS.API.INFO", "_INBOX.abc", "runtime.host.x", "probe.*", "a..b", ""] {
            let encoded = subject.replace('$', "%24");
            for path in ["request", "publish"] {
                let path = format!("/{path}?subject={encoded}");
                let response = stage.host.client("probe.test").post(&path).body("x").send().await;
                assert_eq!(response.status, StatusCode::BAD_GATEWAY, "{subject}: {}", response.text());
                assert!(response.text().contains("subject"), "{subject}: {}", response.text());
            }
        }
        let refused = stage.host.metric("roadstead_message_requests_total", &["\"subject\"", "gateway"]).await;
        assert_eq!(refused, 7.0);
    })
    .await;
}

#[tokio::test]
async fn a_guest_learns_no_inbox_and_its_reply_right_ends_with_the_call() {
    on_both(&pool_of(1), async |stage| {
        let token = stage.ask("probe.work", "reply-to").await.text();
        assert!(token.starts_with("_REPLY."), "{token}");
        let again = stage.ask("probe.work", "reply-to").await.text();
        assert_ne!(token, again);
        // A later call, and another component, cannot use it.
        let response = stage.ask("probe.work", &format!("publish:{token}:forged")).await;
        assert!(response.text().contains("reply subject"), "{}", response.text());
        let path = format!("/publish?subject={token}");
        let response = stage.host.client("probe.test").post(&path).body("forged").send().await;
        assert_eq!(response.status, StatusCode::BAD_GATEWAY);
    })
    .await;
}

#[tokio::test]
async fn wildcards_and_several_subjects() {
    let manifest = worker("worker", "'jobs.*.run, logs.>, plain'", &["poolSize: 1"]);
    on_both(&manifest, async |stage| {
        for subject in ["jobs.a.run", "logs.x", "logs.x.y", "plain"] {
            assert_eq!(stage.ask(subject, "subject").await.text(), subject);
        }
        for subject in ["jobs.run", "logs", "plain.x"] {
            assert_eq!(stage.ask(subject, "subject").await.text(), format!("nobody subscribes to {subject}"));
        }
    })
    .await;
}

#[tokio::test]
async fn workers_ask_workers() {
    let manifest = pool_of(1) + &worker("other", "probe.other", &["poolSize: 1"]);
    on_both(&manifest, async |stage| {
        let answer = stage.ask("probe.work", "request:probe.other:echo:from afar").await;
        assert_eq!(answer.text(), "from afar");
        let failed = stage.ask("probe.work", "request:probe.other:err:far trouble").await;
        assert_eq!(failed.text(), "worker: worker: far trouble");
    })
    .await;
}

#[tokio::test]
async fn each_deployment_gets_a_message_once() {
    // Two deployments on one subject are two groups: each handles the message, the first answer counts.
    let manifest = pool_of(2) + &worker("audit", "probe.work", &["poolSize: 2"]);
    on_both(&manifest, async |stage| {
        let answers = join_all((0..20).map(|_| stage.ask("probe.work", "echo:x"))).await;
        assert!(answers.iter().all(|answer| answer.text() == "x"));
        stage.host.wait_for_metric("roadstead_messages_handled_total", &["\"worker\"", "\"ok\""], 20.0).await;
        stage.host.wait_for_metric("roadstead_messages_handled_total", &["\"audit\"", "\"ok\""], 20.0).await;
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_refuses_with_a_reason() {
    let more = "localResources: {config: {max_in_flight: '1', admission_wait: 100ms}}";
    let manifest = worker("worker", "probe.work", &["poolSize: 1", more]);
    on_both(&manifest, async |stage| {
        let (first, second) = futures::join!(stage.ask("probe.work", "sleep:1500"), async {
            stage.host.wait_for_metric("roadstead_messages_in_flight", &["\"worker\""], 1.0).await;
            stage.ask("probe.work", "echo:x").await
        });
        assert_eq!(first.text(), "slept 1500 ms");
        assert!(second.text().contains("1 messages under way"), "{}", second.text());
    })
    .await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    on_both(&pool_of(1), async |stage| {
        let path = "/request?subject=probe.work";
        let body = "x".repeat(1_048_577);
        let response = stage.host.client("probe.test").post(path).body(body).send().await;
        assert_eq!(response.status, StatusCode::BAD_GATEWAY);
        assert!(response.text().contains("1048577 bytes"), "{}", response.text());
    })
    .await;
}

#[tokio::test]
async fn a_plain_nats_client_reads_the_reason_of_a_failure() {
    let server = NatsServer::start();
    let _host = Host::start_with(&pool_of(1), Options::default().nats(&server));
    let script = r#"
import asyncio, json, sys, time, nats
async def main():
    connection = await nats.connect(sys.argv[1])
    out = []
    for command in ["echo:hi", "err:no such ship", "trap"]:
        begun = time.monotonic()
        reply = await connection.request("probe.work", command.encode(), timeout=5)
        out.append({"body": reply.data.decode(), "headers": dict(reply.headers or {}), "took": time.monotonic() - begun})
    begun = time.monotonic()
    headers = {"Roadstead-Deadline-Ms": "200"}
    reply = await connection.request("probe.work", b"spin", timeout=5, headers=headers)
    out.append({"body": reply.data.decode(), "headers": dict(reply.headers or {}), "took": time.monotonic() - begun})
    print(json.dumps(out))
    await connection.close()
asyncio.run(main())
"#;
    let out: Value = serde_json::from_str(&python(script, &[&server.url()]).await).unwrap();
    assert_eq!(out[0]["body"], "hi");
    let error = |index: usize| {
        (
            out[index]["headers"]["Nats-Service-Error"].as_str(),
            out[index]["headers"]["Nats-Service-Error-Code"].as_str(),
        )
    };
    assert_eq!(error(1), (Some("no such ship"), Some("500")), "{out}");
    assert_eq!(error(2), (Some("the component failed (trap)"), Some("500")), "{out}");
    assert_eq!(error(3), (Some("the component did not answer in time"), Some("408")), "{out}");
    for answer in out.as_array().unwrap() {
        assert!(answer["took"].as_f64().unwrap() < 2.0, "{answer}");
    }
}

#[tokio::test]
async fn two_hosts_share_the_messages_of_one_deployment() {
    let server = NatsServer::start();
    let manifest = trigger("gateway", "probe.test", "probe-gateway").yaml() + &pool_of(2);
    let first = Host::start_with(&manifest, Options::default().nats(&server));
    let second = Host::start_with(&manifest, Options::default().nats(&server));
    let client = first.client("probe.test");
    for _ in 0..10 {
        let asked = (0..10).map(|_| client.post("/request?subject=probe.work").body("echo:x").send());
        assert!(join_all(asked).await.iter().all(|answer| answer.text() == "x"));
    }
    let handled = async |host: &Host| host.metric("roadstead_messages_handled_total", &["\"worker\"", "\"ok\""]).await;
    let (by_first, by_second) = (handled(&first).await, handled(&second).await);
    assert_eq!(by_first + by_second, 100.0);
    assert!(by_first > 0.0 && by_second > 0.0, "{by_first} and {by_second}");
}

#[tokio::test]
async fn the_host_says_which_broker_it_uses_and_is_ready() {
    on_both(&pool_of(1), async |stage| {
        let ready = stage.host.admin("/readyz").await;
        assert_eq!(ready.status, StatusCode::OK);
        assert_eq!(stage.server.is_some(), stage.host.log().contains("\"NATS\""));
    })
    .await;
}

fn worker_with(config: &str, more: &[&str]) -> String {
    let subscriptions = "            subscriptions: probe.work\n";
    worker("worker", "probe.work", more).replace(subscriptions, &format!("{subscriptions}{config}"))
}

#[tokio::test]
async fn a_message_waits_no_longer_than_its_workload_says_for_a_place_and_an_instance_together() {
    let config = "            admission_wait: 400ms\n            max_in_flight: '2'\n";
    on_both(&worker_with(config, &["poolSize: 1"]), async |stage| {
        let busy = stage.ask("probe.work", "sleep:3000");
        let refused = async {
            stage.host.wait_for_metric("roadstead_pool_busy", &["probe-worker"], 1.0).await;
            let begun = Instant::now();
            // One has a place and waits for the instance, the other waits for a place.
            let (one, other) = tokio::join!(stage.ask("probe.work", "echo:x"), stage.ask("probe.work", "echo:x"));
            assert!(begun.elapsed() < Duration::from_millis(2_000), "{:?}", begun.elapsed());
            let mut answers = [one.text(), other.text()];
            answers.sort();
            let instance = "worker: no instance became free in time; try again later";
            let place = "worker: the worker has 2 messages under way, as many as it may; try again later";
            // Both waits end at once, and the end of the first may still give the other its place.
            assert_eq!(answers[0], instance);
            assert!([instance, place].contains(&answers[1].as_str()), "{answers:?}");
        };
        let (slept, ()) = tokio::join!(busy, refused);
        assert_eq!(slept.text(), "slept 3000 ms");
    })
    .await;
}

#[tokio::test]
async fn a_message_that_nobody_waits_for_any_more_is_not_handled() {
    let config = "            max_in_flight: '1'\n";
    on_both(&worker_with(config, &["poolSize: 1"]), async |stage| {
        let busy = stage.ask("probe.work", "sleep:1500");
        let late = async {
            stage.host.wait_for_metric("roadstead_pool_busy", &["probe-worker"], 1.0).await;
            // One waits for the place, the other behind it in the queue; both give up long before there is one.
            let (one, other) = tokio::join!(
                stage.ask_within("probe.work", "echo:x", 300),
                stage.ask_within("probe.work", "echo:x", 300)
            );
            assert_eq!((one.status.as_u16(), other.status.as_u16()), (502, 502));
        };
        tokio::join!(busy, late);
        stage.host.wait_for_metric("roadstead_messages_handled_total", &["\"deadline\""], 2.0).await;
        assert_eq!(stage.host.metric("roadstead_messages_handled_total", &["\"ok\""]).await, 1.0);
    })
    .await;
}

#[tokio::test]
async fn in_the_process_a_full_subscription_is_told() {
    let manifest = trigger("gateway", "probe.test", "probe-gateway").yaml()
        + &worker_with("            max_in_flight: '1'\n", &["poolSize: 1"]);
    let options = Options::default().flag("--limit", "subscription_messages_max=2");
    let stage = Stage { host: Host::start_with(&manifest, options), server: None };
    let busy = stage.ask_within("probe.work", "sleep:4000", 9_000);
    let asked = async {
        stage.host.wait_for_metric("roadstead_pool_busy", &["probe-worker"], 1.0).await;
        join_all((0..10).map(|_| stage.ask_within("probe.work", "echo:x", 9_000))).await
    };
    let (slept, answers) = tokio::join!(busy, asked);
    assert_eq!(slept.text(), "slept 4000 ms");
    let full = "the subscribers of probe.work have as many waiting messages as they may";
    let told = answers.iter().filter(|answer| answer.text() == full).count();
    assert_eq!(answers.iter().filter(|answer| answer.text() == "x").count(), 10 - told, "{answers:?}");
    // Two wait in the queue, and one for the place when it was taken from the queue before that was full.
    assert!([7, 8].contains(&told), "{answers:?}");
}

#[tokio::test]
async fn over_nats_a_full_subscription_is_told_counted_and_logged() {
    let server = NatsServer::start();
    let manifest = trigger("gateway", "probe.test", "probe-gateway").yaml()
        + &worker_with("            max_in_flight: '1'\n", &["poolSize: 1"]);
    let options = Options::default().nats(&server).flag("--limit", "subscription_messages_max=2");
    let stage = Stage { host: Host::start_with(&manifest, options), server: Some(server) };
    let busy = stage.ask("probe.work", "sleep:2000");
    let asked = async {
        stage.host.wait_for_metric("roadstead_pool_busy", &["probe-worker"], 1.0).await;
        join_all((0..10).map(|_| stage.ask("probe.work", "echo:x"))).await
    };
    let (slept, answers) = tokio::join!(busy, asked);
    assert_eq!(slept.text(), "slept 2000 ms");
    let full = "worker: as many messages wait for the worker as may (2, or 67108864 bytes); try again later";
    let told = answers.iter().filter(|answer| answer.text() == full).count();
    assert_eq!(answers.iter().filter(|answer| answer.text() == "x").count(), 10 - told, "{answers:?}");
    // Two wait in the queue, and one for the place when it was taken from the queue before that was full.
    assert!([7, 8].contains(&told), "{answers:?}");
    stage.ask("probe.work", "echo:x").await;
    stage.host.wait_for_metric("roadstead_messages_dropped_total", &["\"worker\""], told as f64).await;
    let log = stage.host.log();
    let line = log.lines().find(|line| line.contains("messages were dropped")).unwrap();
    assert!(line.contains("\"subscription\":\"probe.work\""), "{line}");
}
