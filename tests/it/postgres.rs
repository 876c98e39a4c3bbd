//! PostgreSQL behind keys and objects: what starts and what is refused, who sees what, and what holds over several hosts.
//! What every backend has to do is in `keyvalue.rs` and `blobstore.rs`.

use std::{collections::BTreeSet, fs, sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream};
use roadstead_config::Limits;
use roadstead_plugins::{
    tenant_postgres::{Database, PostgresError, PostgresUrl},
    wasi_blobstore::{BlobBackend, BlobError, Chunks, Containers, PostgresContainers},
    wasi_keyvalue::{Buckets, Expected, KeyValueBackend, KeyValueError, PostgresBuckets},
};

use crate::harness::{
    certificates::Authority,
    eventually,
    host::{Options, roadstead},
    manifest::trigger,
    postgres::{PASSWORD, PostgresServer},
    stores::Stores,
};

async fn open(url: &str, limits: &Limits) -> Result<Database, PostgresError> {
    Database::open(&PostgresUrl::parse(url)?, limits).await
}

/// The buckets of the namespace `a` as one host sees them.
async fn buckets(server: &PostgresServer, limits: Limits) -> Arc<dyn Buckets> {
    let database = open(&server.url(), &limits).await.unwrap();
    PostgresBuckets::new(&database).of(&"a".parse().unwrap(), &Arc::new(limits)).await.unwrap()
}

async fn containers(server: &PostgresServer, limits: Limits) -> Arc<dyn Containers> {
    let database = open(&server.url(), &limits).await.unwrap();
    PostgresContainers::new(&database).of(&"a".parse().unwrap(), &Arc::new(limits)).await.unwrap()
}

/// An object of this many pieces of 100,000 bytes; with `forever` the last one never comes.
struct Pieces {
    left: usize,
    byte: u8,
    forever: bool,
}

#[async_trait]
impl Chunks for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        if self.left == 0 && self.forever {
            std::future::pending::<()>().await;
        }
        self.left = self.left.wrapping_sub(1);
        Ok((self.left != usize::MAX).then(|| Bytes::from(vec![self.byte; 100_000])))
    }
}

fn pieces(left: usize, byte: u8) -> Pieces {
    Pieces { left, byte, forever: false }
}

