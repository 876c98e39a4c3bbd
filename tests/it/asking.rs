//! The commands that ask a running host, and the paths below /v1/ that they ask.

use std::{fs, time::Duration};

use futures::future::join_all;
use http::StatusCode;
use serde_json::Value;

use crate::harness::{
    client::Client,
    eventually,
    host::{Host, Options, roadstead, write_application},
    manifest::{trigger, worker, worker_in},
};

fn application() -> String {
    trigger("gateway", "probe.test", "probe-gateway").yaml()
        + &worker("worker", "probe.work", &["poolSize: 2"])
        + &worker_in("team", "worker", "team.work", &[])
}

#[tokio::test]
async fn get_lists_what_a_host_has_in_all_forms() {
    let host = Host::start(&application());
    let table = host.told(&["get"]).await;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAMESPACE  NAME     READY  REASON"), "{table}");
    assert_eq!(lines.len(), 4, "{table}");
    assert!(table.contains("0/2") && !table.contains('\u{1b}'), "{table}");
    let wide = host.told(&["get", "workloads", "-o", "wide", "-n", "team"]).await;
    assert!(wide.lines().count() == 2 && wide.contains("file:probe-worker.wasm"), "{wide}");
    let triggers = host.told(&["get", "triggers"]).await;
    assert!(triggers.contains("probe.test") && triggers.contains("True"), "{triggers}");
    let hosts = host.told(&["get", "hosts", "-o", "wide"]).await;
    assert!(hosts.contains(env!("CARGO_PKG_VERSION")) && hosts.contains("True"), "{hosts}");
    let json: Value = serde_json::from_str(&host.told(&["get", "-o", "json"]).await).unwrap();
    assert_eq!(json["items"].as_array().unwrap().len(), 3);
    assert_eq!(json["items"][0]["conditions"][0]["type"], "Ready");
    let yaml = host.told(&["get", "-o", "yaml"]).await;
    assert!(yaml.starts_with("items:\n  - ") && yaml.contains("state: WORKLOAD_STATE_RUNNING\n"), "{yaml}");
    let described = host.told(&["describe", "worker", "-n", "team"]).await;
    assert!(described.contains("probe-worker  team.work"), "{described}");
    // A name that one workload has needs no namespace.
    assert!(host.told(&["describe", "gateway"]).await.contains("probe.test"));
    for (arguments, told) in [
        (&["describe", "nothing"][..], "no workload of this host is named nothing; `roadstead get` lists them"),
        (&["describe", "worker"], "the name of a workload in default and in team; say which with -n NAMESPACE"),
        (&["logs", "worker", "-n", "other"], "no such workload"),
    ] {
        let missing = host.ask(arguments).await;
        assert_eq!(missing.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&missing.stderr).contains(told), "{missing:?}");
    }
}

#[test]
fn who_is_not_answered_learns_which_addresses_were_tried() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = roadstead();
    command.env("XDG_RUNTIME_DIR", folder.path()).env("ROADSTEAD_ADMIN_ADDR", "127.0.0.1:1");
    let output = command.arg("get").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("127.0.0.1:1") && errors.contains("--admin-socket"), "{errors}");
    let socket = folder.path().join("none.sock");
    let output = roadstead().args(["get", "--admin-socket", socket.to_str().unwrap()]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.sock (No such file"), "{output:?}");
}

#[tokio::test]
async fn commands_ask_over_tcp_with_the_token() {
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &application());
    let file = folder.path().join("token");
    fs::write(&file, "a-token-of-this-test\n").unwrap();
    let host = Host::start_in(folder, Options::default().flag("--admin-token-file", file.to_str().unwrap()));
    let address = host.admin_address().to_string();
    let file = host.folder.path().join("token");
    let ask = |arguments: &[&str]| {
        let mut command = roadstead();
        command.args(arguments).args(["--admin-addr", &address]);
        command
    };
    let refused = ask(&["get"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("401"), "{refused:?}");
    let told = ask(&["get"]).arg("--admin-token-file").arg(&file).output().unwrap();
    assert!(String::from_utf8_lossy(&told.stdout).contains("gateway"), "{told:?}");
    let set = ask(&["log-level", "warn"]).arg("--admin-token-file").arg(&file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&set.stdout), "warn\n");
}

#[tokio::test]
async fn logs_show_what_components_wrote_and_write() {
    let host = Host::start(&application());
    let client = host.client("probe.test");
    client.get("/log?message=first").send().await;
    eventually("the first line", async || host.told(&["logs", "gateway"]).await.contains("first").then_some(())).await;
    let mut following = host.following(&["logs", "gateway", "--follow", "--tail", "0"]);
    // It follows once it has a place.
    eventually("a line that was followed", async || {
        client.get("/log?message=second%1b[31m").send().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        following.output().contains("second").then_some(())
    })
    .await;
    let output = following.output();
    assert!(!output.contains("first") && !output.contains('\u{1b}'), "{output}");
    following.signal(rustix::process::Signal::TERM);
    following.wait();
    assert_eq!(host.ask(&["logs", "nothing"]).await.status.code(), Some(1));
}

