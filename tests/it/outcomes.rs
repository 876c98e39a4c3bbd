//! How a worker's failure reaches the one who asked, a guest or any client of NATS: with its reason and code, in less
//! than 50 ms after the host knows it.
//!
//! A table of ways to fail. What a request takes is measured by the one who asks, from before it is sent: the way there,
//! the host's own work and the way back count against the bound. Where the host knows of the failure only after a
//! while (the end of a wait, a deadline), that time is taken off.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::future::join_all;
use http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    eventually,
    host::{Host, Options, write_application},
    manifest::{trigger, worker, worker_in},
    nats::{NatsServer, python_within},
};

/// From when the host knows until the requester does: of several tries the one in the middle, so that a machine that
/// does something else for a moment is not taken for a slow host.
const TOLD_WITHIN: Duration = Duration::from_millis(50);
const TRIES: usize = 7;
/// On a machine that is busy all the time, even the one in the middle says nothing.
const ROUNDS_MAX: usize = 4;
/// How long requesters here would wait if nobody told them of anything.
const LONG_MS: u32 = 20_000;
/// The waits and deadlines of the table.
const WAIT_MS: u64 = 200;

/// A way to fail.
struct Row {
    name: &'static str,
    subject: &'static str,
    body: String,
    /// What the client of NATS says of its patience, and the guest's own.
    waits_ms: Option<u64>,
    /// When the host can know, from when the request is sent.
    known_after_ms: u64,
    /// What a client of NATS is told, and a guest, if that differs.
    code: &'static str,
    reason: &'static str,
    guest_reads: Option<&'static str>,
}

fn row(name: &'static str, subject: &'static str, body: &str, code: &'static str, reason: &'static str) -> Row {
    let body = body.to_owned();
    Row { name, subject, body, waits_ms: None, known_after_ms: 0, code, reason, guest_reads: None }
}

fn table() -> Vec<Row> {
    let too_large = "x".repeat(2_001);
    let place = "the worker has 1 messages under way, as many as it may; try again later";
    let queue = "as many messages wait for the worker as may (2, or 67108864 bytes); try again later";
    vec![
        row("error of the handler", "probe.work", "err:the disk is full", "500", "the disk is full"),
        row("trap", "probe.work", "trap", "500", "the component failed (trap)"),
        row("out of memory", "probe.work", "alloc:500", "500", "the component failed (memory-limit)"),
        Row {
            waits_ms: Some(WAIT_MS),
            known_after_ms: WAIT_MS,
            // Its own host knows as soon as the worker's, and whose word is first is chance.
            guest_reads: Some("no reply on probe.work within 200 ms (the guest's timeout)"),
            ..row("deadline", "probe.work", "spin", "408", "the component did not answer in time")
        },
        Row {
            guest_reads: Some("the message is 2001 bytes large, at most 2000 are allowed"),
            ..row(
                "too large",
                "probe.work",
                &too_large,
                "413",
                "the message is 2001 bytes large, at most 2000 are allowed",
            )
        },
        Row { known_after_ms: WAIT_MS, ..row("no place in time", "probe.place", "echo:x", "429", place) },
        Row {
            known_after_ms: WAIT_MS,
            ..row(
                "no instance in time",
                "probe.wait",
                "echo:x",
                "429",
                "no instance became free in time; try again later",
            )
        },
        Row {
            guest_reads: Some("the subscribers of probe.queue have as many waiting messages as they may"),
            ..row("queue full", "probe.queue", "echo:x", "429", queue)
        },
    ]
}

/// The workers of the table, and a guest that asks them.
fn application() -> String {
    let of = |name: &str, subject: &str, config: &str, lines: &[&str]| {
        let subscriptions = format!("            subscriptions: {subject}\n");
        worker(name, subject, lines).replace(&subscriptions, &format!("{subscriptions}{config}"))
    };
    let wait = format!("            admission_wait: {WAIT_MS}ms\n");
    let one = "            max_in_flight: '1'\n";
    trigger("gateway", "probe.test", "probe-gateway").timeout("60s").yaml()
        + &of("worker", "probe.work", "", &["poolSize: 2"])
        + &of("place", "probe.place", &format!("{wait}{one}"), &["poolSize: 1"])
        + &of("wait", "probe.wait", &wait, &["poolSize: 1"])
        + &of("queue", "probe.queue", &format!("            admission_wait: 300s\n{one}"), &["poolSize: 1"])
}

async fn publish(host: &Host, subject: &str, body: &str) -> StatusCode {
    let path = format!("/publish?subject={subject}");
    host.client("probe.test").post(&path).body(body.to_owned()).send().await.status
}

