//! Where the access log goes: with the other lines, into a file of its own, or nowhere.

use std::fs;

use http::StatusCode;

use crate::harness::{
    eventually,
    host::{Host, Options, roadstead},
    manifest::trigger,
};

fn gateway() -> String {
    trigger("gateway", "app.test", "probe-gateway").yaml()
}

#[tokio::test]
async fn a_file_has_a_line_for_each_request_also_after_it_was_moved() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let options = Options::default().flag("--access-log", path.to_str().unwrap());
    let host = Host::start_with(&gateway(), options);
    let client = host.client("app.test");
    for _ in 0..20 {
        assert_eq!(client.get("/headers?secret=hunter2").send().await.status, StatusCode::OK);
    }
    let text = eventually("every request has its line", async || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        (text.lines().count() == 20).then_some(text)
    })
    .await;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((line["path"].as_str(), line["status"].as_u64()), (Some("/headers"), Some(200)), "{line}");
    }
    assert!(!text.contains("hunter2") && !host.log().contains("roadstead::access"), "{}", host.log());
    fs::rename(&path, &moved).unwrap();
    eventually("a request after the move is in another file", async || {
        client.get("/headers").send().await;
        path.exists().then_some(())
    })
    .await;
    drop(host);
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    assert!(lines(&moved) >= 20 && lines(&path) > 0);
}

#[tokio::test]
async fn lines_that_a_full_disk_does_not_take_are_counted_and_told_of() {
    let host = Host::start_with(&gateway(), Options::default().flag("--access-log", "/dev/full"));
    assert_eq!(host.client("app.test").get("/headers").send().await.status, StatusCode::OK);
    eventually("the line is counted", async || {
        (host.metric("roadstead_access_log_dropped_total", &[]).await == 1.0).then_some(())
    })
    .await;
    eventually("the log says it", async || host.log().contains("the access log has gaps").then_some(())).await;
}

#[tokio::test]
async fn it_can_be_off_and_a_file_that_cannot_be_written_is_named() {
    let host = Host::start_with(&gateway(), Options::default().flag("--access-log", "off"));
    assert_eq!(host.client("app.test").get("/headers").send().await.status, StatusCode::OK);
    assert!(!host.log().contains("roadstead::access"), "{}", host.log());

    let ended = roadstead().args(["run", ".", "--access-log", "/nowhere/access.log"]).output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(told.contains("error: the access log cannot be written to /nowhere/access.log; name a file"), "{told}");
}
