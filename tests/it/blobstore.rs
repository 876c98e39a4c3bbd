//! `wasi:blobstore`, as a component sees it: the same for every backend: in memory, on disk, over a real nats-server and
//! in a real PostgreSQL.

use async_nats::jetstream;
use tokio::io::AsyncReadExt;

use crate::harness::{
    eventually,
    host::Options,
    stores::{Start, Stores},
};

/// A store with the container `one`.
async fn started(start: Start, options: Options) -> Stores {
    let stores = start(options);
    assert_eq!(stores.say("/blobs/create-container?container=one", "").await, "one");
    stores
}

#[tokio::test]
async fn containers_are_made_and_deleted() {
    for start in Stores::BACKENDS {
        let stores = started(start, Options::default()).await;
        assert!(stores.refusal("/blobs/create-container?container=one", "").await.contains("already"));
        assert_eq!(stores.say("/blobs/get-container?container=one", "").await, "one");
        assert_eq!(stores.say("/blobs/container-exists?container=one", "").await, "true");
        assert_eq!(stores.say("/blobs/container-exists?container=two", "").await, "false");
        assert_eq!(stores.refusal("/blobs/get-container?container=two", "").await, "there is no container two");
        let info = stores.say("/blobs/info?container=one", "").await;
        let created_at: u64 = info.strip_prefix("one ").unwrap().parse().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(created_at) < 120, "{created_at}");
        for name in ["a.b", "%3E", "a/b", ""] {
            stores.refusal(&format!("/blobs/create-container?container={name}"), "").await;
        }
        stores.say("/blobs/write?container=one&object=o", "text").await;
        stores.say("/blobs/delete-container?container=one", "").await;
        assert_eq!(stores.refusal("/blobs/delete-container?container=one", "").await, "there is no container one");
        assert_eq!(stores.say("/blobs/create-container?container=one", "").await, "one");
        assert_eq!(stores.say("/blobs/has-object?container=one&object=o", "").await, "false");
    }
}

#[tokio::test]
async fn objects_come_back_whole_and_in_part() {
    for start in Stores::BACKENDS {
        let stores = started(start, Options::default()).await;
        // More than one piece of any backend.
        let text: String = (0..40_000).map(|number| format!("{number:07}")).collect();
        stores.say("/blobs/write?container=one&object=o", &text).await;
        assert_eq!(stores.say("/blobs/read?container=one&object=o", "").await, text);
        assert_eq!(stores.say("/blobs/object-info?container=one&object=o", "").await, format!("one o {}", text.len()));
        for (start, end) in [(0, 0), (5, 9), (131_070, 131_075), (262_143, 262_145), (279_999, u64::MAX), (0, 279_999)]
        {
            let part = &text[start..usize::try_from(end).unwrap_or(usize::MAX).min(text.len() - 1) + 1];
            let range = format!("container=one&object=o&start={start}&end={end}");
            assert_eq!(stores.say(&format!("/blobs/read?{range}"), "").await, part);
            let sync = stores.ask(&format!("/blobs/read-sync?{range}"), "").await;
            assert_eq!((sync.header("size"), sync.text()), (part.len().to_string().as_str(), part.to_owned()));
        }
        assert_eq!(stores.say("/blobs/read?container=one&object=o&start=280000", "").await, "");
        assert!(stores.refusal("/blobs/read?container=one&object=o&start=2&end=1", "").await.contains("ends before"));
        assert!(stores.refusal("/blobs/read?container=one&object=none", "").await.contains("no such object"));
        // Another object in its place, and an empty one.
        stores.say("/blobs/write?container=one&object=o", "other").await;
        assert_eq!(stores.say("/blobs/read?container=one&object=o", "").await, "other");
        stores.say("/blobs/write?container=one&object=empty", "").await;
        assert_eq!(stores.say("/blobs/read?container=one&object=empty", "").await, "");
        assert_eq!(stores.say("/blobs/object-info?container=one&object=empty", "").await, "one empty 0");
    }
}

#[tokio::test]
async fn an_object_is_there_when_it_is_finished() {
    for start in Stores::BACKENDS {
        let stores = started(start, Options::default().flag("--limit", "blobstore_buffer_bytes_max=100000")).await;
        let text = "t".repeat(90_000);
        stores.say("/blobs/write?container=one&object=o&order=unfinished", &text).await;
        assert_eq!(stores.say("/blobs/has-object?container=one&object=o", "").await, "false");
        // Both orders are published programs' own.
        stores.say("/blobs/write?container=one&object=o&order=body-first", &text).await;
        assert_eq!(stores.say("/blobs/read?container=one&object=o", "").await, text);
        let refusal =
            stores.refusal("/blobs/write?container=one&object=p&order=body-first", &"t".repeat(200_000)).await;
        assert!(refusal.contains("write-data"), "{refusal}");
        stores.say("/blobs/write?container=one&object=p", &"t".repeat(200_000)).await;
        // What was left unfinished takes no room; an older object stays in its place.
        stores.say("/blobs/write?container=one&object=o&order=unfinished", "new").await;
        assert_eq!(stores.say("/blobs/read?container=one&object=o", "").await, text);
    }
}

