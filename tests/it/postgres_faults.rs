//! What becomes of calls when the database, or the way to it, fails: what was acknowledged is there, nobody waits longer than
//! the bounds say, and requests that need no store notice nothing.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures::future::join_all;
use http::StatusCode;

use crate::harness::{eventually, fault_proxy::FaultProxy, host::Options, postgres::PostgresServer, stores::Stores};

/// What a busy machine may add to a bound.
const SLOW_MACHINE: Duration = Duration::from_secs(5);

/// A host whose way to its database goes through a proxy.
async fn behind_proxy(options: Options) -> (Stores, FaultProxy) {
    let database = PostgresServer::start();
    let proxy = FaultProxy::start(database.port()).await;
    let options = options.flag("--postgres-url", &database.url_at(&proxy.address().to_string()));
    let host = tokio::task::block_in_place(|| Stores::host(options));
    (Stores { host, server: None, database: Some(database), data: None }, proxy)
}

async fn is_there_again(stores: &Stores) {
    eventually("an answer of the store", async || {
        (stores.ask("/keys/set?bucket=one&key=again", "v").await.status == 200).then_some(())
    })
    .await;
    eventually("readiness", async || (stores.host.admin("/readyz").await.status == StatusCode::OK).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_crashes_of_the_server() {
    acknowledged_writes_survive(Stores::in_postgres(), PostgresServer::kill).await;
}

/// As an operator runs it, and without a word of farewell.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_server_that_is_killed() {
    let database = PostgresServer::start_with(&["fsync = on"], None);
    assert_eq!((database.sql("SHOW fsync"), database.sql("SHOW synchronous_commit")), ("on".into(), "on".into()));
    let stores = tokio::task::block_in_place(|| Stores::in_database(database, Options::default()));
    acknowledged_writes_survive(stores, PostgresServer::kill_hard).await;
}

async fn acknowledged_writes_survive(mut stores: Stores, crash: fn(&mut PostgresServer)) {
    const WRITERS: u64 = 4;
    stores.say("/blobs/create-container?container=one", "").await;
    let mut database = stores.database.take();
    let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let writers = join_all((0..WRITERS).map(async |writer| {
        let (mut acknowledged, mut refused) = (Vec::new(), 0_u64);
        let mut number = 0;
        while !is_over.load(Ordering::Relaxed) {
            let name = format!("{writer}-{number}");
            let path = match number % 2 {
                0 => format!("/keys/set?bucket=one&key={name}"),
                _ => format!("/blobs/write?container=one&object={name}"),
            };
            let answer = stores.ask(&path, &name).await;
            match answer.status.as_u16() {
                200 => {
                    acknowledged.push(number);
                    written.fetch_add(1, Ordering::Relaxed);
                }
                _ => refused += 1,
            }
            number += 1;
        }
        (writer, acknowledged, refused)
    }));
    let crashing = async {
        for round in 1..=3_u64 {
            eventually("acknowledged writes", async || (written.load(Ordering::Relaxed) >= round * 40).then_some(()))
                .await;
            // The writers go on meanwhile.
            let mut dying = database.take().unwrap();
            let crashed = tokio::task::spawn_blocking(move || {
                crash(&mut dying);
                dying.start_again();
                dying
            });
            database = Some(crashed.await.unwrap());
        }
        let so_far = written.load(Ordering::Relaxed);
        eventually("writes after the last crash", async || {
            (written.load(Ordering::Relaxed) > so_far + 20).then_some(())
        })
        .await;
        is_over.store(true, Ordering::Relaxed);
        database.unwrap()
    };
    let (outcomes, database) = futures::join!(writers, crashing);
    let mut checked = 0;
    for (writer, acknowledged, refused) in outcomes {
        for number in acknowledged {
            let name = format!("{writer}-{number}");
            let path = match number % 2 {
                0 => format!("/keys/get?bucket=one&key={name}"),
                _ => format!("/blobs/read?container=one&object={name}"),
            };
            assert_eq!(stores.say(&path, "").await, name);
            checked += 1;
        }
        println!("writer {writer}: {refused} refused");
    }
    println!("{checked} acknowledged writes are there after 3 crashes");
    // And so are the numbers by which limits are held.
    let same = "SELECT keys = (SELECT count(*) FROM roadstead.kv_entry) FROM roadstead.kv_namespace";
    assert_eq!(database.sql(same), "t");
    stores.database = Some(database);
}

/// Keys and objects until there is no room: what was acknowledged stays, what finds no room says so, and all else goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_server_costs_what_finds_no_room() {
    // Random text, which the server cannot make smaller.
    let value = |number: u64| {
        let digits =
            (0..2_000_u64).map(|at| format!("{:016x}", (number * 2_000 + at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        digits.collect::<String>()
    };
    let stores = tokio::task::block_in_place(|| {
        Stores::in_database(PostgresServer::start_on_a_small_disk(16), Options::default())
    });
    // Somebody else has 2 MB of the disk.
    let others = "CREATE TABLE others AS SELECT repeat(md5(i::text), 60) FROM generate_series(1, 1000) AS i";
    stores.database.as_ref().unwrap().sql(others);
    let mut stored = 0;
    let full = loop {
        let answer = stores.ask(&format!("/keys/set?bucket=one&key=k{stored}"), &value(stored)).await;
        if answer.status != StatusCode::OK {
            break answer.text();
        }
        stored += 1;
        assert!(stored < 2_000, "the disk does not fill up");
    };
    assert!(stored > 10 && full.contains("full"), "{stored} {full}");
    for number in 0..stored {
        assert_eq!(stores.say(&format!("/keys/get?bucket=one&key=k{number}"), "").await, value(number), "{number}");
    }
    assert_eq!(stores.host.admin("/readyz").await.status, StatusCode::OK);
    // What needs no store is answered: the component says that there is no such setting.
    assert_eq!(stores.ask("/config/get?key=none", "").await.status, StatusCode::NOT_FOUND);
    // The numbers by which limits are held say what is there.
    let same = "SELECT keys = (SELECT count(*) FROM roadstead.kv_entry) FROM roadstead.kv_namespace";
    let database = stores.database.as_ref().unwrap();
    assert_eq!(database.sql(same), "t");
    // As soon as there is room, it goes on.
    database.sql("DROP TABLE others");
    stores.say("/keys/set?bucket=one&key=more", &value(stored)).await;
    assert_eq!(stores.say("/keys/get?bucket=one&key=more", "").await, value(stored));
    assert_eq!(database.sql(same), "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_costs_no_wait() {
    let mut stores = Stores::in_postgres();
    stores.say("/keys/set?bucket=one&key=k", "kept").await;
    stores.database.as_mut().unwrap().kill();
    eventually("a refusal while the server is away", async || {
        let answer = stores.ask("/keys/get?bucket=one&key=k", "").await;
        (answer.status == 409 && answer.text().contains("cannot be reached")).then_some(())
    })
    .await;
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(stores.refusal("/keys/get?bucket=one&key=k", "").await, "the store cannot be reached just now");
    }
    assert!(begun.elapsed() < SLOW_MACHINE, "{:?}", begun.elapsed());
    let ready = stores.host.admin("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().contains("the connection to PostgreSQL is lost; reconnecting"), "{}", ready.text());
    stores.database.as_mut().unwrap().start_again();
    is_there_again(&stores).await;
    assert_eq!(stores.say("/keys/get?bucket=one&key=k", "").await, "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stalls_is_waited_for_no_longer_than_the_bound() {
    let options = Options::default().flag("--limit", "store_call_ms=500");
    let (stores, proxy) = behind_proxy(options).await;
    stores.say("/keys/set?bucket=one&key=k", "kept").await;
    assert_eq!(stores.ask("/config/get?key=only-a", "").await.text(), "secret");
    proxy.partition();
    let calls = async {
        let begun = Instant::now();
        let calls = (0..40).map(|_| stores.refusal("/keys/get?bucket=one&key=k", ""));
        let told = join_all(calls).await;
        assert!(begun.elapsed() < Duration::from_millis(500) + SLOW_MACHINE, "{:?}", begun.elapsed());
        for reason in told {
            let known = ["did not answer within", "cannot be reached", "postgres_wait_ms"];
            assert!(known.iter().any(|known| reason.contains(known)), "{reason}");
        }
    };
    // What needs no store has its answers meanwhile.
    let others = async {
        for _ in 0..50 {
            let begun = Instant::now();
            assert_eq!(stores.ask("/config/get?key=only-a", "").await.text(), "secret");
            assert!(begun.elapsed() < SLOW_MACHINE, "{:?}", begun.elapsed());
        }
    };
    futures::join!(calls, others);
    eventually("unreadiness", async || {
        (stores.host.admin("/readyz").await.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    // Once it is known, nobody waits at all.
    let begun = Instant::now();
    stores.refusal("/keys/get?bucket=one&key=k", "").await;
    assert!(begun.elapsed() < SLOW_MACHINE, "{:?}", begun.elapsed());
    proxy.heal();
    is_there_again(&stores).await;
    assert_eq!(stores.say("/keys/get?bucket=one&key=k", "").await, "kept");
}

/// `tenant_postgres::READ_ATTEMPTS_MAX`.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_die_cost_readers_nothing() {
    let (stores, proxy) = behind_proxy(Options::default()).await;
    stores.say("/keys/set?bucket=one&key=k", "kept").await;
    for _ in 0..5 {
        proxy.cut();
        // A read is tried again on another connection.
        assert_eq!(stores.say("/keys/get?bucket=one&key=k", "").await, "kept");
    }
    // Connections that say nothing any more, while new ones do.
    proxy.go_half_open();
    is_there_again(&stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_somebody_holds_is_waited_for_within_the_bound() {
    let stores = Stores::in_postgres_with(Options::default().flag("--limit", "store_call_ms=1000"));
    stores.say("/keys/set?bucket=one&key=k", "old").await;
    let database = stores.database.as_ref().unwrap();
    let hold = "SELECT 1 FROM roadstead.kv_namespace WHERE namespace = 'a' FOR UPDATE; SELECT pg_sleep(5)";
    std::thread::scope(|scope| {
        scope.spawn(|| database.sql(hold));
        let held = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(5)' AND wait_event = 'PgSleep'";
        while database.sql(held) != "1" {}
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let refusal = stores.refusal("/keys/set?bucket=one&key=k", "new").await;
                assert!(refusal.contains("within 1000 ms"), "{refusal}");
                assert_eq!(stores.say("/keys/get?bucket=one&key=k", "").await, "old");
                // Another tenant does not wait for it.
                assert_eq!(stores.ask_as("b", "/keys/set?bucket=one&key=k", "theirs").await.status, 200);
            });
        });
    });
    assert_eq!(stores.say("/keys/get?bucket=one&key=k", "").await, "old");
}

/// `tenant_postgres::CONFLICT_ATTEMPTS_MAX`.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_others_come_before_is_tried_again_and_not_for_ever() {
    let stores = Stores::in_postgres();
    stores.say("/keys/set?bucket=one&key=k", "old").await;
    let database = stores.database.as_ref().unwrap();
    let conflicting = |times: u32| {
        format!(
            "CREATE SEQUENCE IF NOT EXISTS public.attempts; SELECT setval('public.attempts', 1, false); \
             CREATE OR REPLACE FUNCTION roadstead.kv_delete(p_namespace text, p_bucket text, p_key bytea) \
             RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF nextval('public.attempts') <= {times} THEN \
             RAISE EXCEPTION 'others' USING ERRCODE = '40001'; END IF; END $$"
        )
    };
    database.sql(&conflicting(4));
    stores.say("/keys/delete?bucket=one&key=k", "").await;
    database.sql(&conflicting(1_000));
    let refusal = stores.refusal("/keys/delete?bucket=one&key=k", "").await;
    assert!(refusal.contains("each of 5 attempts"), "{refusal}");
    assert_eq!(database.sql("SELECT last_value FROM public.attempts"), "5");
}
