//! Every function of `wasi:config`, `wasi:keyvalue` and `wasi:blobstore`, with a case in which one tenant reaches for
//! another's. The functions are read from the interfaces' own text: one that is added without a case fails here.

use std::{collections::BTreeSet, fs, path::Path};

use super::messaging_coverage::functions;
use crate::harness::{
    host::{Host, Options},
    manifest::{trigger, worker_in},
    nats::NatsServer,
    stores::{Stores, patient, probe},
};

const PACKAGES: [&str; 3] = ["wasi-config", "wasi-keyvalue", "wasi-blobstore"];

/// What tenant `b` tries, and what it is told. Tenant `a` has the key `k` in the bucket `one` with `secret`, the object
/// `o` in the container `one` with `secret`, and the setting `only-a`.
struct Case {
    /// The functions that it is about, without their packages.
    functions: &'static [&'static str],
    path: &'static str,
    /// Status, and text unless it is left open.
    told: (u16, Option<&'static str>),
}

const fn case(functions: &'static [&'static str], path: &'static str, status: u16, text: &'static str) -> Case {
    Case { functions, path, told: (status, Some(text)) }
}

const fn refused(functions: &'static [&'static str], path: &'static str) -> Case {
    Case { functions, path, told: (409, None) }
}

const CASES: &[Case] = &[
    case(&["wasi-config/store.get"], "/config/get?key=only-a", 404, "none"),
    case(&["wasi-config/store.get-all"], "/config/get-all", 200, ""),
    case(&["wasi-keyvalue/store.open", "wasi-keyvalue/store.get"], "/keys/get?bucket=one&key=k", 404, "none"),
    case(&["wasi-keyvalue/store.exists"], "/keys/exists?bucket=one&key=k", 200, "false"),
    case(&["wasi-keyvalue/store.list-keys"], "/keys/list-keys?bucket=one", 200, ""),
    case(&["wasi-keyvalue/batch.get-many"], "/keys/get-many?bucket=one&keys=k", 200, "none"),
    case(&["wasi-keyvalue/store.set"], "/keys/set?bucket=one&key=k", 200, "set"),
    case(&["wasi-keyvalue/store.delete"], "/keys/delete?bucket=one&key=k", 200, "deleted"),
    case(&["wasi-keyvalue/atomics.increment"], "/keys/increment?bucket=one&key=k", 200, "1"),
    case(&["wasi-keyvalue/batch.set-many"], "/keys/set-many?bucket=one&keys=k", 200, "set"),
    case(&["wasi-keyvalue/batch.delete-many"], "/keys/delete-many?bucket=one&keys=k", 200, "deleted"),
    // Names that would lead into another's bucket where they were taken as they are.
    refused(&["wasi-keyvalue/store.open"], "/keys/open?bucket=..%2Froadstead_kv_a"),
    case(&["wasi-keyvalue/store.get"], "/keys/get?bucket=roadstead_kv_a&key=one.k", 404, "none"),
    case(&["wasi-keyvalue/store.get"], "/keys/get?bucket=one&key=%3E", 404, "none"),
    case(&["wasi-keyvalue/store.get"], "/keys/get?bucket=one&key=*", 404, "none"),
    case(&["wasi-blobstore/blobstore.container-exists"], "/blobs/container-exists?container=one", 200, "false"),
    refused(&["wasi-blobstore/blobstore.get-container"], "/blobs/get-container?container=one"),
    refused(&["wasi-blobstore/blobstore.delete-container"], "/blobs/delete-container?container=one"),
    refused(&["wasi-blobstore/blobstore.get-container"], "/blobs/get-container?container=a_one"),
    refused(&["wasi-blobstore/blobstore.delete-container"], "/blobs/delete-container?container=..%2Fa_one"),
    refused(
        &["wasi-blobstore/blobstore.copy-object"],
        "/blobs/copy-object?container=one&object=o&to-container=one&to-object=o",
    ),
    case(
        &["wasi-blobstore/blobstore.create-container", "wasi-blobstore/container.name"],
        "/blobs/create-container?container=one",
        200,
        "one",
    ),
    Case { functions: &["wasi-blobstore/container.info"], path: "/blobs/info?container=one", told: (200, None) },
    case(&["wasi-blobstore/container.has-object"], "/blobs/has-object?container=one&object=o", 200, "false"),
    refused(&["wasi-blobstore/container.object-info"], "/blobs/object-info?container=one&object=o"),
    refused(
        &[
            "wasi-blobstore/container.get-data",
            "wasi-blobstore/types.incoming-value-consume-sync",
            "wasi-blobstore/types.size",
        ],
        "/blobs/read-sync?container=one&object=o",
    ),
    refused(&["wasi-blobstore/types.incoming-value-consume-async"], "/blobs/read?container=one&object=o"),
    case(
        &["wasi-blobstore/container.list-objects", "wasi-blobstore/container.read-stream-object-names"],
        "/blobs/list-objects?container=one",
        200,
        "",
    ),
    case(&["wasi-blobstore/container.skip-stream-object-names"], "/blobs/list-objects?container=one&skip=1", 200, ""),
    case(
        &[
            "wasi-blobstore/container.write-data",
            "wasi-blobstore/types.new-outgoing-value",
            "wasi-blobstore/types.outgoing-value-write-body",
            "wasi-blobstore/types.finish",
        ],
        "/blobs/write?container=one&object=o",
        200,
        "written",
    ),
    case(
        &["wasi-blobstore/blobstore.move-object"],
        "/blobs/move-object?container=one&object=o&to-container=one&to-object=p",
        200,
        "moved",
    ),
    case(&["wasi-blobstore/container.delete-object"], "/blobs/delete-object?container=one&object=o", 200, "deleted"),
    case(&["wasi-blobstore/container.delete-objects"], "/blobs/delete-objects?container=one&objects=o", 200, "deleted"),
    case(&["wasi-blobstore/container.clear"], "/blobs/clear?container=one", 200, "clear"),
    case(&["wasi-blobstore/blobstore.delete-container"], "/blobs/delete-container?container=one", 200, "deleted"),
];

