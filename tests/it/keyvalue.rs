//! `wasi:keyvalue`, as a component sees it: the same for every backend: in memory, on disk, over a real nats-server and
//! in a real PostgreSQL.

use std::collections::BTreeSet;

use async_nats::jetstream;
use futures::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::fleet::{options, registry_with};
use crate::harness::{
    eventually,
    host::{Host, Options},
    nats::NatsServer,
    operator::Operator,
    stores::{Stores, patient},
};

#[tokio::test]
async fn values_come_back() {
    for start in Stores::BACKENDS {
        let stores = start(Options::default());
        assert_eq!(stores.ask("/keys/get?bucket=one&key=k", "").await.status, 404);
        stores.say("/keys/set?bucket=one&key=k", "first").await;
        stores.say("/keys/set?bucket=one&key=k", "second").await;
        assert_eq!(stores.say("/keys/get?bucket=one&key=k", "").await, "second");
        assert_eq!(stores.say("/keys/exists?bucket=one&key=k", "").await, "true");
        // Another bucket is another thing; no name is the name `default`.
        assert_eq!(stores.say("/keys/exists?bucket=two&key=k", "").await, "false");
        stores.say("/keys/set?key=k", "in the default one").await;
        assert_eq!(stores.say("/keys/get?bucket=default&key=k", "").await, "in the default one");
        stores.say("/keys/delete?bucket=one&key=k", "").await;
        stores.say("/keys/delete?bucket=one&key=k", "").await;
        assert_eq!(stores.ask("/keys/get?bucket=one&key=k", "").await.status, 404);
        // Any text is a key, and an empty value is one.
        for key in ["a.b%20%3E%20*", "$KV.x.%3E", "%C3%A9%F0%9F%98%80", "%0A%00", "=2E"] {
            stores.say(&format!("/keys/set?bucket=odd&key={key}"), key).await;
        }
        for key in ["a.b%20%3E%20*", "$KV.x.%3E", "%C3%A9%F0%9F%98%80", "%0A%00", "=2E"] {
            assert_eq!(stores.say(&format!("/keys/get?bucket=odd&key={key}"), "").await, key);
        }
        stores.say("/keys/set?bucket=odd&key=empty", "").await;
        assert_eq!(stores.say("/keys/get?bucket=odd&key=empty", "").await, "");
    }
}

#[tokio::test]
async fn names_are_checked() {
    for start in Stores::BACKENDS {
        let stores = start(Options::default());
        for (bucket, reason) in [("a.b", "'.'"), ("%3E", "'>'"), ("../x", "'.'"), (&"x".repeat(65), "at most 64")] {
            let refusal = stores.refusal(&format!("/keys/open?bucket={bucket}"), "").await;
            assert!(refusal.contains(reason), "{refusal}");
        }
        let too_long = "k".repeat(513);
        for (key, reason) in [("", "is empty"), (&*too_long, "at most 512")] {
            for path in ["get", "set", "delete", "exists", "increment"] {
                let refusal = stores.refusal(&format!("/keys/{path}?bucket=one&key={key}"), "v").await;
                assert!(refusal.contains(reason), "{refusal}");
            }
        }
    }
}

/// A page has `host::KEYS_PER_PAGE_MAX` keys.
#[tokio::test]
async fn listings_go_on_where_they_stopped() {
    for start in Stores::BACKENDS {
        let stores = start(Options::default());
        let key = |number: u32| format!("k{number:04}");
        for begin in [0, 800, 1_600] {
            let keys: Vec<String> = (begin..begin + 800).map(key).collect();
            stores.say(&format!("/keys/set-many?bucket=many&keys={}", keys.join(",")), "v").await;
        }
        stores.say("/keys/set?bucket=other&key=not-there", "v").await;
        let all = stores.ask("/keys/list-keys?bucket=many&all=1", "").await;
        assert_eq!(all.header("pages"), "3");
        let found: Vec<String> = all.text().lines().map(str::to_owned).collect();
        assert_eq!(found.len(), 2_400);
        assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), (0..2_400).map(key).collect());

        let first = stores.ask("/keys/list-keys?bucket=many", "").await;
        assert_eq!(first.text().lines().count(), 1_000);
        // Changed while it is listed: it may come again, but is not left out; what is deleted is not there.
        let (changed, deleted) = (found[1_500].clone(), found[2_000].clone());
        stores.say(&format!("/keys/set?bucket=many&key={changed}"), "new").await;
        stores.say(&format!("/keys/delete?bucket=many&key={deleted}"), "").await;
        let rest = stores.say(&format!("/keys/list-keys?bucket=many&all=1&cursor={}", first.header("next")), "").await;
        let rest: BTreeSet<&str> = rest.lines().collect();
        assert!(rest.contains(&*changed) && !rest.contains(&*deleted));
        assert_eq!(rest.len(), 1_399);
        assert_eq!(stores.say("/keys/list-keys?bucket=empty", "").await, "");
    }
}

