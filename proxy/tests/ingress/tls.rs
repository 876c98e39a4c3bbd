//! TLS as clients see it: which certificate they get, what is spoken inside, and who is let in.

use std::{io, path::Path, sync::Arc};

use roadstead_proxy::{CertificateFiles, TlsFiles};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    client::Resumption,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    access_log::line_with,
    certificates::{Authority, Issued},
    client::Client,
    host::{Host, soon, telling, telling_the_scheme},
    http2::H2,
};

/// A client of the TLS address.
#[derive(Clone)]
pub(crate) struct Connector {
    config: ClientConfig,
}

impl Connector {
    pub(crate) fn new(authority: &Authority) -> Self {
        Self::with(authority, &[&TLS13, &TLS12], None)
    }

    pub(crate) fn with(
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&Issued>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().into()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![CertificateDer::from(issued.der.clone())], key).unwrap()
            }
        };
        let mut new = Self { config };
        // A resumed session has no certificate of its own to look at.
        new.config.resumption = Resumption::disabled();
        new
    }

    /// A client that resumes sessions.
    pub(crate) fn resuming(mut self) -> Self {
        self.config.resumption = Resumption::default();
        self
    }

    /// What the client offers to speak.
    pub(crate) fn speaking(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::new(self.config.clone())
    }

    /// Connects, asking for a host, or for none by an address.
    pub(crate) async fn connect(&self, host: &Host, name: &str) -> io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(host.tls_address()).await?, name).await
    }

    pub(crate) async fn over(&self, socket: TcpStream, name: &str) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.config());
        soon(connector.connect(ServerName::try_from(name.to_owned()).unwrap(), socket)).await
    }
}

/// The certificate that a client was shown.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> &[u8] {
    stream.get_ref().1.peer_certificates().unwrap()[0].as_ref()
}

pub(crate) fn in_folder(folder: &Path) -> TlsFiles {
    TlsFiles { directory: Some(folder.into()), ..TlsFiles::default() }
}

/// Writes a certificate for clients that ask for no host that is known.
pub(crate) fn default_in(folder: &Path, issued: &Issued) -> Option<CertificateFiles> {
    let (chain, key) = issued.write(folder, "default.test");
    Some(CertificateFiles { chain, key })
}

