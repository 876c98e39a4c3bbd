//! Two hosts that run one deployment: each message is one host's, and the end of one costs no more than what it had.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    host::{Host, Options},
    manifest::{trigger, worker},
    nats::{NatsServer, python_within},
};

const MESSAGES: u32 = 10_000;
/// Instances of the worker on each host.
const POOL: u32 = 8;

fn hosts(server: &NatsServer) -> [Host; 2] {
    let manifest = trigger("gateway", "probe.test", "probe-gateway").timeout("20s").yaml()
        + &worker("worker", "probe.work", &[&format!("poolSize: {POOL}")]);
    [(); 2].map(|()| Host::start_with(&manifest, Options::default().nats(server)))
}

/// Messages that the handlers of a host took and ended well.
async fn handled(host: &Host) -> f64 {
    host.metric("roadstead_messages_handled_total", &["\"worker\"", "\"ok\""]).await
}

/// Each message makes the worker send its number to a subject on which the numbers are counted.
const COUNTING_CLIENT: &str = r#"
import asyncio, collections, json, sys, nats
async def main():
    url, messages, at_once = sys.argv[1], int(sys.argv[2]), 64
    client, counter = await nats.connect(url), await nats.connect(url)
    counted = collections.Counter()
    async def count(message):
        counted[message.data.decode()] += 1
    await counter.subscribe("tally", cb=count)
    await counter.flush()
    answers = collections.Counter()
    numbers = iter(range(messages))
    async def ask():
        for number in numbers:
            reply = await client.request("probe.work", f"publish:tally:{number}".encode(), timeout=60)
            answers[reply.data.decode()] += 1
    await asyncio.gather(*[ask() for _ in range(at_once)])
    # What the workers sent before their answers reaches the server before them; this comes after all of it.
    await counter.flush()
    for _ in range(500):
        if len(counted) >= messages: break
        await asyncio.sleep(0.02)
    print(json.dumps({"answers": answers, "numbers": len(counted), "times": collections.Counter(counted.values())}))
    await client.close()
    await counter.close()
asyncio.run(main())
"#;

#[tokio::test]
async fn ten_thousand_messages_are_handled_once_each_by_one_host_or_the_other() {
    let server = NatsServer::start();
    let [first, second] = hosts(&server);
    let (url, messages) = (server.url(), MESSAGES.to_string());
    let out = python_within(Duration::from_secs(200), COUNTING_CLIENT, &[&url, &messages]).await;
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(out["answers"], serde_json::json!({"published": MESSAGES}), "{out}");
    // Each number, and none of them twice.
    assert_eq!(out["numbers"], MESSAGES, "{out}");
    assert_eq!(out["times"], serde_json::json!({"1": MESSAGES}), "{out}");
    let (by_first, by_second) = (handled(&first).await, handled(&second).await);
    println!("{by_first} and {by_second} messages");
    assert_eq!(by_first + by_second, f64::from(MESSAGES));
    assert!(by_first > 0.0 && by_second > 0.0, "{by_first} and {by_second}");
}

/// How long requesters wait in the second test, and what a busy machine may add to it.
const PATIENCE_MS: u32 = 3_000;
const SLOW_MACHINE: Duration = Duration::from_secs(10);
/// Requesters of each kind: all that they ask at a time can run on one host, so that nothing waits there.
const GUESTS: usize = 4;
const CLIENTS: usize = 4;
/// Requests of each after those that were under way at the end of the host.
const LATER: u32 = 50;