/// A host whose workers are as busy as the table has it.
async fn prepared(options: Options) -> Host {
    let options = options.flag("--limit", "message_bytes_max=2000").flag("--limit", "subscription_messages_max=2");
    let host = Host::start_with(&application(), options);
    let busy = "sleep:300000";
    for worker in ["place", "wait", "queue"] {
        assert_eq!(publish(&host, &format!("probe.{worker}"), busy).await, StatusCode::ACCEPTED);
        host.wait_for_metric("roadstead_messages_in_flight", &[&format!("\"{worker}\"")], 1.0).await;
    }
    // One waits for the place, two behind it, and more are refused.
    for _ in 0..6 {
        publish(&host, "probe.queue", busy).await;
    }
    host.wait_for_metric("roadstead_messages_waiting", &["\"queue\""], 2.0).await;
    host
}

/// Notes how long after the host's knowledge each try was told; whether the one in the middle is within the bound.
fn judge(who: &str, name: &str, known_after_ms: u64, took: &[Duration]) -> bool {
    let known_after = Duration::from_millis(known_after_ms);
    let mut told: Vec<_> = took.iter().map(|took| took.saturating_sub(known_after)).collect();
    told.sort();
    println!("{who}: {name}: told after {:?}, at most {:?}", told[told.len() / 2], told[told.len() - 1]);
    told[told.len() / 2] < TOLD_WITHIN
}

async fn guest_is_told(host: &Host, row: &Row) -> bool {
    let mut took = Vec::new();
    for _ in 0..TRIES {
        let timeout_ms = row.waits_ms.unwrap_or(LONG_MS.into());
        let path = format!("/request?subject={}&timeout-ms={timeout_ms}", row.subject);
        let begun = Instant::now();
        let answer = host.client("probe.test").post(&path).body(row.body.clone()).send().await;
        took.push(begun.elapsed());
        let texts = [Some(format!("worker: {}", row.reason)), row.guest_reads.map(str::to_owned)];
        assert!(texts.contains(&Some(answer.text())), "{}: {}", row.name, answer.text());
    }
    judge("guest", row.name, row.known_after_ms, &took)
}

/// Asks for each row as often as there are tries, and prints the answers.
const CLIENT: &str = r#"
import asyncio, json, sys, time, nats
async def main():
    connection = await nats.connect(sys.argv[1])
    out = []
    for row in json.loads(sys.argv[2]):
        headers = {"Roadstead-Deadline-Ms": str(row["waits_ms"])} if row["waits_ms"] else None
        for _ in range(row["tries"]):
            begun = time.monotonic()
            reply = await connection.request(row["subject"], row["body"].encode(), timeout=20, headers=headers)
            took = time.monotonic() - begun
            headers_of = dict(reply.headers or {})
            error = [headers_of.get("Nats-Service-Error-Code"), headers_of.get("Nats-Service-Error"), len(reply.data)]
            out.append({"name": row["name"], "took": took, "error": error})
    print(json.dumps(out))
    await connection.close()
asyncio.run(main())
"#;

/// The rows of which a client of NATS was not told in time.
async fn clients_late(server: &NatsServer, rows: &[Row]) -> Vec<String> {
    let asked = rows.iter().map(|row| {
        json!({"name": row.name, "subject": row.subject, "body": row.body, "waits_ms": row.waits_ms, "tries": TRIES})
    });
    let asked = Value::from_iter(asked).to_string();
    let out = python_within(Duration::from_secs(90), CLIENT, &[&server.url(), &asked]).await;
    let answers: Vec<Value> = serde_json::from_str(&out).unwrap();
    let is_late = |row: &&Row| {
        let of_row = answers.iter().filter(|answer| answer["name"] == row.name);
        let took = of_row.map(|answer| {
            assert_eq!(answer["error"], json!([row.code, row.reason, 0]), "{}", row.name);
            Duration::from_secs_f64(answer["took"].as_f64().unwrap())
        });
        !judge("client", row.name, row.known_after_ms, &took.collect::<Vec<_>>())
    };
    rows.iter().filter(is_late).map(|row| row.name.to_owned()).collect()
}

/// The rows of which a guest was not told in time.
async fn guests_late(host: &Host, rows: &[Row]) -> Vec<String> {
    let mut late = Vec::new();
    for row in rows {
        if !guest_is_told(host, row).await {
            late.push(row.name.to_owned());
        }
    }
    late
}

/// Tries all rows, and again those that were late.
async fn none_is_late(rows: Vec<Row>, late: impl AsyncFn(&[Row]) -> Vec<String>) {
    let mut rows = rows;
    for _ in 0..ROUNDS_MAX {
        let late = late(&rows).await;
        rows.retain(|row| late.iter().any(|late| late == row.name));
        if rows.is_empty() {
            return;
        }
    }
    let late: Vec<_> = rows.iter().map(|row| row.name).collect();
    panic!("not told within {TOLD_WITHIN:?} in {ROUNDS_MAX} rounds: {late:?}");
}