/// An ingress whose one certificate is for `a.test`.
pub(crate) async fn one_host(authority: &Authority, folder: &Path) -> Host {
    authority.issue(&["a.test"], "server").write(folder, "a.test");
    let host = Host::with_tls(in_folder(folder), |_| {}).await;
    host.bind("team/app", "a.test", "/", telling());
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_spoken_inside() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let host = one_host(&authority, folder.path()).await;
    host.bind("team/scheme", "scheme.test", "/", telling_the_scheme());
    for version in [&TLS12, &TLS13] {
        let connector = Connector::with(&authority, &[version], None);
        let stream = connector.clone().speaking(&["h2", "http/1.1"]).connect(&host, "a.test").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let mut client = H2::over(stream).await;
        assert_eq!(client.get("/x").await.1.unwrap(), "GET /x");
        for offered in [&["http/1.1"][..], &[]] {
            let stream = connector.clone().speaking(offered).connect(&host, "a.test").await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), offered.first().map(|name| name.as_bytes()));
            let mut client = Client::over(stream);
            assert_eq!(client.get("/y").await.text(), "GET /y");
            assert_eq!(client.get("/z").await.text(), "GET /z");
            client.send("GET / HTTP/1.1\r\nHost: scheme.test\r\n\r\n").await;
            assert_eq!(client.got().await.text(), "https");
        }
    }
    let mut plain = Client::connect(&host).await;
    plain.send("GET / HTTP/1.1\r\nHost: scheme.test\r\n\r\n").await;
    assert_eq!(plain.got().await.text(), "http");
    host.metric_becomes("roadstead_tls_handshakes_total{outcome=\"ok\"}", 6.0).await;
    line_with(&[r#""tls":"TLSv1.2""#, r#""server_name":"a.test""#, r#""path":"/y""#]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_agreed_is_spoken() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let host = one_host(&authority, folder.path()).await;
    let connector = Connector::new(&authority);
    let unknown = connector.clone().speaking(&["http/1.0"]).connect(&host, "a.test").await.unwrap_err();
    assert!(unknown.to_string().contains("NoApplicationProtocol"), "{unknown}");
    host.metric_becomes("roadstead_tls_handshakes_total{outcome=\"protocol\"}", 1.0).await;
    let stream = connector.clone().speaking(&["http/1.1"]).connect(&host, "a.test").await.unwrap();
    let mut client = Client::over(stream);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(client.got().await.status, 400);
    let mut client = Client::over(connector.speaking(&["h2"]).connect(&host, "a.test").await.unwrap());
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_chosen_by_name() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let exact = authority.issue(&["a.b.test"], "exact");
    let near = authority.issue(&["*.b.test", "x.y.b.test"], "near");
    let far = authority.issue(&["*.test", "b.test", "x.y.test"], "far");
    let other = authority.issue(&["default.test", "other.example", "127.0.0.1"], "other");
    exact.write(folder.path(), "A.b.test");
    near.write(folder.path(), "_.b.test");
    far.write(folder.path(), "_.test");
    let elsewhere = tempfile::tempdir().unwrap();
    let files = TlsFiles { default: default_in(elsewhere.path(), &other), ..in_folder(folder.path()) };
    let host = Host::with_tls(files, |_| {}).await;
    let connector = Connector::new(&authority);
    for (name, expected) in [
        ("a.b.test", &exact),
        ("A.B.TEST", &exact),
        ("c.b.test", &near),
        ("x.y.b.test", &near),
        ("b.test", &far),
        ("x.y.test", &far),
        ("other.example", &other),
        ("127.0.0.1", &other),
    ] {
        let stream = connector.connect(&host, name).await.unwrap();
        assert!(shown(&stream) == expected.der, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_default_who_names_no_known_host_is_refused() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let host = one_host(&authority, folder.path()).await;
    for name in ["b.test", "127.0.0.1", "x.a.test"] {
        let error = Connector::new(&authority).connect(&host, name).await.unwrap_err();
        assert!(error.to_string().contains("UnrecognisedName"), "{name}: {error}");
    }
    host.metric_becomes("roadstead_tls_handshakes_total{outcome=\"unknown-host\"}", 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_host_is_answered_where_clients_show_no_certificate() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let host = one_host(&authority, folder.path()).await;
    host.bind("team/other", "other.test", "/", telling());
    let mut client = Client::over(Connector::new(&authority).connect(&host, "a.test").await.unwrap());
    client.send("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    assert_eq!(client.got().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_a_certificate_where_authorities_are_named() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    let authorities = folder.path().join("clients.pem");
    std::fs::write(&authorities, clients.pem()).unwrap();
    authority.issue(&["a.test", "also.test"], "server").write(folder.path(), "a.test");
    let files = TlsFiles { client_authorities: Some(authorities), ..in_folder(folder.path()) };
    let host = Host::with_tls(files, |_| {}).await;
    for name in ["a.test", "also.test", "other.test"] {
        host.bind(&format!("team/{}", name.replace('.', "-")), name, "/", telling());
    }
    let (known, unknown) = (clients.issue(&[], "alice\nlevel=error"), strangers.issue(&[], "mallory"));
    for version in [&TLS12, &TLS13] {
        for shown in [None, Some(&unknown)] {
            let connected = Connector::with(&authority, &[version], shown).connect(&host, "a.test").await;
            // In TLS 1.3 the client has done its part before it is refused.
            if let Ok(stream) = connected {
                Client::over(stream).end().await.unwrap_err();
            }
        }
        let connector = Connector::with(&authority, &[version], Some(&known));
        let mut client = Client::over(connector.connect(&host, "a.test").await.unwrap());
        for (name, status) in [("a.test", 200), ("also.test:443", 200), ("other.test", 421), ("a.test", 200)] {
            client.send(format!("GET /client HTTP/1.1\r\nHost: {name}\r\n\r\n")).await;
            let got = client.got().await;
            assert_eq!(got.status, status, "{name}");
            assert_eq!(got.header("x-roadstead-error"), (status == 421).then_some("misdirected"));
        }
    }
    host.metric_becomes("roadstead_tls_handshakes_total{outcome=\"client-certificate\"}", 4.0).await;
    line_with(&[r#""client_certificate":"CN=alice\\nlevel=error""#, r#""path":"/client""#, r#""status":200"#]).await;
    line_with(&[r#""reason":"misdirected""#, r#""host":"other.test""#]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_connection_is_no_truncation() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    authority.issue(&["a.test"], "server").write(folder.path(), "a.test");
    let host = Host::with_tls(in_folder(folder.path()), |limits| limits.keepalive_idle_ms = 200).await;
    host.bind("team/app", "a.test", "/", telling());
    let mut client = Client::over(Connector::new(&authority).connect(&host, "a.test").await.unwrap());
    assert_eq!(client.get("/").await.status, 200);
    // rustls would call an end without close_notify an unexpected one.
    client.end().await.unwrap();
    let mut client = Client::over(Connector::new(&authority).connect(&host, "a.test").await.unwrap());
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
    assert_eq!(client.got().await.status, 200);
    client.end().await.unwrap();
}