/// More than `host::NAMES_PER_PAGE_MAX` names, one call that asks for more than `host::NAMES_PER_CALL_MAX`,
/// and one that deletes more than `host::DELETES_PER_CALL_MAX`.
#[tokio::test]
async fn names_are_listed_a_part_at_a_time() {
    for start in Stores::BACKENDS {
        let stores = started(start, Options::default()).await;
        assert_eq!(stores.say("/blobs/list-objects?container=one", "").await, "");
        for number in 0..105 {
            stores.say(&format!("/blobs/write?container=one&object=a%20%2F{number}"), "text").await;
        }
        let sorted = |text: String| {
            let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
            names.sort();
            names
        };
        let mut all: Vec<String> = (0..105).map(|number| format!("a /{number}")).collect();
        all.sort();
        for len in [1, 7, 100, 1_000_000] {
            assert_eq!(sorted(stores.say(&format!("/blobs/list-objects?container=one&len={len}"), "").await), all);
        }
        for (skip, left) in [(3, 102), (103, 2), (105, 0), (1_000_000, 0)] {
            let rest = stores.say(&format!("/blobs/list-objects?container=one&skip={skip}"), "").await;
            assert_eq!(rest.lines().count(), left, "{skip}");
        }
        stores.say("/blobs/delete-objects?container=one&objects=a%20%2F1,a%20%2F2,none", "").await;
        stores.say("/blobs/delete-object?container=one&object=a%20%2F3", "").await;
        stores.say("/blobs/delete-object?container=one&object=a%20%2F3", "").await;
        assert_eq!(stores.say("/blobs/list-objects?container=one", "").await.lines().count(), 102);
        let too_many = vec!["x"; 1_001].join(",");
        stores.refusal(&format!("/blobs/delete-objects?container=one&objects={too_many}"), "").await;
        stores.say("/blobs/clear?container=one", "").await;
        assert_eq!(stores.say("/blobs/list-objects?container=one", "").await, "");
        stores.refusal("/blobs/write?container=one&object=bad%0Aname", "text").await;
        stores.refusal(&format!("/blobs/write?container=one&object={}", "x".repeat(1_025)), "text").await;
    }
}

#[tokio::test]
async fn objects_are_copied_and_moved() {
    for start in Stores::BACKENDS {
        let stores = started(start, Options::default()).await;
        stores.say("/blobs/create-container?container=two", "").await;
        let text = "t".repeat(300_000);
        stores.say("/blobs/write?container=one&object=o", &text).await;
        stores.say("/blobs/write?container=two&object=p", "in the way").await;
        stores.say("/blobs/copy-object?container=one&object=o&to-container=two&to-object=p", "").await;
        assert_eq!(stores.say("/blobs/read?container=two&object=p", "").await, text);
        assert_eq!(stores.say("/blobs/has-object?container=one&object=o", "").await, "true");
        stores.say("/blobs/move-object?container=one&object=o&to-container=one&to-object=q", "").await;
        assert_eq!(stores.say("/blobs/read?container=one&object=q", "").await, text);
        assert_eq!(stores.say("/blobs/has-object?container=one&object=o", "").await, "false");
        stores.say("/blobs/move-object?container=one&object=q&to-container=one&to-object=q", "").await;
        assert_eq!(stores.say("/blobs/has-object?container=one&object=q", "").await, "true");
        for path in ["copy-object", "move-object"] {
            stores.refusal(&format!("/blobs/{path}?container=one&object=none&to-container=two&to-object=x"), "").await;
            stores.refusal(&format!("/blobs/{path}?container=one&object=q&to-container=none&to-object=x"), "").await;
        }
        assert_eq!(stores.say("/blobs/has-object?container=one&object=q", "").await, "true");
    }
}

#[tokio::test]
async fn what_a_tenant_stores_is_bounded() {
    for start in Stores::BACKENDS {
        let limits =
            ["blobstore_containers_max=2", "blobstore_container_bytes_max=400000", "hostcall_bytes_max=300000"];
        let options = limits.iter().fold(Options::default(), |options, limit| options.flag("--limit", limit));
        let stores = started(start, options).await;
        stores.say("/blobs/create-container?container=two", "").await;
        let refusal = stores.refusal("/blobs/create-container?container=three", "").await;
        assert!(refusal.contains("blobstore_containers_max"), "{refusal}");
        assert_eq!(stores.ask_as("b", "/blobs/create-container?container=three", "").await.status, 200);

        let refusal = stores.refusal("/blobs/write?container=one&object=large&mb=1", "").await;
        assert!(refusal.contains("blobstore_container_bytes_max"), "{refusal}");
        assert_eq!(stores.say("/blobs/has-object?container=one&object=large", "").await, "false");
        // What failed left nothing behind.
        let text = "t".repeat(320_000);
        eventually("room for an object after one that failed", async || {
            (stores.ask("/blobs/write?container=one&object=o", &text).await.status == 200).then_some(())
        })
        .await;
        let refusal = stores.refusal("/blobs/read-sync?container=one&object=o", "").await;
        assert!(refusal.contains("at most 300000"), "{refusal}");
        stores.refusal("/blobs/write?container=one&object=p", &text).await;
        stores.say("/blobs/write?container=two&object=p", &text).await;
    }
}