/// What `roadstead run` says when it does not start.
fn refused(url: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("app.yaml"), trigger("gateway", "a.test", "probe-gateway").yaml()).unwrap();
    let mut command = roadstead();
    command.args(["run", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--log-level", "trace"]);
    command.arg(folder.path()).env("WASH_POSTGRES_URL", url).env_remove("ROADSTEAD_POSTGRES_URL");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_is_wrong_is_told_without_the_password() {
    let server = PostgresServer::start();
    let host = format!("127.0.0.1:{}", server.port());
    for (url, reason) in [
        (format!("postgres://roadstead:{PASSWORD}-not@{host}/postgres"), "password authentication failed"),
        (format!("postgres://nobody:{PASSWORD}@{host}/postgres"), "password authentication failed"),
        (format!("postgres://roadstead:{PASSWORD}@{host}/none"), "does not exist"),
        (format!("{}?sslcert=x", server.url()), "the parameter sslcert, which is not supported"),
        (format!("{}?sslmode=require", server.url()), "TLS"),
        (format!("postgres://roadstead:1?{PASSWORD}@{host}/postgres"), "it names no user"),
        (format!("{}?{PASSWORD}=1", server.url()), "an unknown parameter"),
        (format!("roadstead:{PASSWORD}@{host}"), "it does not begin with postgres://"),
    ] {
        let said = refused(&url);
        assert!(said.contains(reason) && !said.contains(PASSWORD), "{reason}: {said}");
    }
    let output = roadstead().args(["run", "--help"]).env("ROADSTEAD_POSTGRES_URL", server.url()).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        help.contains("--postgres-url") && help.contains("WASH_POSTGRES_URL") && !help.contains(PASSWORD),
        "{help}"
    );
}

#[tokio::test]
async fn nothing_that_a_host_tells_has_the_password_or_what_is_stored() {
    let stores = Stores::in_postgres_with(Options::default().flag("--log-level", "trace"));
    stores.say("/keys/set?bucket=one&key=k", "value-of-a-tenant").await;
    stores.say("/blobs/create-container?container=one", "").await;
    stores.say("/blobs/write?container=one&object=o", "object-of-a-tenant").await;
    let mut told = stores.host.log();
    for path in ["/metrics", "/readyz", "/status"] {
        told += &stores.host.admin(path).await.text();
    }
    for secret in [PASSWORD, "value-of-a-tenant", "object-of-a-tenant"] {
        assert!(!told.contains(secret), "{secret}");
    }
    // The server knows whose connections these are, and how long they may take.
    let names = "SELECT DISTINCT application_name FROM pg_stat_activity \
                 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    assert_eq!(stores.database.as_ref().unwrap().sql(names), "roadstead");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_start_together_make_one_schema() {
    let server = PostgresServer::start();
    let (url, limits) = (server.url(), Limits::default());
    let opened = join_all((0..6).map(|_| open(&url, &limits))).await;
    assert!(opened.iter().all(Result::is_ok));
    assert_eq!(server.sql("SELECT count(*) FROM roadstead.schema_version"), "1");
    // One that finds all there changes nothing.
    open(&url, &limits).await.unwrap();
    assert_eq!(server.sql("SELECT version FROM roadstead.schema_version"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_waits_for_another_that_changes_the_schema() {
    let server = PostgresServer::start();
    let lock = "SELECT pg_advisory_lock(8245916526800299361); SELECT pg_sleep(2)";
    std::thread::scope(|scope| {
        scope.spawn(|| server.sql(lock));
        let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
        while server.sql(held) != "1" {}
        let begun = Instant::now();
        let (url, limits) = (server.url(), Limits::default());
        let opened = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async { open(&url, &limits).await.map(drop) })
        });
        opened.unwrap();
        assert!(begun.elapsed().as_millis() > 500, "{:?}", begun.elapsed());
    });
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let server = PostgresServer::start();
    open(&server.url(), &Limits::default()).await.unwrap();
    server.sql("INSERT INTO roadstead.schema_version (version, made_by) VALUES (1000, 'the future')");
    let said = refused(&server.url());
    assert!(said.contains("is of version 1000, this program knows it up to version 1"), "{said}");
    assert!(said.contains("start a newer roadstead"), "{said}");
    assert_eq!(server.sql("SELECT count(*) FROM roadstead.kv_entry"), "0");
}

#[tokio::test]
async fn a_user_that_owns_no_more_than_the_schema_is_enough() {
    let server = PostgresServer::start();
    server.sql(&format!("CREATE ROLE small LOGIN PASSWORD '{PASSWORD}'"));
    let url = server.url().replace("roadstead:", "small:");
    let Err(error) = open(&url, &Limits::default()).await else { panic!("it may not create a schema") };
    assert!(error.to_string().contains("permission denied") && error.to_string().contains("needs to own"), "{error}");
    server.sql("CREATE SCHEMA roadstead AUTHORIZATION small");
    open(&url, &Limits::default()).await.unwrap();
}

#[tokio::test]
async fn tls_is_done_as_the_url_says() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("authority"));
    let server = PostgresServer::start_with_tls(&authority.issue(&["localhost"], "postgres"));
    let (ca, other) = (folder.path().join("ca.pem"), folder.path().join("other.pem"));
    fs::write(&ca, authority.pem()).unwrap();
    fs::write(&other, Authority::new("another").pem()).unwrap();
    let (ca, other) = (ca.display(), other.display());
    let port = server.port();
    for (host, parameters, refusal) in [
        ("localhost", "sslmode=disable".to_owned(), Some("no encryption")),
        ("localhost", String::new(), None),
        ("127.0.0.1", "sslmode=require".into(), None),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ca}"), None),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={other}"), Some("UnknownIssuer")),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={other}"), Some("UnknownIssuer")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ca}"), None),
        ("localhost", format!("sslrootcert={ca}"), None),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}"), Some("not valid for name")),
        // The authorities of the Web do not know this server.
        ("localhost", "sslmode=verify-full".into(), Some("UnknownIssuer")),
    ] {
        let url = format!("{}?{parameters}", server.url_at(&format!("{host}:{port}")));
        match (open(&url, &Limits::default()).await, refusal) {
            (Ok(_), None) => {}
            (Err(PostgresError::Refused { reason, .. }), Some(wanted)) if reason.contains(wanted) => {}
            (Ok(_), Some(wanted)) => panic!("{host} {parameters}: taken, and not refused with {wanted}"),
            (Err(error), _) => panic!("{host} {parameters}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_of_two_hosts_are_all_there() {
    let first = Stores::in_postgres();
    let database = first.database.as_ref().unwrap();
    let second = Stores::host(Options::default().flag("--postgres-url", &database.url()));
    let begun = Instant::now();
    let writers = [&first.host, &second].map(|host| [host; 4]).into_iter().flatten();
    join_all(writers.map(async |host| {
        // A guest has a minute for a call.
        for _ in 0..10 {
            let answer = host.client("a.test").post("/keys/increment?bucket=counts&key=n&times=100").send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }))
    .await;
    assert_eq!(first.say("/keys/get?bucket=counts&key=n", "").await, "8000");
    println!("8 writers x 1,000 increments over two hosts: {:?}", begun.elapsed());
    // Each change has a greater number than the one before.
    assert_eq!(database.sql("SELECT revision, keys FROM roadstead.kv_namespace"), "8000|1");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_over_two_hosts() {
    let server = PostgresServer::start();
    let limits = Limits { keyvalue_keys_max: 20, keyvalue_bytes_max: 1_000, ..Limits::default() };
    let hosts = [buckets(&server, limits.clone()).await, buckets(&server, limits).await];
    let bucket = "one".parse().unwrap();
    let puts = (0..60).map(|number| {
        let (hosts, bucket) = (&hosts, &bucket);
        async move {
            let key = format!("k{number:02}").parse().unwrap();
            hosts[number % 2].put(bucket, &key, Bytes::from_static(b"value"), Expected::Anything).await
        }
    });
    let outcomes = stream::iter(puts).buffer_unordered(16).collect::<Vec<_>>().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 20);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(KeyValueError::KeysFull))), "{outcomes:?}");
    let counted = "SELECT keys, bytes FROM roadstead.kv_namespace";
    assert_eq!(server.sql(counted), "20|160");
    let counted_anew = "SELECT count(*), sum(octet_length(key) + octet_length(value)) FROM roadstead.kv_entry";
    assert_eq!(server.sql(counted_anew), "20|160");
    // What is there can be replaced up to the limit of bytes, not beyond.
    let key = hosts[0].list(&bucket, 0, 1).await.unwrap().keys.remove(0);
    let put = async |bytes: usize| hosts[1].put(&bucket, &key, vec![b'v'; bytes].into(), Expected::Anything).await;
    put(845).await.unwrap();
    assert!(matches!(put(846).await, Err(KeyValueError::BytesFull)));
    hosts[0].delete(&bucket, &key).await.unwrap();
    assert_eq!(server.sql(counted), "19|152");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_revisions_misses_none() {
    let server = PostgresServer::start();
    let hosts = [buckets(&server, Limits::default()).await, buckets(&server, Limits::default()).await];
    let bucket = "one".parse().unwrap();
    let writing = async {
        let puts = (0..400).map(|number| {
            let (hosts, bucket) = (&hosts, &bucket);
            async move {
                let key = format!("k{number:03}").parse().unwrap();
                hosts[number % 2].put(bucket, &key, Bytes::new(), Expected::Revision(0)).await.unwrap();
            }
        });
        stream::iter(puts).buffer_unordered(16).collect::<()>().await;
        let last = "last".parse().unwrap();
        hosts[0].put(&bucket, &last, Bytes::new(), Expected::Revision(0)).await.unwrap();
    };
    // Goes on only from what has come; what comes behind it later would be missed.
    let reading = async {
        let (mut seen, mut from) = (BTreeSet::new(), 0);
        loop {
            let page = hosts[1].list(&bucket, from, 1).await.unwrap();
            if page.keys.iter().any(|key| key.as_str() == "last") {
                return seen;
            }
            if let Some(next) = page.next {
                seen.extend(page.keys.into_iter().map(|key| key.as_str().to_owned()));
                from = next;
            }
        }
    };
    let ((), seen) = futures::join!(writing, reading);
    assert_eq!(seen.len(), 400);
    // A cursor that no listing gave.
    assert!(hosts[0].list(&bucket, u64::MAX, 1).await.unwrap().keys.is_empty());
    let key = "k000".parse().unwrap();
    let put = hosts[0].put(&bucket, &key, Bytes::new(), Expected::Revision(u64::MAX)).await;
    assert!(matches!(put, Err(KeyValueError::Changed)), "{put:?}");
}

#[tokio::test]
async fn names_are_no_statements() {
    let stores = Stores::in_postgres();
    stores.say("/blobs/create-container?container=one", "").await;
    for name in
        ["%27%3B%20DROP%20SCHEMA%20roadstead%20CASCADE%3B--", "$1", "%5C", "%25", "_", "%22", "%27%27", "E%27%5C%27"]
    {
        stores.say(&format!("/keys/set?bucket=one&key={name}"), name).await;
        stores.say(&format!("/blobs/write?container=one&object={name}"), name).await;
    }
    for name in
        ["%27%3B%20DROP%20SCHEMA%20roadstead%20CASCADE%3B--", "$1", "%5C", "%25", "_", "%22", "%27%27", "E%27%5C%27"]
    {
        assert_eq!(stores.say(&format!("/keys/get?bucket=one&key={name}"), "").await, name);
        assert_eq!(stores.say(&format!("/blobs/read?container=one&object={name}"), "").await, name);
    }
    assert_eq!(stores.say("/keys/list-keys?bucket=one", "").await.lines().count(), 8);
}

#[tokio::test]
async fn what_a_lost_writer_leaves_is_removed() {
    let server = PostgresServer::start();
    let first = containers(&server, Limits::default()).await;
    let (container, object) = ("one".parse().unwrap(), "o".parse().unwrap());
    first.create(&container).await.unwrap();
    let writing = tokio::spawn({
        let (first, container) = (first.clone(), container.clone());
        async move { first.write(&container, &object, &mut Pieces { left: 5, byte: b'x', forever: true }).await }
    });
    let chunks = "SELECT count(*) FROM roadstead.blob_chunk";
    eventually("pieces", async || (server.sql(chunks) == "3").then_some(())).await;
    // As when its host is killed.
    writing.abort();
    let bytes = "SELECT bytes FROM roadstead.blob_container";
    assert_eq!(server.sql(bytes), (512 + 3 * 131_072).to_string());
    // Its lease has not ended: another host that starts leaves it alone.
    let second = containers(&server, Limits::default()).await;
    second.info(&container).await.unwrap().unwrap();
    server.sql("UPDATE roadstead.blob_object SET lease_until = now() - interval '1 second'");
    let _third = containers(&server, Limits::default()).await;
    eventually("room", async || (server.sql(bytes) == "0" && server.sql(chunks) == "0").then_some(())).await;
    assert_eq!(server.sql("SELECT count(*) FROM roadstead.blob_object"), "0");
}

#[tokio::test]
async fn readers_have_the_old_object_or_the_new_one() {
    let server = PostgresServer::start();
    let store = containers(&server, Limits::default()).await;
    let (container, object) = ("one".parse().unwrap(), "o".parse().unwrap());
    store.create(&container).await.unwrap();
    store.write(&container, &object, &mut pieces(8, b'a')).await.unwrap();
    let (info, mut reading) = store.read(&container, &object).await.unwrap();
    assert_eq!(info.size, 800_000);
    assert!(reading.next().await.unwrap().unwrap().iter().all(|byte| *byte == b'a'));
    store.write(&container, &object, &mut pieces(3, b'b')).await.unwrap();
    // Never a part of another: what is left of the old one, or an error.
    loop {
        match reading.next().await {
            Ok(Some(piece)) => assert!(piece.iter().all(|byte| *byte == b'a')),
            Ok(None) => break,
            Err(BlobError::Gone) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let (info, mut reading) = store.read(&container, &object).await.unwrap();
    assert_eq!(info.size, 300_000);
    // A range costs its own pieces: those before it are left out.
    assert_eq!(reading.skip(150_000), 131_072);
    assert_eq!(reading.next().await.unwrap().unwrap().len(), 131_072);
    let chunks = "SELECT count(*) FROM roadstead.blob_chunk";
    eventually("removal of the old object", async || (server.sql(chunks) == "3").then_some(())).await;
    assert_eq!(server.sql("SELECT bytes FROM roadstead.blob_container"), "300512");
    store.delete(&container).await.unwrap();
    eventually("removal of all", async || (server.sql(chunks) == "0").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_object_written_by_two_hosts_is_one_of_both() {
    let server = PostgresServer::start();
    let hosts = [containers(&server, Limits::default()).await, containers(&server, Limits::default()).await];
    let (container, object) = ("one".parse().unwrap(), "o".parse().unwrap());
    hosts[0].create(&container).await.unwrap();
    let writes = (0..16).map(|number: usize| {
        let (store, container, object) = (hosts[number % 2].clone(), &container, &object);
        async move { store.write(container, object, &mut pieces(3, u8::try_from(number).unwrap())).await.unwrap() }
    });
    join_all(writes).await;
    let (_, mut reading) = hosts[0].read(&container, &object).await.unwrap();
    let mut bytes = BTreeSet::new();
    while let Some(piece) = reading.next().await.unwrap() {
        bytes.extend(piece);
    }
    assert_eq!(bytes.len(), 1);
    assert_eq!(hosts[1].list(&container, 0, 10).await.unwrap().names.len(), 1);
    assert_eq!(server.sql("SELECT bytes FROM roadstead.blob_container"), "300512");
}

/// `postgres_connections_max` and `postgres_wait_ms`: what is beyond waits so long, and other tenants have their own.
#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_calls_leave_connections_to_others() {
    let server = PostgresServer::start();
    let limits = Limits { postgres_connections_max: 4, postgres_wait_ms: 300, ..Limits::default() };
    let database = open(&server.url(), &limits).await.unwrap();
    let backend = PostgresBuckets::new(&database);
    let of = async |namespace: &str| backend.of(&namespace.parse().unwrap(), &Arc::new(limits.clone())).await.unwrap();
    let (a, b) = (of("a").await, of("b").await);
    let (bucket, key) = ("one".parse().unwrap(), "k".parse().unwrap());
    let put = async |buckets: &Arc<dyn Buckets>| buckets.put(&bucket, &key, Bytes::new(), Expected::Anything).await;
    put(&a).await.unwrap();
    put(&b).await.unwrap();
    let hold = "SELECT 1 FROM roadstead.kv_namespace WHERE namespace = 'a' FOR UPDATE; SELECT pg_sleep(4)";
    std::thread::scope(|scope| {
        scope.spawn(|| server.sql(hold));
        let held = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(4)' AND state = 'active' \
                    AND wait_event = 'PgSleep'";
        while server.sql(held) != "1" {}
        let outcomes = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let waiting = join_all((0..6).map(|_| put(&a)));
                let others = async {
                    for _ in 0..20 {
                        put(&b).await.unwrap();
                    }
                };
                futures::join!(waiting, others).0
            })
        });
        let busy = outcomes.iter().filter(|outcome| match outcome {
            Err(KeyValueError::Failed(reason)) => reason.contains("postgres_wait_ms"),
            _ => false,
        });
        assert_eq!(busy.count(), 4, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2, "{outcomes:?}");
    });
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'roadstead'";
    assert!(server.sql(connections).parse::<u32>().unwrap() <= 4);
}

/// A host that has a database has other backends as well: an entry chooses.
#[tokio::test]
async fn the_database_is_the_first_of_the_backends() {
    let stores = Stores::in_postgres();
    stores.say("/keys/set?bucket=one&key=k", "v").await;
    let database = stores.database.as_ref().unwrap();
    assert_eq!(database.sql("SELECT namespace, bucket, encode(key, 'escape') FROM roadstead.kv_entry"), "a|one|k");
}
