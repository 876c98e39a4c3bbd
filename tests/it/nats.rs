//! What only a NATS server brings: messages of clients that are no hosts, and a server that hangs or is away.

use std::time::{Duration, Instant};

use http::StatusCode;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    client::Response,
    eventually,
    host::{Host, Options, write_application},
    manifest::{trigger, worker},
    nats::{NatsServer, python},
};

/// What a broker that says nothing may cost in these tests, and what a slow machine may add to it.
const BROKER_CALL: Duration = Duration::from_millis(500);
const SLOW_MACHINE: Duration = Duration::from_secs(10);

fn gateway() -> String {
    trigger("gateway", "probe.test", "probe-gateway").timeout("60s").yaml()
}

async fn post(host: &Host, path: &str, body: &str) -> Response {
    host.client("probe.test").post(path).body(body.to_owned()).send().await
}

async fn ask(host: &Host, body: &str) -> Response {
    post(host, "/request?subject=probe.work", body).await
}

/// Messages that the worker's handler was given, and how many of those that it was not given are counted as `kind`.
async fn handled(host: &Host, kind: &str) -> (f64, f64) {
    let calls = host.metric("roadstead_calls_total", &["probe-worker"]).await;
    (calls, host.metric("roadstead_messages_handled_total", &[&format!("\"{kind}\"")]).await)
}

#[tokio::test]
async fn messages_on_reserved_subjects_do_not_reach_a_guest_by_a_wildcard() {
    let server = NatsServer::start();
    let manifest = worker("worker", "'>'", &["poolSize: 1"]);
    let host = Host::start_with(&manifest, Options::default().nats(&server));
    // Each asks for an answer, which none may get but the last.
    let script = r#"
import asyncio, sys, nats
async def main():
    connection = await nats.connect(sys.argv[1])
    answers = await connection.subscribe("_INBOX.answers")
    for subject in ["_INBOX.another.client", "_INBOX_own.prefix", "runtime.host.heartbeat", "runtime"]:
        await connection.publish(subject, b"echo:overheard", reply="_INBOX.answers")
    reply = await connection.request("plain.subject", b"subject", timeout=20)
    print(answers.pending_msgs, reply.data.decode())
    await connection.close()
asyncio.run(main())
"#;
    assert_eq!(python(script, &[&server.url()]).await.trim(), "0 plain.subject");
    // Those four at least: the pattern reaches the answers' subjects as well.
    eventually("four messages are dropped", async || (handled(&host, "reserved-subject").await.1 >= 4.0).then_some(()))
        .await;
    assert_eq!(handled(&host, "reserved-subject").await.0, 1.0, "the worker was given more than the plain message");
}

#[tokio::test]
async fn a_full_subscription_answers_nothing_that_is_not_for_guests() {
    let server = NatsServer::start();
    let subscriptions = "            subscriptions: '>'\n";
    let manifest = worker("worker", "'>'", &["poolSize: 1"]);
    let manifest = manifest.replace(subscriptions, &format!("{subscriptions}            max_in_flight: '1'\n"));
    let options = Options::default().nats(&server).flag("--limit", "subscription_messages_max=1");
    let _host = Host::start_with(&manifest, options);
    // The second waits for the place of the first, and behind it the queue has room for one message.
    let script = r#"
import asyncio, sys, nats
async def main():
    connection = await nats.connect(sys.argv[1])
    answers = await connection.subscribe("_INBOX.answers")
    first = await connection.subscribe("_INBOX.first")
    second = await connection.subscribe("_INBOX.second")
    await connection.publish("plain.subject", b"sleep:1500", reply="_INBOX.first")
    await connection.publish("plain.subject", b"echo:x", reply="_INBOX.second")
    for number in range(10):
        await connection.publish("_INBOX.another.client", b"echo:overheard", reply="_INBOX.answers")
    await first.next_msg(timeout=20)
    await second.next_msg(timeout=20)
    print(answers.pending_msgs)
    await connection.close()
asyncio.run(main())
"#;
    assert_eq!(python(script, &[&server.url()]).await.trim(), "0");
}

