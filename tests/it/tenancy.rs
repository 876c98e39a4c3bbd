//! What one tenant's messages are to another: nothing that both did not agree to.

use std::time::{Duration, Instant};

use futures::future::join_all;
use http::StatusCode;

use crate::harness::{
    client::Response,
    eventually,
    host::{Host, Options, write_application},
    manifest::{trigger, worker_in},
    nats::{NatsServer, python},
};

/// Two accounts that do not know each other, and a user in each.
const TWO_ACCOUNTS: &str = "\
accounts {
  A: { users: [ {user: tenant-a, password: secret-a} ] }
  B: { users: [ {user: tenant-b, password: secret-b} ] }
}
";
/// More than a busy machine takes for anything here.
const SLOW_MACHINE: Duration = Duration::from_secs(10);

fn gateway(namespace: &str) -> crate::harness::manifest::Trigger {
    trigger("gateway", &format!("{namespace}.test"), "probe-gateway").namespace(namespace)
}

fn application(namespace: &str) -> String {
    gateway(namespace).yaml() + &worker_in(namespace, "worker", "probe.work", &["poolSize: 1"])
}

async fn post(host: &Host, namespace: &str, path: &str, body: &str) -> Response {
    host.client(&format!("{namespace}.test")).post(path).body(body.to_owned()).send().await
}

async fn count(host: &Host, namespace: &str) -> String {
    post(host, namespace, "/request?subject=probe.work", "count").await.text()
}

/// A folder with the credentials of both tenants.
fn credentials() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for tenant in ["a", "b"] {
        let user = format!("tenant-{tenant}:secret-{tenant}\n");
        std::fs::write(folder.path().join(format!("{tenant}.user")), user).unwrap();
    }
    folder
}

fn accounts(server: &NatsServer, folder: &tempfile::TempDir) -> Options {
    Options::default().nats(server).flag("--nats-creds-dir", folder.path().to_str().unwrap())
}

#[tokio::test]
async fn tenants_with_accounts_of_their_own_do_not_hear_each_other() {
    let (server, folder) = (NatsServer::start_with(TWO_ACCOUNTS), credentials());
    let only_a = application("a") + &gateway("b").yaml();
    let host = Host::start_with(&only_a, accounts(&server, &folder).switch("--watch"));
    assert_eq!(count(&host, "a").await, "1");
    // In b's account nobody subscribes, whatever a has.
    assert_eq!(count(&host, "b").await, "nobody subscribes to probe.work");
    let published = post(&host, "b", "/publish?subject=probe.work", "count").await;
    assert_eq!(published.status, StatusCode::ACCEPTED);
    assert_eq!(count(&host, "a").await, "2");

    write_application(host.folder.path(), &(application("a") + &application("b")));
    eventually("b's own worker", async || (count(&host, "b").await == "1").then_some(())).await;
    assert_eq!(count(&host, "a").await, "3");

    // Another client of b's account hears all of b's and nothing of a's.
    let script = r#"
import asyncio, nats, sys
async def main():
    client = await nats.connect(sys.argv[1], user="tenant-b", password="secret-b")
    answer = await client.request("probe.work", b"count", timeout=10)
    heard = await client.subscribe(">")
    await client.flush()
    print(answer.data.decode(), flush=True)
    message = await heard.next_msg(timeout=30)
    print(message.subject, message.data.decode())
asyncio.run(main())
"#;
    let url = server.url();
    let arguments = [url.as_str()];
    let asked = async {
        let connected = "roadstead_nats_connected";
        assert_eq!(host.metric(connected, &[]).await, 2.0);
        loop {
            assert!(count(&host, "a").await.parse::<u32>().is_ok());
            post(&host, "b", "/publish?subject=b.event", "of-b").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let heard = tokio::select! {
        heard = python(script, &arguments) => heard,
        () = asked => unreachable!(),
    };
    let lines: Vec<&str> = heard.lines().collect();
    assert_eq!(lines[1], "b.event of-b", "{heard}");
}

#[tokio::test]
async fn a_tenant_that_floods_its_account_does_not_delay_anothers() {
    let (server, folder) = (NatsServer::start_with(TWO_ACCOUNTS), credentials());
    let host = Host::start_with(&(application("a") + &application("b")), accounts(&server, &folder));
    count(&host, "a").await;
    let flood = async {
        let floods = (0..4).map(|_| post(&host, "b", "/publish?subject=probe.work&times=20000", "sleep:10"));
        join_all(floods).await
    };
    let asked = async {
        for expected in 2..22 {
            let begun = Instant::now();
            assert_eq!(count(&host, "a").await, expected.to_string());
            assert!(begun.elapsed() < SLOW_MACHINE, "{:?}", begun.elapsed());
        }
    };
    tokio::join!(flood, asked);
}

#[tokio::test]
async fn a_tenant_without_usable_credentials_has_no_messages_and_others_have_theirs() {
    let (server, folder) = (NatsServer::start_with(TWO_ACCOUNTS), credentials());
    std::fs::write(folder.path().join("wrong.user"), "tenant-a:secret-b").unwrap();
    let all = application("a") + &application("nobody") + &application("wrong");
    let host = Host::start_with(&all, accounts(&server, &folder));
    assert_eq!(count(&host, "a").await, "1");
    let log = host.log();
    let missing = log.lines().find(|line| line.contains("the namespace nobody has no NATS credentials"));
    assert!(missing.is_some_and(|line| line.contains("nobody.creds, .nk or .user")), "{log}");
    assert!(log.lines().any(|line| line.contains("refuses this host; check its credentials")), "{log}");
    assert!(!log.contains("secret-"), "{log}");
    // One tenant's trouble is not the host's.
    assert_eq!(host.admin("/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn where_subjects_are_strict_a_workload_sends_where_its_manifest_says() {
    let worker = worker_in("a", "worker", "probe.work", &["poolSize: 1"]);
    let listed = gateway("b").publish("probe.*, replies.>").yaml();
    let host = Host::start_with(
        &(gateway("a").yaml() + &worker + &listed),
        Options::default().flag("--tenant-subjects", "strict"),
    );
    let denied = "probe.work: the manifest does not list this subject under `publish`";
    assert_eq!(count(&host, "a").await, denied);
    assert_eq!(post(&host, "a", "/publish?subject=probe.work", "count").await.text(), denied);
    assert_eq!(count(&host, "b").await, "1");
    assert_eq!(post(&host, "b", "/publish?subject=probe.work&reply-to=replies.x", "count").await.status, 202);
    for path in ["/publish?subject=other", "/publish?subject=probe.work&reply-to=other"] {
        let refused = post(&host, "b", path, "x").await.text();
        assert_eq!(refused, "other: the manifest does not list this subject under `publish`", "{path}");
    }
    // The worker lists none: it answers what it is asked, and nothing else.
    let nested = post(&host, "b", "/request?subject=probe.work", "request:probe.work:count").await.text();
    assert_eq!(nested, format!("worker: {denied}"));
    let counted = host.metric("roadstead_messages_published_total", &["\"subject-denied\"", "\"b\""]).await;
    assert_eq!(counted, 2.0);
}

#[tokio::test]
async fn a_list_of_subjects_holds_where_they_are_open() {
    let worker = worker_in("a", "worker", "probe.work", &["poolSize: 1"]);
    let host = Host::start(&(gateway("a").publish("probe.>").yaml() + &worker + &gateway("b").publish("").yaml()));
    assert_eq!(count(&host, "a").await, "1");
    assert_eq!(count(&host, "b").await, "probe.work: the manifest does not list this subject under `publish`");
}
