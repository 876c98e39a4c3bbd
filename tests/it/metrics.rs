//! The catalogue of metrics and what hosts really count: nothing that is not in it, nothing of it that is not there; names
//! that go with their workload, and a bound on how many there are.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::harness::{
    certificates::Authority,
    collector::Collector,
    eventually, gpu,
    host::{Host, Options, roadstead, write_application},
    manifest::{trigger, worker_in},
    nats::NatsServer,
    postgres::PostgresServer,
};

/// The catalogue as the command prints it.
fn catalogue() -> Vec<Value> {
    let output = roadstead().args(["metrics", "--output", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a host shows: the name, kind and help of each metric.
async fn shown(host: &Host) -> BTreeSet<(String, String, String)> {
    let text = host.admin("/metrics").await.text();
    let of = |kind: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(&format!("# {kind} "))?.split_once(' '));
        lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
    };
    let (kinds, helps) = (of("TYPE"), of("HELP"));
    assert_eq!(kinds.len(), helps.len());
    kinds.into_iter().zip(helps).map(|((name, kind), (_, help))| (name, kind, help)).collect()
}

#[tokio::test]
async fn hosts_with_everything_show_the_catalogue_and_nothing_else() {
    let (server, database, collector) = (NatsServer::start(), PostgresServer::start(), Collector::start().await);
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &trigger("app", "app.test", "bare-http").yaml());
    let certificates = folder.path().join("certificates");
    fs::create_dir(&certificates).unwrap();
    Authority::new("authority").issue(&["app.test"], "app").write(&certificates, "app.test");
    let options = collector.tell(gpu::options()).nats(&server);
    let options = options.flag("--https-addr", "127.0.0.1:0").flag("--tls-dir", certificates.to_str().unwrap());
    let everything = Host::start_in(folder, options.flag("--postgres-url", &database.url()));
    let of_a_fleet = Host::join(&server, Options::default());

    let mut there = shown(&everything).await;
    there.extend(shown(&of_a_fleet).await);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_catalogue = |metric: &Value| (text(&metric["name"]), text(&metric["kind"]), text(&metric["help"]));
    let wanted: BTreeSet<_> = catalogue().iter().map(of_catalogue).collect();
    assert_eq!(there.difference(&wanted).collect::<Vec<_>>(), Vec::<&(_, _, _)>::new(), "not in the catalogue");
    assert_eq!(wanted.difference(&there).collect::<Vec<_>>(), Vec::<&(_, _, _)>::new(), "not registered");
    assert!(everything.metric("process_resident_memory_bytes", &[]).await > 1e6);
    assert_eq!(everything.metric("roadstead_build_info", &[env!("CARGO_PKG_VERSION")]).await, 1.0);
    assert!(everything.metric("roadstead_tokio_workers", &[]).await >= 1.0);
    assert!(everything.metric("roadstead_postgres_connections_max", &[]).await >= 1.0);
}

#[tokio::test]
async fn the_names_of_a_workload_go_with_it() {
    let stays = trigger("stays", "stays.test", "bare-http").yaml();
    let goes = trigger("goes", "goes.test", "probe-gateway").namespace("leaving").yaml()
        + &worker_in("leaving", "goes-too", "probe.work", &["poolSize: 2"]);
    let host = Host::start_with(&(stays.clone() + &goes), Options::default().switch("--watch"));
    for path in ["/hello", "/trap", "/request?subject=probe.work", "/no-such-path"] {
        host.client("goes.test").get(path).send().await;
    }
    host.client("stays.test").get("/").send().await;
    host.wait_for_metric("roadstead_http_requests_total", &["leaving"], 4.0).await;
    let bytes = host.metric("roadstead_http_response_bytes_total", &["\"goes\""]).await;
    assert!(bytes > 0.0);
    assert!(host.metric("roadstead_instance_start_duration_seconds_count", &["\"goes\""]).await >= 1.0);
    assert!(host.metric("roadstead_instance_memory_peak_bytes", &["\"goes\""]).await >= 65_536.0);

    write_application(host.folder.path(), &stays);
    eventually("the names are gone", async || {
        let text = host.admin("/metrics").await.text();
        (!text.contains("leaving") && !text.contains("\"goes")).then_some(())
    })
    .await;
    assert_eq!(host.metric("roadstead_http_requests_total", &["\"stays\""]).await, 1.0);
}

#[tokio::test]
async fn workloads_beyond_the_bound_are_counted_together() {
    let of = |name: &str| trigger(name, &format!("{name}.test"), "bare-http").yaml();
    let manifest = of("one") + &of("two") + &of("three");
    let host = Host::start_with(&manifest, Options::default().flag("--limit", "metrics_workloads_max=1"));
    for name in ["one", "two", "three"] {
        host.client(&format!("{name}.test")).get("/").send().await;
    }
    host.wait_for_metric("roadstead_http_requests_total", &[], 3.0).await;
    host.wait_for_metric("roadstead_http_requests_total", &["trigger=\"__overflow__\""], 2.0).await;
    assert_eq!(host.metric("roadstead_calls_total", &["component=\"__overflow__\"", "\"ok\""]).await, 2.0);
    assert_eq!(host.metric("roadstead_metrics_workloads", &[]).await, 1.0);
    let text = host.admin("/metrics").await.text();
    let named = ["\"one\"", "\"two\"", "\"three\""].iter().filter(|name| text.contains(**name)).count();
    assert_eq!(named, 1, "{text}");
}

#[test]
fn the_catalogue_is_printed_in_each_form() {
    let printed = |form: &str| {
        let output = roadstead().args(["metrics", "--output", form]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    for (form, line) in
        [("text", "  roadstead_calls_total  counter, count"), ("markdown", "| `roadstead_calls_total` |")]
    {
        assert!(printed(form).lines().any(|printed| printed.starts_with(line)), "{form}");
    }
    let calls = catalogue().into_iter().find(|metric| metric["name"] == "roadstead_calls_total").unwrap();
    let labels: Vec<_> = calls["labels"].as_array().unwrap().iter().map(|label| label["name"].clone()).collect();
    assert_eq!(labels, ["namespace", "workload", "component", "outcome"]);
    assert_eq!(calls["labels"][3]["values"][0], "ok");
}
