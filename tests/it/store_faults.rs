//! A disk that is full under `--data-dir`: an error for what finds no room, and nothing else.

use std::fs;

use crate::harness::{
    eventually, guests,
    host::{Host, Options},
    stores::{both, patient},
};

/// A host whose data is on a file system of four megabytes, which only it sees. Needs root, as the mount does.
fn on_a_small_disk() -> Host {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    fs::write(folder.path().join("app.yaml"), both()).unwrap();
    fs::copy(guests::path("probe-store"), folder.path().join("probe-store.wasm")).unwrap();
    let data = disk.join("data").display().to_string();
    let script = format!("mount -t tmpfs -o size=4m,mode=0700 tmpfs {} && exec \"$@\"", disk.display());
    let options = Options::default().flag("--data-dir", &data);
    Host::start_in(folder, patient(options).through(&["unshare", "-m", "sh", "-c", &script, "sh"]))
}

struct Asked(u16, String);

async fn ask(host: &Host, path: &str, body: &str) -> Asked {
    let answer = host.client("a.test").post(path).body(body.to_owned()).send().await;
    Asked(answer.status.as_u16(), answer.text())
}

#[tokio::test]
async fn a_full_disk_costs_what_finds_no_room() {
    let host = on_a_small_disk();
    let value = |number: usize| format!("{number:04}").repeat(8_000);
    // Keys until there is no room: each that was acknowledged stays.
    let mut stored = 0;
    let full = loop {
        let Asked(status, text) = ask(&host, &format!("/keys/set?bucket=one&key=k{stored}"), &value(stored)).await;
        if status != 200 {
            break text;
        }
        stored += 1;
        assert!(stored < 200, "four megabytes hold no more");
    };
    assert!(full.contains("the disk of the store is full"), "{full}");
    assert!(stored > 5, "{stored}");
    // It can be said again and again, and reading goes on.
    for _ in 0..5 {
        assert_eq!(ask(&host, "/keys/set?bucket=one&key=large", &value(1).repeat(20)).await.0, 409);
    }
    for number in 0..stored {
        let Asked(status, text) = ask(&host, &format!("/keys/get?bucket=one&key=k{number}"), "").await;
        assert!(status == 200 && text == value(number), "k{number}: {status}");
    }
    // What is deleted makes room.
    for number in 0..stored / 2 {
        let Asked(status, text) = ask(&host, &format!("/keys/delete?bucket=one&key=k{number}"), "").await;
        assert_eq!(status, 200, "{text}");
    }
    eventually("room for a key", async || {
        (ask(&host, "/keys/set?bucket=one&key=again", &value(7)).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(ask(&host, "/keys/get?bucket=one&key=again", "").await.1, value(7));
}

#[tokio::test]
async fn a_full_disk_costs_the_object_that_finds_no_room() {
    let host = on_a_small_disk();
    assert_eq!(ask(&host, "/blobs/create-container?container=one", "").await.0, 200);
    let text = "t".repeat(100_000);
    assert_eq!(ask(&host, "/blobs/write?container=one&object=small", &text).await.0, 200);
    for _ in 0..3 {
        let Asked(status, reason) = ask(&host, "/blobs/write?container=one&object=o&mb=8", "").await;
        assert!(status == 409 && reason.contains("the disk of the store is full"), "{status} {reason}");
    }
    assert_eq!(ask(&host, "/blobs/list-objects?container=one", "").await.1, "small");
    assert_eq!(ask(&host, "/blobs/read?container=one&object=small", "").await.1, text);
    // The half of it takes no room any more.
    eventually("room for an object", async || {
        (ask(&host, "/blobs/write?container=one&object=p", &text).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(ask(&host, "/blobs/read?container=one&object=p", "").await.1, text);
}
