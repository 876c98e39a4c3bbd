//! Which backend keeps what a component stores: the one that its manifest asks for, among those that the host has, by the
//! name that the component gives to the function that opens something.

use serde_json::{Value, json};

use super::fleet::{options, registry_with};
use crate::harness::{
    host::{Host, Options, roadstead, write_application},
    nats::NatsServer,
    operator::Operator,
    stores::{Stores, both, patient},
};

/// The probe of tenant `a`, with these entries for keys and for objects.
fn routed(entries: &str) -> String {
    let entries: String = entries
        .lines()
        .map(|entry| {
            let keys = format!("package: keyvalue, interfaces: [store, atomics, batch], {entry}");
            let objects = format!("package: blobstore, interfaces: [blobstore, container, types], {entry}");
            format!("        - {{namespace: wasi, {keys}}}\n        - {{namespace: wasi, {objects}}}\n")
        })
        .collect();
    format!(
        "\
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata: {{name: probe, namespace: a}}
spec:
  ingress: {{host: a.test}}
  timeout: 60s
  template:
    spec:
      hostInterfaces:
        - {{namespace: wasi, package: config, interfaces: [store]}}
{entries}      components:
        - name: probe-store
          image: file:probe-store.wasm
"
    )
}

struct Routed {
    host: Host,
}

impl Routed {
    fn start(entries: &str, options: Options) -> Self {
        Self { host: Host::start_with(&routed(entries), patient(options)) }
    }

    async fn ask(&self, path: &str, body: &str) -> (u16, String) {
        let answer = self.host.client("a.test").post(path).body(body.to_owned()).send().await;
        (answer.status.as_u16(), answer.text())
    }

    async fn say(&self, path: &str, body: &str) -> String {
        let (status, text) = self.ask(path, body).await;
        assert_eq!(status, 200, "{path}: {text}");
        text
    }
}

/// Why a workload with these entries is not deployed.
async fn refusal(entries: &str, options: Options) -> String {
    let host = Host::start_with(&routed(entries), patient(options.switch("--watch")));
    host.workload("probe").await["reason"].as_str().unwrap().to_owned()
}

const TWO: &str = "name: cache, config: {backend: memory}\nconfig: {backend: disk}";

#[tokio::test]
async fn names_lead_to_backends() {
    let data = tempfile::tempdir().unwrap();
    let options = || Options::default().flag("--data-dir", data.path().to_str().unwrap());
    let routed = Routed::start(TWO, options());
    for name in ["cache", "archive"] {
        routed.say(&format!("/keys/set?bucket={name}&key=k"), name).await;
        routed.say(&format!("/blobs/create-container?container={name}"), "").await;
        routed.say(&format!("/blobs/write?container={name}&object=o"), name).await;
        assert_eq!(routed.say(&format!("/keys/get?bucket={name}&key=k"), "").await, name);
    }
    // From one backend to the other.
    routed.say("/blobs/copy-object?container=cache&object=o&to-container=archive&to-object=copy", "").await;
    for (backend, calls) in [("memory", 1.0), ("disk", 1.0)] {
        let labels = ["interface=\"wasi:keyvalue\"", "operation=\"set\"", "outcome=\"done\"", backend];
        assert_eq!(routed.host.metric("roadstead_store_calls_total", &labels).await, calls, "{backend}");
    }
    let labels = ["interface=\"wasi:blobstore\"", "operation=\"write\"", "disk"];
    assert_eq!(routed.host.metric("roadstead_store_call_seconds_count", &labels).await, 2.0);
    drop(routed);

    // What was on disk is there with another host, what was in memory is not.
    let routed = Routed::start(TWO, options());
    assert_eq!(routed.ask("/keys/get?bucket=cache&key=k", "").await.0, 404);
    assert_eq!(routed.say("/keys/get?bucket=archive&key=k", "").await, "archive");
    assert_eq!(routed.say("/blobs/container-exists?container=cache", "").await, "false");
    assert_eq!(routed.say("/blobs/read?container=archive&object=o", "").await, "archive");
    assert_eq!(routed.say("/blobs/read?container=archive&object=copy", "").await, "cache");
}

#[tokio::test]
async fn names_with_one_backend_are_apart() {
    let entries = "name: cache, config: {backend: in-memory}\nname: archive, config: {backend: memory}";
    let routed = Routed::start(entries, Options::default());
    routed.say("/keys/set?bucket=cache&key=k", "v").await;
    assert_eq!(routed.ask("/keys/get?bucket=archive&key=k", "").await.0, 404);
    // No entry is without a name.
    for path in ["/keys/open?bucket=other", "/keys/open", "/blobs/create-container?container=other"] {
        let (status, text) = routed.ask(path, "").await;
        assert_eq!(status, 409, "{text}");
        assert!(text.contains("(archive, cache), and no entry is without a name"), "{text}");
    }
}

