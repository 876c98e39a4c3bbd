//! `wasi:config`, as a component sees it: what a manifest says and names, and what an operator changes in NATS.

use std::{fs, path::Path};

use async_nats::jetstream;

use crate::harness::{
    eventually,
    host::{Host, Options, roadstead, write_application},
    nats::NatsServer,
    stores::{Stores, patient, probe},
};

/// Files as Kubernetes would mount them.
fn write_objects(folder: &Path) -> Options {
    for (path, text) in
        [("config/settings/b", "from config"), ("config/settings/c", "from config"), ("secret/key/c", "from secret")]
    {
        let path = folder.join("objects").join(path).to_owned();
        // Tenant `a` has them; the default namespace's would lie one folder up.
        let path = path.to_str().unwrap().replace("config/", "config/a/").replace("secret/", "secret/a/");
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let at = |kind: &str| folder.join("objects").join(kind).to_str().unwrap().to_owned();
    Options::default().flag("--config-dir", &at("config")).flag("--secret-dir", &at("secret"))
}

const REFERENCES: &str =
    ", config: {a: own, b: own, c: own}, configFrom: [{name: settings}], secretFrom: [{name: key}]";

async fn all(host: &Host) -> String {
    host.client("a.test").get("/config/get-all").send().await.text()
}

#[tokio::test]
async fn later_sources_win() {
    let folder = tempfile::tempdir().unwrap();
    let options = write_objects(folder.path());
    write_application(folder.path(), &probe("a", REFERENCES));
    let host = Host::start_in(folder, patient(options));
    assert_eq!(all(&host).await, "a=own\nb=from config\nc=from secret");
    assert_eq!(host.client("a.test").get("/config/get?key=b").send().await.text(), "from config");
    assert_eq!(host.client("a.test").get("/config/get?key=none").send().await.status, 404);
    // A secret is for the component alone.
    assert!(!host.log().contains("from secret") && !host.status().await.to_string().contains("from secret"));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_objects(folder.path());
    // The same names, in another namespace.
    write_application(folder.path(), &probe("b", REFERENCES));
    let at = |kind: &str| folder.path().join("objects").join(kind);
    let mut command = roadstead();
    command.arg("run").arg(folder.path().join("app.yaml")).args(["--http-addr", "127.0.0.1:0", "--admin-addr"]);
    command.arg("127.0.0.1:0").arg("--config-dir").arg(at("config")).arg("--secret-dir").arg(at("secret"));
    let output = command.output().unwrap();
    let log = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("configFrom settings cannot be used") && log.contains("config/b/settings"), "{log}");
}

#[tokio::test]
async fn what_an_operator_changes_is_there_at_once() {
    let server = NatsServer::start_with_jetstream();
    let folder = tempfile::tempdir().unwrap();
    let options = write_objects(folder.path());
    write_application(folder.path(), &(probe("a", REFERENCES) + &probe("b", ", config: {a: own}")));
    let host = Host::start_in(folder, patient(options.nats(&server)));
    assert_eq!(all(&host).await, "a=own\nb=from config\nc=from secret");

    let client = async_nats::connect(server.url()).await.unwrap();
    let store = jetstream::new(client).get_key_value("roadstead_config_a").await.unwrap();
    store.put("probe.b", "live".into()).await.unwrap();
    // Not over a secret; not another workload's.
    store.put("probe.c", "live".into()).await.unwrap();
    store.put("other.a", "live".into()).await.unwrap();
    store.put("probe.new=2Ekey", "added".into()).await.unwrap();
    let wanted = "a=own\nb=live\nc=from secret\nnew.key=added";
    eventually("the new settings", async || (all(&host).await == wanted).then_some(())).await;
    assert_eq!(host.client("b.test").get("/config/get-all").send().await.text(), "a=own");
    // What is taken away is as the manifest has it.
    store.delete("probe.b").await.unwrap();
    store.purge("probe.new=2Ekey").await.unwrap();
    let wanted = "a=own\nb=from config\nc=from secret";
    eventually("the old settings", async || (all(&host).await == wanted).then_some(())).await;
}

#[tokio::test]
async fn settings_outlast_the_server() {
    let mut server = NatsServer::start_with_jetstream();
    let host = Host::start_with(&probe("a", ", config: {a: own}"), patient(Options::default().nats(&server)));
    let url = server.url();
    let store = async || {
        let client = async_nats::connect(&url).await.ok()?;
        jetstream::new(client).get_key_value("roadstead_config_a").await.ok()
    };
    store().await.unwrap().put("probe.a", "live".into()).await.unwrap();
    eventually("the new setting", async || (all(&host).await == "a=live").then_some(())).await;
    server.kill();
    for _ in 0..20 {
        assert_eq!(all(&host).await, "a=live");
    }
    server.start_again();
    eventually("a change after the server is back", async || {
        store().await?.put("probe.a", "newer".into()).await.ok()?;
        (all(&host).await == "a=newer").then_some(())
    })
    .await;
}

#[tokio::test]
async fn settings_in_nats_are_bounded() {
    let limits = Options::default().flag("--limit", "config_bytes_max=64");
    let stores = Stores::over_nats_with(limits);
    let client = async_nats::connect(stores.server.as_ref().unwrap().url()).await.unwrap();
    let store = jetstream::new(client).get_key_value("roadstead_config_a").await.unwrap();
    store.put("probe.large", "v".repeat(65).into()).await.unwrap();
    store.put("probe.small", "v".into()).await.unwrap();
    eventually("the small one", async || (all(&stores.host).await == "only-a=secret\nsmall=v").then_some(())).await;
    eventually("the large one is told of", async || stores.host.log().contains("config_bytes_max").then_some(())).await;
}