#[tokio::test]
async fn the_log_level_changes_while_the_host_runs() {
    let host = Host::start(&application());
    let client = host.client("probe.test");
    assert_eq!(host.told(&["log-level"]).await, "info\n");
    client.get("/log?level=debug&message=unseen").send().await;
    assert_eq!(host.told(&["log-level", "info,roadstead::guest=debug"]).await, "info,roadstead::guest=debug\n");
    client.get("/log?level=debug&message=seen-now").send().await;
    eventually("a debug line", async || host.log().contains("seen-now").then_some(())).await;
    assert!(!host.log().contains("unseen"));
    for bad in ["", "=====", "info,[{"] {
        let refused = host.ask(&["log-level", bad]).await;
        assert_eq!(refused.status.code(), Some(1), "{bad}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("write for example info"), "{refused:?}");
    }
    assert_eq!(host.told(&["log-level"]).await, "info,roadstead::guest=debug\n");
}

#[tokio::test]
async fn top_shows_what_is_busy_between_two_looks() {
    let host = Host::start(&application());
    let client = host.client("probe.test");
    let mut busy = host.following(&["top", "--once", "--every", "3s"]);
    eventually("the end of top", async || {
        client.get("/trap").send().await;
        busy.output().contains("calls/s").then_some(())
    })
    .await;
    assert!(busy.wait().success());
    let output = busy.output();
    let gateway = output.lines().find(|line| line.contains(" gateway ")).unwrap_or_else(|| panic!("{output}"));
    let cells: Vec<&str> = gateway.split_whitespace().collect();
    assert!(cells[3].parse::<f64>().unwrap() > 0.0 && cells[4].parse::<f64>().unwrap() > 0.0, "{output}");
    assert!(output.contains("0     2     0"), "{output}");
}

#[tokio::test]
async fn drain_ends_the_host_in_order() {
    let mut host = Host::start(&application());
    assert!(host.told(&["drain"]).await.starts_with("draining"));
    assert_eq!(host.wait().code(), Some(0));
}

/// `logs::FOLLOWERS_MAX`.
#[tokio::test]
async fn so_many_may_follow_logs() {
    let host = Host::start(&application());
    let client = Client::new(host.admin_address(), "localhost");
    let follow = || client.get("/v1/logs?name=gateway&follow=true").open();
    let mut following = join_all((0..16).map(|_| follow())).await;
    assert!(following.iter().all(|stream| stream.status == StatusCode::OK));
    assert_eq!(follow().await.status, StatusCode::SERVICE_UNAVAILABLE);
    following.pop();
    eventually("a place that is free again", async || {
        host.client("probe.test").get("/log?message=wakes").send().await;
        (follow().await.status == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn hostile_paths_are_answered_and_do_no_harm() {
    let host = Host::start(&application());
    let client = Client::new(host.admin_address(), "localhost");
    let long = format!("/v1/workloads/default/{}", "x".repeat(4_000));
    for path in [
        "/v1/workloads/",
        "/v1/workloads/../../etc/passwd",
        "/v1/workloads/default/..%2f..%2fetc",
        "/v1/workloads/default/worker/more",
        "/v1/workloads//",
        "/v1/logs",
        "/v1/logs?name=%00&namespace=../..",
        "/v1/nothing",
        "/v1/log-level/",
        &long,
    ] {
        let answer = client.get(path).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.text());
    }
    for query in ["?limit=99999999999999999999", "?limit=-1", "?namespace=", "?namespace=%", "?&&==&=limit"] {
        assert_eq!(client.get(&format!("/v1/events{query}")).send().await.status, StatusCode::OK, "{query}");
    }
    let events = client.get("/v1/events?limit=2").send().await.json();
    assert_eq!(events["items"].as_array().unwrap().len(), 2);
    // `workloads::EVENTS_MAX`: so many at once, whatever is asked for.
    assert!(client.get("/v1/events?limit=1000000").send().await.json()["items"].as_array().unwrap().len() <= 1_000);
    for method in [http::Method::DELETE, http::Method::PUT, http::Method::PATCH] {
        assert_eq!(client.request(method, "/v1/workloads").send().await.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn what_is_known_of_a_workload_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let stays = trigger("stays", "stays.test", "bare-http").yaml();
    write_application(folder.path(), &(stays.clone() + &trigger("goes", "goes.test", "made-missing").yaml()));
    let host = Host::start_in(folder, Options::default().switch("--watch"));
    assert!(host.told(&["describe", "goes"]).await.contains("ImageMissing"));
    fs::write(host.folder.path().join("app.yaml"), stays).unwrap();
    eventually("its end", async || (!host.told(&["get"]).await.contains("goes")).then_some(())).await;
    let client = Client::new(host.admin_address(), "localhost");
    assert!(!client.get("/v1/events").send().await.text().contains("goes"));
    assert_eq!(client.get("/v1/logs?name=goes").send().await.status, StatusCode::NOT_FOUND);
}