#[tokio::test]
async fn in_the_process_each_outcome_reaches_a_guest_at_once() {
    let host = prepared(Options::default()).await;
    none_is_late(table(), async |rows| guests_late(&host, rows).await).await;
}

#[tokio::test]
async fn over_nats_each_outcome_reaches_a_guest_at_once() {
    let server = NatsServer::start();
    let host = prepared(Options::default().nats(&server)).await;
    none_is_late(table(), async |rows| guests_late(&host, rows).await).await;
}

#[tokio::test]
async fn each_outcome_reaches_a_plain_nats_client_at_once_with_its_code() {
    let server = NatsServer::start();
    let _host = prepared(Options::default().nats(&server)).await;
    none_is_late(table(), async |rows| clients_late(&server, rows).await).await;
}

/// A host whose instances are all taken by two tenants, and what a third and one of the two are told. Who asks is on
/// another host: this one has no instance left for a gateway.
#[tokio::test]
async fn a_full_host_and_a_full_namespace_tell_at_once() {
    const NAMESPACE_FULL: &str = "the namespace has as many calls as it may; try again later";
    let server = NatsServer::start();
    let workers: String =
        ["one", "two", "three"].map(|name| worker_in(name, name, &format!("probe.{name}"), &[])).concat();
    let options = Options::default().nats(&server);
    let limits = ["instances_max=2", "tenant_instances_max=1"];
    let full =
        Host::start_with(&workers, limits.into_iter().fold(options.clone(), |all, limit| all.flag("--limit", limit)));
    let gateway = trigger("gateway", "probe.test", "probe-gateway").timeout("60s").yaml();
    let host = Host::start_with(&gateway, options);
    for name in ["one", "two"] {
        assert_eq!(publish(&host, &format!("probe.{name}"), "sleep:300000").await, StatusCode::ACCEPTED);
        full.wait_for_metric("roadstead_instances", &[&format!("\"{name}\"")], 1.0).await;
    }
    let rows = || {
        vec![
            row("host full", "probe.three", "echo:x", "503", "the host has as many calls as it may; try again later"),
            row("namespace full", "probe.one", "echo:x", "429", NAMESPACE_FULL),
        ]
    };
    none_is_late(rows(), async |rows| guests_late(&host, rows).await).await;
    none_is_late(rows(), async |rows| clients_late(&server, rows).await).await;
}

#[tokio::test]
async fn a_worker_that_cannot_start_leaves_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("made-broken.wasm"), "no component").unwrap();
    let broken = worker("broken", "probe.broken", &["poolSize: 1"]).replace("file:probe-worker", "file:made-broken");
    let gateway = trigger("gateway", "probe.test", "probe-gateway").timeout("60s").yaml();
    write_application(folder.path(), &(gateway + &broken));
    let host = Host::start_in(folder, Options::default());
    let nobody = Row {
        guest_reads: Some("nobody subscribes to probe.broken"),
        ..row("failed start", "probe.broken", "echo:x", "503", "")
    };
    none_is_late(vec![nobody], async |rows| guests_late(&host, rows).await).await;
}

/// Requests that would take a minute, as a client of NATS sends them: prints when each was told what, by the clock that
/// the host's log has as well.
const WAITING_CLIENT: &str = r#"
import asyncio, json, sys, time, nats
async def ask(connection):
    reply = await connection.request("probe.work", b"sleep:60000", timeout=60)
    headers = dict(reply.headers or {})
    return [time.time(), headers.get("Nats-Service-Error-Code"), headers.get("Nats-Service-Error")]
async def main():
    connection = await nats.connect(sys.argv[1])
    print(json.dumps(await asyncio.gather(*[ask(connection) for _ in range(4)])))
    await connection.close()
asyncio.run(main())
"#;

async fn those_who_wait_are_told(stop: impl AsyncFn(&Host)) {
    let mut tried = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let after = told_after(&stop).await;
        if after < TOLD_WITHIN.as_secs_f64() {
            return;
        }
        tried.push(after);
    }
    panic!("told after so many seconds: {tried:?}");
}