#[tokio::test]
async fn increments_of_many_are_all_there() {
    for start in Stores::BACKENDS {
        let stores = start(Options::default());
        let writers = (0..8).map(|_| stores.say("/keys/increment?bucket=counts&key=n&delta=2&times=50", ""));
        join_all(writers).await;
        assert_eq!(stores.say("/keys/get?bucket=counts&key=n", "").await, "800");
    }
}

#[tokio::test]
async fn eight_writers_of_a_thousand_increments() {
    for start in Stores::BACKENDS {
        let begun = std::time::Instant::now();
        let stores = start(Options::default());
        let writers = (0..8).map(async |_| {
            for _ in 0..20 {
                stores.say("/keys/increment?bucket=counts&key=n&times=50", "").await;
            }
        });
        join_all(writers).await;
        assert_eq!(stores.say("/keys/get?bucket=counts&key=n", "").await, "8000");
        println!("8 writers x 1,000 increments: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn increments_of_what_is_no_number_change_nothing() {
    for start in Stores::BACKENDS {
        let stores = start(Options::default());
        stores.say("/keys/set?bucket=counts&key=word", "many").await;
        let refusal = stores.refusal("/keys/increment?bucket=counts&key=word", "").await;
        assert!(refusal.contains("no number"), "{refusal}");
        assert_eq!(stores.say("/keys/get?bucket=counts&key=word", "").await, "many");
        assert_eq!(
            stores.say(&format!("/keys/increment?bucket=counts&key=n&delta={}", u64::MAX), "").await,
            u64::MAX.to_string()
        );
        let refusal = stores.refusal("/keys/increment?bucket=counts&key=n", "").await;
        assert!(refusal.contains("64 bits"), "{refusal}");
    }
}

#[tokio::test]
async fn batches_do_all_or_tell_how_many() {
    for start in Stores::BACKENDS {
        let stores = start(Options::default().flag("--limit", "keyvalue_keys_max=3"));
        stores.say("/keys/set-many?bucket=one&keys=b,a", "v").await;
        assert_eq!(stores.say("/keys/get-many?bucket=one&keys=a,none,b,a", "").await, "a=v\nnone\nb=v\na=v");
        let refusal = stores.refusal("/keys/set-many?bucket=one&keys=c,d", "v").await;
        assert!(refusal.contains("1 of 2 keys were set") && refusal.contains("keyvalue_keys_max"), "{refusal}");
        // A bad key is found before anything is done.
        let long = "k".repeat(513);
        stores.refusal(&format!("/keys/delete-many?bucket=one&keys=a,{long}"), "").await;
        assert_eq!(stores.say("/keys/exists?bucket=one&key=a", "").await, "true");
        stores.say("/keys/delete-many?bucket=one&keys=a,b,none", "").await;
        assert_eq!(stores.say("/keys/list-keys?bucket=one", "").await.lines().count(), 1);
    }
}

#[tokio::test]
async fn what_a_tenant_stores_is_bounded() {
    for start in Stores::BACKENDS {
        let limits = [
            "keyvalue_value_bytes_max=1000",
            "keyvalue_keys_max=4",
            "keyvalue_bytes_max=3000",
            "keyvalue_buckets_max=2",
        ];
        let stores = start(limits.iter().fold(Options::default(), |options, limit| options.flag("--limit", limit)));
        let value = "v".repeat(900);
        let refusal = stores.refusal("/keys/set?bucket=one&key=large", &"v".repeat(1_001)).await;
        assert!(refusal.contains("at most 1000"), "{refusal}");
        for key in ["a", "b", "c"] {
            stores.ask(&format!("/keys/set?bucket=one&key={key}"), &value).await;
        }
        let refusal = stores.refusal("/keys/set?bucket=two&key=d", &value).await;
        assert!(refusal.contains("keyvalue_bytes_max"), "{refusal}");
        // What is there can be replaced, and what is deleted makes room.
        stores.say("/keys/delete-many?bucket=one&keys=a,b,c", "").await;
        for key in ["a", "b", "c", "d"] {
            stores.say(&format!("/keys/set?bucket=one&key={key}"), "small").await;
        }
        stores.say("/keys/set?bucket=one&key=d", "other").await;
        let refusal = stores.refusal("/keys/set?bucket=one&key=e", "small").await;
        assert!(refusal.contains("keyvalue_keys_max"), "{refusal}");
        // Another tenant has as much for itself.
        assert_eq!(stores.ask_as("b", "/keys/set?bucket=one&key=a", &value).await.status, 200);
        let refusal = stores.refusal("/keys/open-many?count=5", "").await;
        assert!(refusal.starts_with("0: ") && refusal.contains("keyvalue_buckets_max"), "{refusal}");
    }
}

#[tokio::test]
async fn increments_of_two_hosts_of_a_fleet_are_all_there() {
    let registry = registry_with(&["probe-store"]);
    let server = NatsServer::start_with_jetstream();
    let operator = Operator::connect(&server.url()).await;
    let interface = |package: &str, version: &str, interfaces: Value, config: Value| json!({"namespace": "wasi", "package": package, "version": version, "interfaces": interfaces, "config": config});
    let workload = json!({
        "namespace": "a",
        "name": "probe",
        "witWorld": {
            "components": [{"name": "probe-store", "image": registry.plain("test/probe-store:1")}],
            "hostInterfaces": [
                interface("http", "0.2.0", json!(["incoming-handler"]), json!({"host": "a.test"})),
                interface("config", "0.2.0-rc.1", json!(["store"]), json!({"threshold": "0.8"})),
                interface("keyvalue", "0.2.0-draft", json!(["store", "atomics", "batch"]), json!({})),
                interface("blobstore", "0.2.0-draft", json!(["blobstore", "container", "types"]), json!({})),
            ],
        },
    });
    let hosts = [(); 2].map(|()| Host::join(&server, patient(options())));
    for host in &hosts {
        operator.start(host.fleet_id(), "probe", &workload).await.is("probe", "RUNNING");
    }
    let ask = async |host: &Host, path: &str| {
        let answer = host.client("a.test").post(path).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    };
    let writers = hosts.iter().flat_map(|host| [host; 4]);
    join_all(writers.map(|host| ask(host, "/keys/increment?bucket=counts&key=n&times=50"))).await;
    for host in &hosts {
        assert_eq!(ask(host, "/keys/get?bucket=counts&key=n").await, "400");
        assert_eq!(ask(host, "/config/get?key=threshold").await, "0.8");
    }
}

#[tokio::test]
async fn values_survive_host_and_server() {
    let mut stores = Stores::over_nats();
    stores.say("/keys/set?bucket=one&key=k", "kept").await;
    let server = stores.server.as_mut().unwrap();
    server.kill();
    eventually("a refusal while the server is away", async || {
        let refused = stores.ask("/keys/get?bucket=one&key=k", "").await;
        (refused.status == 409 && refused.text().contains("cannot be reached")).then_some(())
    })
    .await;
    stores.server.as_mut().unwrap().start_again();
    eventually("the value, once the server is back", async || {
        let answer = stores.ask("/keys/get?bucket=one&key=k", "").await;
        (answer.status == 200).then(|| assert_eq!(answer.text(), "kept"))
    })
    .await;
}

#[tokio::test]
async fn a_server_that_says_nothing_costs_the_time_of_one_call() {
    let stores = Stores::over_nats_with(Options::default().flag("--limit", "store_call_ms=300"));
    stores.say("/keys/set?bucket=one&key=k", "kept").await;
    let server = stores.server.as_ref().unwrap();
    server.signal(Signal::STOP);
    let refusal = eventually("a refusal", async || {
        let answer = stores.ask("/keys/get?bucket=one&key=k", "").await;
        (answer.status == 409).then(|| answer.text())
    })
    .await;
    assert_eq!(refusal, "the store did not answer within 300 ms");
    server.signal(Signal::CONT);
    eventually("the value, once the server goes on", async || {
        (stores.ask("/keys/get?bucket=one&key=k", "").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bucket_that_somebody_deletes_is_made_again() {
    let stores = Stores::over_nats();
    stores.say("/keys/set?bucket=one&key=k", "lost").await;
    let client = async_nats::connect(stores.server.as_ref().unwrap().url()).await.unwrap();
    let jetstream = jetstream::new(client);
    // What NATS' own tools see: the bucket of the namespace, and the key in it.
    let store = jetstream.get_key_value("roadstead_kv_a").await.unwrap();
    assert_eq!(store.get("one.k").await.unwrap().unwrap(), "lost");
    store.delete("one.k").await.unwrap();
    assert_eq!(stores.ask("/keys/get?bucket=one&key=k", "").await.status, 404);
    assert_eq!(stores.say("/keys/list-keys?bucket=one", "").await, "");
    assert_eq!(stores.say("/keys/increment?bucket=one&key=other", "").await, "1");
    jetstream.delete_key_value("roadstead_kv_a").await.unwrap();
    assert_eq!(stores.ask("/keys/get?bucket=one&key=k", "").await.status, 404);
    stores.say("/keys/set?bucket=one&key=k", "new").await;
    jetstream.delete_key_value("roadstead_kv_a").await.unwrap();
    stores.say("/keys/set?bucket=one&key=k", "newer").await;
    assert_eq!(stores.say("/keys/get?bucket=one&key=k", "").await, "newer");
}

#[tokio::test]
async fn a_server_without_jetstream_is_told_of() {
    let server = NatsServer::start();
    let only_keys = "\
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata: {name: probe, namespace: a}
spec:
  ingress: {host: a.test}
  template:
    spec:
      hostInterfaces:
        - {namespace: wasi, package: config, interfaces: [store]}
        - {namespace: wasi, package: keyvalue, interfaces: [store, atomics, batch]}
        - {namespace: wasi, package: blobstore, interfaces: [blobstore, container, types]}
      components:
        - name: probe-store
          image: file:probe-store.wasm
";
    let options = Options::default().nats(&server).switch("--watch");
    let host = Host::start_with(only_keys, patient(options));
    let reason = host.workload("probe").await["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("wasi-config") && reason.contains("JetStream"), "{reason}");
}
