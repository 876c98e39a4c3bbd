//! Workers of one tenant beside those of another: who has much to do does not make the other wait.
//!
//! Two tenants whose calls compute equally long. One has ten thousand of them waiting for more instances than the machine
//! has cores, the other makes one call at a time. A call that takes twice its run time leaves the crowd, on as many cores,
//! so many calls of its own; that is what is counted, because it is the same on a machine that is busy with other things.
//! The times are printed.

use std::{
    thread::available_parallelism,
    time::{Duration, Instant},
};

use crate::harness::{
    eventually,
    host::{Host, Options},
    manifest::{trigger, worker_in},
    nats::NatsServer,
};

/// Calls that the crowd has waiting.
const QUEUED: u32 = 10_000;
/// Instances of the crowd for each core. If all instances had equal shares, a single call would take as many times its
/// run time.
const CROWD_PER_CORE: usize = 8;
/// How long a call of either tenant computes where nobody else does.
const WORK: Duration = Duration::from_millis(50);
/// Calls of the single tenant beside the crowd, one after the other.
const CALLS: usize = 20;
/// How many times its run time such a call may take.
const SLOWER_MAX: f64 = 2.0;
/// Calls of the crowd that may end beside one more than that: while the answer is on its way and the next call on its,
/// through a gateway in a build without optimisation.
const ALLOWANCE: f64 = 0.5;
/// The system may let the crowd's threads run and not the other's, where other processes want the cores as well.
const ROUNDS_MAX: usize = 3;

fn application(namespace: &str, pool: &str) -> String {
    let host = format!("{namespace}.test");
    trigger("gateway", &host, "probe-gateway").namespace(namespace).timeout("60s").yaml()
        + &worker_in(namespace, "worker", &format!("{namespace}.work"), &[pool])
}

/// The single tenant's call.
async fn timed(host: &Host, turns: u64) -> Duration {
    let begun = Instant::now();
    let asked = host.client("single.test").post("/request?subject=single.work&timeout-ms=20000");
    assert_eq!(asked.body(format!("work:{turns}")).send().await.text(), "worked");
    begun.elapsed()
}

/// How many turns take [`WORK`], by the fastest of some tries: nobody else had the processor then.
async fn turns(host: &Host) -> u64 {
    const TRIED: u32 = 50_000_000;
    timed(host, 1).await;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        fastest = fastest.min(timed(host, TRIED.into()).await);
    }
    (f64::from(TRIED) * WORK.as_secs_f64() / fastest.as_secs_f64()) as u64
}

async fn handled(host: &Host) -> f64 {
    host.metric("roadstead_messages_handled_total", &["\"crowd\"", "\"ok\""]).await
}

async fn assert_fair(options: Options) {
    let cores = available_parallelism().unwrap().get();
    let crowd = format!("poolSize: {}", cores * CROWD_PER_CORE);
    let options = options.flag("--limit", "subscription_messages_max=16384");
    let host = Host::start_with(&(application("crowd", &crowd) + &application("single", "poolSize: 1")), options);
    let turns = turns(&host).await;
    let mut alone = Vec::new();
    for _ in 0..CALLS {
        alone.push(timed(&host, turns).await);
    }
    let queue = format!("/publish?subject=crowd.work&times={QUEUED}");
    let queued = host.client("crowd.test").post(&queue).body(format!("work:{turns}")).send().await;
    assert_eq!(queued.status, 202, "{}", queued.text());
    host.wait_for_metric("roadstead_pool_busy", &["\"crowd\""], (cores * CROWD_PER_CORE) as f64).await;
    // The first calls of the crowd end together, as they began together.
    let first = handled(&host).await + (2 * cores * CROWD_PER_CORE) as f64;
    eventually("the crowd at work", async || (handled(&host).await >= first).then_some(())).await;

    alone.sort();
    println!("a call alone: {:?} (at most {:?})", alone[CALLS / 2], alone[CALLS - 1]);
    // In the time of so many runs on all cores, all but the one's own are the crowd's.
    let of_crowd_max = SLOWER_MAX * cores as f64 - 1.0 + ALLOWANCE;
    let mut tried = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let before = handled(&host).await;
        let mut beside = Vec::new();
        for _ in 0..CALLS {
            beside.push(timed(&host, turns).await);
        }
        let of_crowd = (handled(&host).await - before) / CALLS as f64;
        assert!(handled(&host).await < f64::from(QUEUED) / 2.0, "the crowd must be there all the time");
        beside.sort();
        println!("beside the crowd: {:?} (at most {:?})", beside[CALLS / 2], beside[CALLS - 1]);
        println!("meanwhile {of_crowd:.2} calls of the crowd on {cores} cores");
        if of_crowd <= of_crowd_max {
            return;
        }
        tried.push(of_crowd);
    }
    panic!("calls of the crowd beside each, of which at most {of_crowd_max} may be: {tried:?}");
}

#[tokio::test]
async fn in_the_process_ten_thousand_queued_calls_do_not_delay_another_tenants_single_one() {
    assert_fair(Options::default()).await;
}

#[tokio::test]
async fn over_nats_ten_thousand_queued_calls_do_not_delay_another_tenants_single_one() {
    let server = NatsServer::start();
    assert_fair(Options::default().nats(&server)).await;
}