/// Has four guests and four requests of a client under way at a worker, lets `stop` end the worker, and compares when
/// the requesters were told with when the log has it: the seconds between, the one in the middle.
async fn told_after(stop: &impl AsyncFn(&Host)) -> f64 {
    let server = NatsServer::start();
    let options = Options::default().nats(&server);
    let gateway = trigger("gateway", "probe.test", "probe-gateway").timeout("60s").yaml();
    let asking = Host::start_with(&gateway, options.clone());
    let worker = worker("worker", "probe.work", &["poolSize: 8"]);
    let options = options.switch("--watch").flag("--drain-timeout", "300ms");
    let host = Host::start_with(&worker, options);
    let guest = async || {
        let asked = asking.client("probe.test").post("/request?subject=probe.work&timeout-ms=50000");
        let answer = asked.body("sleep:60000").send().await;
        (SystemTime::now(), answer.text())
    };
    let guests = join_all((0..4).map(|_| guest()));
    let url = server.url();
    let arguments = [url.as_str()];
    let client = python_within(Duration::from_secs(50), WAITING_CLIENT, &arguments);
    let stopped = async {
        host.wait_for_metric("roadstead_messages_in_flight", &["\"worker\""], 8.0).await;
        stop(&host).await;
    };
    let (guests, client, ()) = tokio::join!(guests, client, stopped);
    let since_1970 = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let mut told: Vec<f64> = Vec::new();
    for (at, text) in guests {
        assert_eq!(text, "worker: the workload is not running; try again later");
        told.push(since_1970(at));
    }
    let answers: Vec<(f64, String, String)> = serde_json::from_str(&client).unwrap();
    for (at, code, reason) in answers {
        assert_eq!((code.as_str(), reason.as_str()), ("503", "the workload is not running; try again later"));
        told.push(at);
    }
    let log = host.log();
    let known = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut known: Vec<f64> = known
        .filter(|event| event["message"] == "a message was not handled")
        .map(|event| seconds_of_day(event["timestamp"].as_str().unwrap()))
        .collect();
    assert_eq!((told.len(), known.len()), (8, 8), "{log}");
    told.iter_mut().for_each(|told| *told %= DAY_SECONDS);
    told.sort_by(f64::total_cmp);
    known.sort_by(f64::total_cmp);
    let mut after: Vec<f64> =
        told.iter().zip(&known).map(|(told, known)| (told - known).rem_euclid(DAY_SECONDS)).collect();
    after.sort_by(f64::total_cmp);
    println!("stopped: told after {:.4} s, at most {:.4} s", after[4], after[7]);
    after[4]
}

const DAY_SECONDS: f64 = 86_400.0;

/// The time of a log line, in seconds since midnight.
fn seconds_of_day(timestamp: &str) -> f64 {
    let (_, time) = timestamp.split_once('T').unwrap();
    let parts: Vec<f64> = time.trim_end_matches('Z').split(':').map(|part| part.parse().unwrap()).collect();
    parts[0] * 3_600.0 + parts[1] * 60.0 + parts[2]
}

#[tokio::test]
async fn a_worker_that_is_removed_tells_those_who_wait_at_once() {
    those_who_wait_are_told(async |host| {
        let gateway = trigger("other", "other.test", "probe-gateway").yaml();
        write_application(host.folder.path(), &gateway);
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_is_replaced_tells_those_whom_it_leaves() {
    those_who_wait_are_told(async |host| {
        write_application(host.folder.path(), &worker("worker", "probe.work", &["poolSize: 7"]));
    })
    .await;
}

/// The answers are out before the process ends.
#[tokio::test]
async fn a_host_that_ends_tells_those_who_wait_before_it_is_gone() {
    those_who_wait_are_told(async |host| {
        host.signal(Signal::TERM);
    })
    .await;
}

/// No message falls between the old worker and the new one, and one that finds none is told so.
#[tokio::test]
async fn messages_to_a_worker_that_comes_and_goes_are_all_answered() {
    let server = NatsServer::start();
    for options in [Options::default(), Options::default().nats(&server)] {
        let gateway = trigger("gateway", "probe.test", "probe-gateway").timeout("60s").yaml();
        let with = |pool: u32| gateway.clone() + &worker("worker", "probe.work", &[&format!("poolSize: {pool}")]);
        let host = Host::start_with(&with(1), options.switch("--watch"));
        let done = std::cell::Cell::new(false);
        let asks = async || {
            let mut answers = BTreeMap::<String, u32>::new();
            while !done.get() {
                let path = format!("/request?subject=probe.work&timeout-ms={LONG_MS}");
                let answer = host.client("probe.test").post(&path).body("echo:x").send().await.text();
                *answers.entry(answer).or_default() += 1;
            }
            answers
        };
        let changes = async {
            for pool in [2, 0, 3] {
                let manifest = if pool == 0 { gateway.clone() } else { with(pool) };
                write_application(host.folder.path(), &manifest);
                eventually("the change", async || {
                    let size = host.workload("worker").await["components"][0]["pool"]["size"].as_u64();
                    (size == Some(pool.into()).filter(|size| *size > 0)).then_some(())
                })
                .await;
                // Some more requests meet what is there now.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            done.set(true);
        };
        let (first, second, third, ()) = tokio::join!(asks(), asks(), asks(), changes);
        for answers in [first, second, third] {
            println!("{answers:?}");
            let known =
                ["x", "nobody subscribes to probe.work", "worker: the workload is not running; try again later"];
            assert!(answers.keys().all(|answer| known.contains(&answer.as_str())), "{answers:?}");
            assert!(answers["x"] > 0);
        }
    }
}