#[tokio::test]
async fn a_silent_writer_is_given_up() {
    for start in Stores::BACKENDS {
        let options =
            Options::default().flag("--limit", "blobstore_idle_ms=2000").flag("--limit", "blobstore_writes_max=1");
        let stores = started(start, options).await;
        let client = stores.host.client("a.test");
        // The body stops before its end: the guest waits for it, and the store for the guest.
        let begin = || {
            let (sender, body) = futures::channel::mpsc::unbounded::<bytes::Bytes>();
            sender.unbounded_send("begun".into()).unwrap();
            (sender, tokio::spawn(client.post("/blobs/write?container=one&object=o").stream(body).send()))
        };
        let (mut sender, mut slow) = begin();
        let mut busy = None;
        for _ in 0..1_000 {
            // It may have met the one who asks below in the one place.
            if slow.is_finished() {
                (sender, slow) = begin();
            }
            let answer = stores.ask("/blobs/write?container=one&object=p", "text").await;
            if answer.status == 409 {
                busy = Some(answer.text());
                break;
            }
        }
        assert_eq!(busy.as_deref(), Some("no stream"), "the one place is taken");
        // It is time that must pass here, and nothing else tells of it.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        sender.unbounded_send("late".into()).unwrap();
        drop(sender);
        let answer = slow.await.unwrap();
        assert_eq!(answer.status, 409);
        assert!(answer.text().contains("blobstore_idle_ms") || answer.text().contains("no byte"), "{}", answer.text());
        assert_eq!(stores.say("/blobs/has-object?container=one&object=o", "").await, "false");
        stores.say("/blobs/write?container=one&object=p", "text").await;
    }
}

/// Writes and reads an object of so many mebibytes, and bounds by how much the host grows.
async fn passes_with_little_memory(stores: Stores, mebibytes: u64) {
    stores.say("/blobs/create-container?container=one", "").await;
    stores.say("/blobs/write?container=one&object=warm&mb=1", "").await;
    stores.host.forget_peak();
    let before = stores.host.resident_bytes();
    stores.say(&format!("/blobs/write?container=one&object=o&mb={mebibytes}"), "").await;
    let mut reading = stores.host.client("a.test").get("/blobs/read?container=one&object=o").open().await;
    let mut bytes = 0;
    while let Some(piece) = reading.next().await {
        bytes += piece.unwrap().len() as u64;
    }
    assert_eq!(bytes, mebibytes << 20);
    let grown = stores.host.resident_bytes_peak().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more for an object of {mebibytes} MiB");
}

#[tokio::test]
async fn large_objects_pass_with_little_memory() {
    for start in [Stores::over_nats_with, Stores::in_postgres_with] {
        let options = Options::default().flag("--limit", "blobstore_container_bytes_max=200000000");
        passes_with_little_memory(start(options), 96).await;
    }
}

#[tokio::test]
async fn large_objects_pass_with_little_memory_on_disk() {
    let options = Options::default().flag("--limit", "blobstore_container_bytes_max=2000000000");
    passes_with_little_memory(Stores::on_disk_with(options), 256).await;
}

#[tokio::test]
async fn the_tools_of_nats_read_what_is_written() {
    let stores = Stores::over_nats();
    stores.say("/blobs/create-container?container=one", "").await;
    let text = "t".repeat(200_000);
    stores.say("/blobs/write?container=one&object=o", &text).await;
    let client = async_nats::connect(stores.server.as_ref().unwrap().url()).await.unwrap();
    let store = jetstream::new(client).get_object_store("roadstead_a_one").await.unwrap();
    let mut found = String::new();
    // The client compares the digest.
    store.get("o").await.unwrap().read_to_string(&mut found).await.unwrap();
    assert_eq!(found, text);
    // And what they write is read here.
    store.put("theirs", &mut &b"from elsewhere"[..]).await.unwrap();
    assert_eq!(stores.say("/blobs/read?container=one&object=theirs", "").await, "from elsewhere");
    store.delete("theirs").await.unwrap();
    assert_eq!(stores.say("/blobs/has-object?container=one&object=theirs", "").await, "false");
    assert_eq!(stores.say("/blobs/list-objects?container=one", "").await, "o");
}
