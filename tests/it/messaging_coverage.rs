//! Every function through which guests and messages meet, with a case in which one tenant reaches for another's. The
//! functions are read from the interface's own text: one that is added without a case, a test that begins with its name,
//! fails here.

use std::{collections::BTreeSet, fs, path::Path};

use crate::harness::{
    client::Response,
    host::{Host, Options},
    manifest::{trigger, worker_in},
    nats::NatsServer,
};

const TWO_ACCOUNTS: &str = "\
accounts {
  A: { users: [ {user: tenant-a, password: secret-a} ] }
  B: { users: [ {user: tenant-b, password: secret-b} ] }
}
";
/// What the other tenant's worker must not be given.
const SECRET: &str = "echo:of tenant a alone";

/// `INTERFACE.FUNCTION` of all functions in a WIT text.
pub fn functions(text: &str) -> BTreeSet<String> {
    let mut interface = String::new();
    let mut functions = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        if let Some(name) = line.strip_prefix("interface ") {
            interface = name.trim_end_matches('{').trim().to_owned();
        }
        if let Some((name, kind)) = line.split_once(':')
            && ["func", "async func", "static func", "constructor"].iter().any(|func| kind.trim().starts_with(func))
        {
            functions.insert(format!("{interface}.{}", name.trim()));
        }
    }
    functions
}

#[test]
fn every_function_of_the_interface_has_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit/wasmcloud-messaging");
    let files = fs::read_dir(folder).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let offered: BTreeSet<String> = files.flat_map(|text| functions(&text)).collect();
    assert!(offered.contains("consumer.request"), "{offered:?}");
    for function in offered {
        let case = format!("async fn {}_", function.replace(['.', '-'], "_"));
        assert!(include_str!("messaging_coverage.rs").contains(&case), "{function} has no case: {case}...");
    }
}

#[test]
fn functions_are_found_in_the_text() {
    let text = "interface a {\n  /// old: func();\n  one: func();\n  x: async func(b: u8) -> u8;\n  y: u8,\n}\ninterface b {\n  two: func(x: u8);\n}";
    assert_eq!(functions(text).into_iter().collect::<Vec<_>>(), ["a.one", "a.x", "b.two"]);
}

/// Two tenants with accounts of their own, each with a gateway; the worker of `a`, and that of `b` on the same subject.
struct Tenants {
    host: Host,
    _server: NatsServer,
    _credentials: tempfile::TempDir,
}

impl Tenants {
    fn start() -> Self {
        let server = NatsServer::start_with(TWO_ACCOUNTS);
        let credentials = tempfile::tempdir().unwrap();
        for tenant in ["a", "b"] {
            let user = format!("tenant-{tenant}:secret-{tenant}\n");
            fs::write(credentials.path().join(format!("{tenant}.user")), user).unwrap();
        }
        let of = |tenant: &str| {
            let gateway = trigger("gateway", &format!("{tenant}.test"), "probe-gateway").namespace(tenant).yaml();
            gateway + &worker_in(tenant, "worker", "'probe.>'", &["poolSize: 1"])
        };
        let only_a = worker_in("a", "own", "own.work", &["poolSize: 1"]);
        let options = Options::default().nats(&server).flag("--nats-creds-dir", credentials.path().to_str().unwrap());
        let host = Host::start_with(&(of("a") + &of("b") + &only_a), options);
        Self { host, _server: server, _credentials: credentials }
    }

    async fn post(&self, tenant: &str, path: &str, body: &str) -> Response {
        self.host.client(&format!("{tenant}.test")).post(path).body(body.to_owned()).send().await
    }

    /// Messages that the workers of a tenant were given.
    async fn handled(&self, tenant: &str) -> f64 {
        self.host.metric("roadstead_messages_handled_total", &[&format!("namespace=\"{tenant}\"")]).await
    }
}

#[tokio::test]
async fn consumer_request_reaches_no_other_tenants_worker() {
    let tenants = Tenants::start();
    assert_eq!(tenants.post("a", "/request?subject=own.work", "echo:mine").await.text(), "mine");
    let refused = tenants.post("b", "/request?subject=own.work", "echo:mine").await.text();
    assert_eq!(refused, "nobody subscribes to own.work");
    let labels = ["namespace=\"a\""];
    tenants.host.wait_for_metric("roadstead_messages_handled_total", &labels, 1.0).await;
}

#[tokio::test]
async fn consumer_publish_reaches_no_other_tenants_worker_and_no_other_tenants_reply() {
    let tenants = Tenants::start();
    assert_eq!(tenants.post("b", "/publish?subject=own.work", "echo:forged").await.status, 202);
    // b's messages are all there once this one has its answer.
    assert_eq!(tenants.post("b", "/request?subject=probe.b", "echo:b").await.text(), "b");
    assert_eq!(tenants.handled("a").await, 0.0);
    // The right to reply to a's message is a's, whoever learns of it.
    let token = tenants.post("a", "/request?subject=own.work", "reply-to").await.text();
    for path in [format!("/publish?subject={token}"), format!("/publish?subject=probe.b&reply-to={token}")] {
        let refused = tenants.post("b", &path, "forged").await;
        assert_eq!((refused.status.as_u16(), refused.text().contains("reply subject")), (502, true), "{path}");
    }
}

#[tokio::test]
async fn handler_handle_message_is_given_no_other_tenants_message() {
    let tenants = Tenants::start();
    // Both workers subscribe to all that both send.
    for number in 1..=5 {
        assert_eq!(tenants.post("a", "/request?subject=probe.shared", SECRET).await.text(), "of tenant a alone");
        assert_eq!(tenants.post("b", "/request?subject=probe.shared", "count").await.text(), number.to_string());
        for tenant in ["a", "b"] {
            let labels = [&*format!("namespace=\"{tenant}\"")];
            tenants.host.wait_for_metric("roadstead_messages_handled_total", &labels, f64::from(number)).await;
        }
    }
}
