//! Certificates that change while connections are open.

use std::{fs, path::Path};

use roadstead_proxy::TlsFiles;
use rustls::HandshakeKind;

use crate::{
    certificates::{Authority, Issued, replace},
    client::Client,
    host::{Host, soon, telling},
    http2::H2,
    tls::{Connector, in_folder, one_host, shown},
};

const OK: &str = "roadstead_tls_reloads_total{outcome=\"ok\"}";
const FAILED: &str = "roadstead_tls_reloads_total{outcome=\"failed\"}";

async fn is_shown(connector: &Connector, host: &Host, name: &str, issued: &Issued) {
    let stream = connector.connect(host, name).await.unwrap();
    assert!(shown(&stream) == issued.der, "{name}");
}

fn expiry(host: &str) -> String {
    format!("roadstead_tls_certificate_expiry_seconds{{host=\"{host}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_come_change_and_go() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let host = one_host(&authority, folder.path()).await;
    let connector = Connector::new(&authority);
    let mut kept = Client::over(connector.connect(&host, "a.test").await.unwrap());
    assert_eq!(kept.get("/").await.status, 200);
    let mut kept_h2 = H2::over(connector.clone().speaking(&["h2"]).connect(&host, "a.test").await.unwrap()).await;
    assert_eq!(host.metric(&expiry("a.test")), Some(3_786_912_000.0));

    let (new, wide) = (authority.issue_until(&["a.test"], "new", 2080), authority.issue(&["*.b.test"], "wide"));
    new.write(folder.path(), "a.test");
    wide.write(folder.path(), "_.b.test");
    host.metric_becomes(OK, 1.0).await;
    is_shown(&connector, &host, "a.test", &new).await;
    is_shown(&connector, &host, "x.b.test", &wide).await;
    assert_eq!(host.metric(&expiry("a.test")), Some(3_471_292_800.0));
    assert!(host.metric(&expiry("*.b.test")).is_some());

    fs::remove_file(folder.path().join("_.b.test.crt")).unwrap();
    fs::remove_file(folder.path().join("_.b.test.key")).unwrap();
    host.metric_becomes(OK, 2.0).await;
    connector.connect(&host, "x.b.test").await.unwrap_err();
    assert_eq!(host.metric(&expiry("*.b.test")), None);
    assert_eq!(kept.get("/").await.status, 200);
    assert_eq!(kept_h2.get("/x").await.1.unwrap(), "GET /x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_certificate_leaves_the_old_one_and_holds_up_no_other() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let (old, new) = (authority.issue(&["a.test"], "old"), authority.issue(&["a.test"], "new"));
    let other = authority.issue(&["b.test"], "other");
    old.write(folder.path(), "a.test");
    let host = Host::with_tls(in_folder(folder.path()), |_| {}).await;
    let connector = Connector::new(&authority);

    // The new certificate comes before its key, and beside it another one that is good.
    replace(&folder.path().join("a.test.crt"), &new.chain);
    other.write(folder.path(), "b.test");
    host.metric_becomes(FAILED, 1.0).await;
    is_shown(&connector, &host, "a.test", &old).await;
    is_shown(&connector, &host, "b.test", &other).await;
    replace(&folder.path().join("a.test.key"), &new.key);
    host.metric_becomes(OK, 1.0).await;
    is_shown(&connector, &host, "a.test", &new).await;

    let away = folder.path().with_extension("away");
    fs::rename(folder.path(), &away).unwrap();
    host.metric_becomes(FAILED, 2.0).await;
    is_shown(&connector, &host, "a.test", &new).await;
    fs::rename(&away, folder.path()).unwrap();
    host.metric_becomes(OK, 2.0).await;
    for name in ["a.test", "b.test"] {
        fs::remove_file(folder.path().join(format!("{name}.crt"))).unwrap();
        fs::remove_file(folder.path().join(format!("{name}.key"))).unwrap();
    }
    host.metric_becomes(FAILED, 3.0).await;
    is_shown(&connector, &host, "a.test", &new).await;
}

/// Connects and asks, which is when TLS 1.3 brings tickets; tells whether a session was resumed.
async fn resumes(connector: &Connector, host: &Host) -> bool {
    let stream = connector.connect(host, "a.test").await.unwrap();
    let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
    assert_eq!(Client::over(stream).get("/").await.status, 200);
    resumed
}

fn write_authorities(folder: &Path, authorities: &[&Authority]) -> std::path::PathBuf {
    let path = folder.join("clients.pem");
    replace(&path, &authorities.iter().map(|authority| authority.pem()).collect::<String>());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed_until_their_clients_authority_goes() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let (staying, leaving) = (Authority::new("staying"), Authority::new("leaving"));
    authority.issue(&["a.test"], "server").write(folder.path(), "a.test");
    let client_authorities = Some(write_authorities(folder.path(), &[&staying, &leaving]));
    let host = Host::with_tls(TlsFiles { client_authorities, ..in_folder(folder.path()) }, |_| {}).await;
    host.bind("team/app", "a.test", "/", telling());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let alice = Connector::with(&authority, &[version], Some(&staying.issue(&[], "alice"))).resuming();
        assert!(!resumes(&alice, &host).await);
        assert!(resumes(&alice, &host).await);
    }
    let bob = Connector::with(&authority, &[&rustls::version::TLS13], Some(&leaving.issue(&[], "bob"))).resuming();
    assert!(!resumes(&bob, &host).await);
    // Another certificate changes nothing about who was let in.
    authority.issue(&["a.test"], "renewed").write(folder.path(), "a.test");
    host.metric_becomes(OK, 1.0).await;
    assert!(resumes(&bob, &host).await);

    fs::write(folder.path().join("clients.pem"), "nothing").unwrap();
    host.metric_becomes(FAILED, 1.0).await;
    assert!(resumes(&bob, &host).await);
    write_authorities(folder.path(), &[&staying]);
    host.metric_becomes(OK, 2.0).await;
    if let Ok(stream) = bob.connect(&host, "a.test").await {
        soon(Client::over(stream).end()).await.unwrap_err();
    }
}