#[test]
fn every_function_has_a_case() {
    let mut offered = BTreeSet::new();
    for package in PACKAGES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit").join(package);
        for file in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            offered.extend(functions(&text).into_iter().map(|function| format!("{package}/{function}")));
        }
    }
    assert!(offered.contains("wasi-blobstore/types.finish"), "{offered:?}");
    let tried: BTreeSet<String> =
        CASES.iter().flat_map(|case| case.functions).map(|function| (*function).to_owned()).collect();
    assert_eq!(tried, offered, "left: functions with a case; right: functions of the interfaces");
}

async fn nothing_reaches_another_tenants(stores: Stores) {
    stores.say("/keys/set?bucket=one&key=k", "secret").await;
    stores.say("/blobs/create-container?container=one", "").await;
    stores.say("/blobs/write?container=one&object=o", "secret").await;
    for Case { path, told: (status, text), .. } in CASES {
        let answer = stores.ask_as("b", path, "forged").await;
        assert_eq!(answer.status.as_u16(), *status, "{path}: {}", answer.text());
        assert!(!answer.text().contains("secret"), "{path}: {}", answer.text());
        if let Some(text) = text {
            assert_eq!(&answer.text(), text, "{path}");
        }
        // All of a's is as it was.
        assert_eq!(stores.say("/keys/get?bucket=one&key=k", "").await, "secret", "{path}");
        assert_eq!(stores.say("/blobs/read?container=one&object=o", "").await, "secret", "{path}");
    }
    assert_eq!(stores.say("/keys/list-keys?bucket=one", "").await, "k");
    assert_eq!(stores.say("/blobs/list-objects?container=one", "").await, "o");
}

#[tokio::test]
async fn in_memory_nothing_reaches_another_tenants() {
    nothing_reaches_another_tenants(Stores::in_memory()).await;
}

#[tokio::test]
async fn on_disk_nothing_reaches_another_tenants() {
    nothing_reaches_another_tenants(Stores::on_disk()).await;
}

#[tokio::test]
async fn over_nats_nothing_reaches_another_tenants() {
    nothing_reaches_another_tenants(Stores::over_nats()).await;
}

#[tokio::test]
async fn in_postgres_nothing_reaches_another_tenants() {
    nothing_reaches_another_tenants(Stores::in_postgres()).await;
}

#[tokio::test]
async fn a_subscription_to_everything_hears_nothing_of_stores() {
    let server = NatsServer::start_with_jetstream();
    let listener = worker_in("b", "listener", "'>'", &["poolSize: 1"]);
    let gateway = trigger("gateway", "gateway.test", "probe-gateway").namespace("b").yaml();
    let host = Host::start_with(&(probe("a", "") + &listener + &gateway), patient(Options::default().nats(&server)));
    let ask = async |host_name: &str, path: &str, body: &str| {
        host.client(host_name).post(path).body(body.to_owned()).send().await.text()
    };
    assert_eq!(ask("a.test", "/keys/set?bucket=one&key=k", "secret").await, "set");
    // The listener has been given all that was sent before: this, and nothing of `a`.
    assert_eq!(ask("gateway.test", "/request?subject=b.work", "count").await, "1");
    assert!(host.metric("roadstead_messages_handled_total", &["outcome=\"reserved-subject\""]).await >= 1.0);
}