/// Requesters that ask one after the other, until each has had so many answers after the file is there. Prints for each
/// request that had none how long it took, and how many had one.
const CLIENTS_UNDER_LOAD: &str = r#"
import asyncio, json, os, sys, time, nats
async def main():
    url, patience, clients, later, ended = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    connection = await nats.connect(url)
    answered, lost, others = [0], [], []
    async def ask():
        left = later
        while left > 0:
            after = os.path.exists(ended)
            begun = time.monotonic()
            try:
                reply = await connection.request("probe.work", b"sleep:100", timeout=patience)
                answered[0] += 1
                if reply.data != b"slept 100 ms": others.append(str(reply.headers))
            except nats.errors.TimeoutError:
                lost.append([after, time.monotonic() - begun])
            left -= after
    await asyncio.gather(*[ask() for _ in range(clients)])
    print(json.dumps({"answered": answered[0], "lost": lost, "others": others}))
    await connection.close()
asyncio.run(main())
"#;

/// What became of the requests of guests.
#[derive(Debug, Default)]
struct Told {
    answers: BTreeMap<String, u32>,
    /// Requests without an answer, and the longest time that one of them took.
    lost: u32,
    lost_after_the_end: u32,
    longest: Duration,
}

#[tokio::test]
async fn a_host_that_is_killed_loses_what_it_was_running_and_no_more() {
    let server = NatsServer::start();
    let [asking, mut dies] = hosts(&server);
    let marks = tempfile::tempdir().unwrap();
    let ended = marks.path().join("ended");
    let guest = async || {
        let (mut told, mut left) = (Told::default(), LATER);
        while left > 0 {
            let after = ended.exists();
            let begun = std::time::Instant::now();
            let path = format!("/request?subject=probe.work&timeout-ms={PATIENCE_MS}");
            let answer = asking.client("probe.test").post(&path).body("sleep:100").send().await.text();
            if answer.starts_with("no reply on probe.work within") {
                told.lost += 1;
                told.lost_after_the_end += u32::from(after);
                told.longest = told.longest.max(begun.elapsed());
            }
            *told.answers.entry(answer).or_default() += 1;
            left -= u32::from(after);
        }
        told
    };
    let (url, patience) = (server.url(), (f64::from(PATIENCE_MS) / 1_000.0).to_string());
    let (clients, later) = (CLIENTS.to_string(), LATER.to_string());
    let arguments = [url.as_str(), &patience, &clients, &later, ended.to_str().unwrap()];
    let clients = python_within(Duration::from_secs(120), CLIENTS_UNDER_LOAD, &arguments);
    let guests = join_all((0..GUESTS).map(|_| guest()));
    let killed = async {
        let running = async || dies.metric("roadstead_messages_in_flight", &["\"worker\""]).await;
        // Both hosts have had their share, and this one is busy.
        crate::harness::eventually("load on both hosts", async || {
            let both = handled(&asking).await >= 20.0 && handled(&dies).await >= 20.0;
            (both && running().await >= 2.0).then_some(())
        })
        .await;
        dies.signal(Signal::KILL);
        dies.wait();
        std::fs::write(&ended, "").unwrap();
    };
    let (clients, guests, ()) = tokio::join!(clients, guests, killed);
    let clients: Value = serde_json::from_str(&clients).unwrap();
    println!("clients: {clients}, guests: {guests:?}");

    let lost_by_clients = clients["lost"].as_array().unwrap();
    let lost = lost_by_clients.len() + guests.iter().map(|told| told.lost as usize).sum::<usize>();
    assert!(lost <= GUESTS + CLIENTS, "{lost}: more than was under way");
    let bound = Duration::from_millis(PATIENCE_MS.into()) + SLOW_MACHINE;
    for told in &guests {
        assert_eq!(told.lost_after_the_end, 0, "{told:?}");
        assert!(told.longest < bound, "{told:?}");
        let others = told.answers.keys().filter(|answer| *answer != "slept 100 ms");
        assert!(others.clone().all(|answer| answer.starts_with("no reply on probe.work within")), "{told:?}");
    }
    for lost in lost_by_clients {
        assert_eq!(lost[0], false, "asked after the end: {lost}");
        assert!(lost[1].as_f64().unwrap() < bound.as_secs_f64(), "{lost}");
    }
    assert_eq!(clients["others"], serde_json::json!([]), "{clients}");
}