#[tokio::test]
async fn a_backend_that_a_host_lacks_is_refused_with_what_would_bring_it() {
    let reason = refusal("config: {backend: disk}", Options::default()).await;
    assert!(reason.contains("asks for the backend \"disk\"; this host has memory"), "{reason}");
    assert!(reason.contains("--data-dir DIR brings disk"), "{reason}");
    assert!(reason.contains("--data-nats-url URL brings nats"), "{reason}");
    let data = tempfile::tempdir().unwrap();
    let options = Options::default().flag("--data-dir", data.path().to_str().unwrap());
    let reason = refusal("name: sessions, config: {backend: redis}", options).await;
    assert!(reason.contains("named sessions") && reason.contains("this host has disk, memory"), "{reason}");
}

#[tokio::test]
async fn a_folder_keeps_what_is_stored_in_it() {
    let data = tempfile::tempdir().unwrap();
    let options = || patient(Options::default().flag("--data-dir", data.path().to_str().unwrap()));
    let ask = async |host: &Host, path: &str, body: &str| {
        let answer = host.client("a.test").post(path).body(body.to_owned()).send().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    };
    let host = Host::start_with(&both(), options());
    ask(&host, "/keys/set?bucket=one&key=k", "kept").await;
    ask(&host, "/keys/increment?bucket=one&key=n&delta=7", "").await;
    ask(&host, "/blobs/create-container?container=one", "").await;
    ask(&host, "/blobs/write?container=one&object=o", "kept as well").await;
    // Another host may not have the folder meanwhile.
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &both());
    let mut second = roadstead();
    second.args(["run", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data-dir"]);
    let second = second.arg(data.path()).arg(folder.path()).output().unwrap();
    let complaint = String::from_utf8_lossy(&second.stderr).into_owned() + &String::from_utf8_lossy(&second.stdout);
    assert_eq!(second.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("is used by another host"), "{complaint}");
    drop(host);

    let host = Host::start_with(&both(), options());
    assert_eq!(ask(&host, "/keys/get?bucket=one&key=k", "").await, "kept");
    assert_eq!(ask(&host, "/keys/increment?bucket=one&key=n&delta=1", "").await, "8");
    assert_eq!(ask(&host, "/keys/list-keys?bucket=one", "").await, "k\nn");
    assert_eq!(ask(&host, "/blobs/read?container=one&object=o", "").await, "kept as well");
    assert_eq!(ask(&host, "/blobs/list-objects?container=one", "").await, "o");
}

#[tokio::test]
async fn a_damaged_file_keeps_a_host_from_starting() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().to_str().unwrap().to_owned();
    let stores = Stores::in_memory_with(Options::default().flag("--data-dir", &path));
    stores.say("/keys/set?bucket=one&key=k", "kept").await;
    drop(stores);
    std::fs::write(data.path().join("keys.redb"), "something else\n".repeat(1_000)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &both());
    let mut host = roadstead();
    host.args(["run", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data-dir", &path]);
    let host = host.arg(folder.path()).output().unwrap();
    let complaint = String::from_utf8_lossy(&host.stderr).into_owned() + &String::from_utf8_lossy(&host.stdout);
    assert_eq!(host.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("keys.redb is damaged") && complaint.contains("move it away"), "{complaint}");
}

#[tokio::test]
async fn a_host_of_a_fleet_has_a_disk_beside_nats() {
    let registry = registry_with(&["probe-store"]);
    let server = NatsServer::start_with_jetstream();
    let operator = Operator::connect(&server.url()).await;
    let data = tempfile::tempdir().unwrap();
    let interface = |package: &str, interfaces: Value, name: &str, config: Value| json!({"namespace": "wasi", "package": package, "interfaces": interfaces, "name": name, "config": config});
    let keys = json!(["store", "atomics", "batch"]);
    let workload = json!({
        "namespace": "a",
        "name": "probe",
        "witWorld": {
            "components": [{"name": "probe-store", "image": registry.plain("test/probe-store:1")}],
            "hostInterfaces": [
                interface("http", json!(["incoming-handler"]), "", json!({"host": "a.test"})),
                interface("config", json!(["store"]), "", json!({})),
                interface("keyvalue", keys.clone(), "", json!({})),
                interface("keyvalue", keys, "local", json!({"backend": "disk"})),
                interface("blobstore", json!(["blobstore", "container", "types"]), "", json!({})),
            ],
        },
    });
    let host = Host::join(&server, patient(options().flag("--data-dir", data.path().to_str().unwrap())));
    operator.start(host.fleet_id(), "probe", &workload).await.is("probe", "RUNNING");
    for (bucket, backend) in [("local", "disk"), ("shared", "nats")] {
        let set = host.client("a.test").post(&format!("/keys/set?bucket={bucket}&key=k")).body("v").send().await;
        assert_eq!(set.status, 200, "{}", set.text());
        let labels = ["operation=\"set\"", "outcome=\"done\"", backend];
        assert_eq!(host.metric("roadstead_store_calls_total", &labels).await, 1.0, "{backend}");
    }
}