#[tokio::test]
async fn a_large_message_of_another_client_is_refused_before_the_guest() {
    let server = NatsServer::start();
    let manifest = worker("worker", "probe.work", &["poolSize: 1"]);
    let options = Options::default().nats(&server).flag("--limit", "message_bytes_max=1000");
    let host = Host::start_with(&manifest, options);
    let script = r#"
import asyncio, json, sys, nats
async def main():
    connection = await nats.connect(sys.argv[1])
    out = []
    for size in [1001, 1000]:
        reply = await connection.request("probe.work", b"echo:".ljust(size, b"x"), timeout=20)
        out.append({"bytes": len(reply.data), "headers": dict(reply.headers or {})})
    print(json.dumps(out))
    await connection.close()
asyncio.run(main())
"#;
    let out: Value = serde_json::from_str(&python(script, &[&server.url()]).await).unwrap();
    assert_eq!(out[0]["headers"]["Nats-Service-Error-Code"], "413", "{out}");
    let reason = out[0]["headers"]["Nats-Service-Error"].as_str().unwrap();
    assert!(reason.contains("1001 bytes") && reason.contains("1000"), "{reason}");
    assert_eq!(out[1]["bytes"], 995, "{out}");
    assert_eq!(handled(&host, "too-large").await, (1.0, 1.0));
}

#[tokio::test]
async fn a_server_that_hangs_costs_each_message_a_bounded_wait() {
    let server = NatsServer::start();
    let works = gateway() + &worker("worker", "probe.work", &["poolSize: 1"]);
    let wait = format!("broker_call_ms={}", BROKER_CALL.as_millis());
    let options = Options::default().nats(&server).flag("--limit", &wait).switch("--watch");
    let host = Host::start_with(&works, options);
    assert_eq!(ask(&host, "echo:before").await.text(), "before");
    server.signal(Signal::STOP);

    // A subscription waits for the server's word.
    write_application(host.folder.path(), &(works + &worker("late", "probe.late", &["poolSize: 1"])));
    let reason =
        eventually("the late worker's end", async || host.workload("late").await["reason"].as_str().map(str::to_owned))
            .await;
    assert!(reason.contains("the subscription to probe.late was not confirmed within 500ms"), "{reason}");

    // A message waits once the sockets and the client's queue are full.
    let begun = Instant::now();
    let refused = post(&host, "/publish?subject=nobody.here&times=100000", &"x".repeat(8_192)).await;
    assert_eq!(refused.text(), "the messaging server did not take the message within 500 ms");
    assert!(begun.elapsed() < BROKER_CALL + SLOW_MACHINE, "{:?}", begun.elapsed());

    // A request waits as long as the guest says, full as the queue is.
    let begun = Instant::now();
    let refused = post(&host, "/request?subject=probe.work&timeout-ms=300", "echo:meanwhile").await;
    assert_eq!(refused.text(), "no reply on probe.work within 300 ms (the guest's timeout)");
    assert!(begun.elapsed() < SLOW_MACHINE, "{:?}", begun.elapsed());

    server.signal(Signal::CONT);
    eventually("an answer after the pause", async || (ask(&host, "echo:after").await.text() == "after").then_some(()))
        .await;
}

#[tokio::test]
async fn requests_fail_at_once_while_the_server_is_away() {
    let server = NatsServer::start();
    let manifest = gateway() + &worker("worker", "probe.work", &["poolSize: 1"]);
    let host = Host::start_with(&manifest, Options::default().nats(&server));
    assert_eq!(ask(&host, "echo:before").await.text(), "before");
    drop(server);
    eventually("the host's word that the connection is lost", async || {
        let ready = host.admin("/readyz").await;
        (ready.status == StatusCode::SERVICE_UNAVAILABLE && ready.text().contains("NATS")).then_some(())
    })
    .await;
    let begun = Instant::now();
    let refused = post(&host, "/request?subject=probe.work&timeout-ms=50000", "echo:x").await;
    assert_eq!(refused.text(), "the messaging server cannot be reached");
    assert!(begun.elapsed() < SLOW_MACHINE, "{:?}", begun.elapsed());
}
