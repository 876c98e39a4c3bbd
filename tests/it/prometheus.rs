//! What a real Prometheus makes of a host: its rules for names, its scrapes and queries; and of the dashboard and the
//! alerts that are in `deploy`.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::harness::{
    eventually,
    host::Host,
    manifest::{trigger, worker},
    prometheus::{Prometheus, promtool},
};

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

/// What the command prints; the test fails when it does.
fn run(mut command: Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("{command:?} cannot be started ({error}); `cargo xtask setup` brings it");
    });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{said}");
    said
}

fn application() -> Host {
    let gateway = trigger("gateway", "probe.test", "probe-gateway").yaml();
    Host::start(&(gateway + &worker("worker", "probe.work", &["poolSize: 2"])))
}

#[tokio::test]
async fn promtool_finds_no_fault_with_the_metrics() {
    let host = application();
    for path in ["/hello", "/trap"] {
        host.client("probe.test").get(path).send().await;
    }
    host.wait_for_metric("roadstead_http_requests_total", &["gateway"], 2.0).await;
    let said = run(promtool(&["check", "metrics"]), &host.admin("/metrics").await.text());
    assert_eq!(said, "");
}

#[tokio::test]
async fn a_prometheus_counts_what_was_asked() {
    let host = application();
    let prometheus = Prometheus::start(host.admin_address(), &deployed("prometheus/alerts.yml"));
    let requests = r#"sum(roadstead_http_requests_total{trigger="gateway",code="200"})"#;
    let counted = async |wanted: f64| {
        eventually("Prometheus has scraped the requests", async || {
            (prometheus.query(requests).await == Some(wanted)).then_some(())
        })
        .await;
    };
    host.client("probe.test").get("/hello").send().await;
    counted(1.0).await;
    for _ in 0..20 {
        host.client("probe.test").get("/hello").send().await;
    }
    counted(21.0).await;
    // The rate over a time that covers both, of what came after the first.
    let rate = r#"sum(increase(roadstead_http_requests_total{trigger="gateway",code="200"}[1m]))"#;
    let increase = prometheus.query(rate).await.unwrap();
    // It is carried on to the ends of the minute, by up to half the time between two scrapes at each.
    assert!((20.0..24.0).contains(&increase), "{increase}");
    let slowest =
        prometheus.query("histogram_quantile(0.99, sum by (le) (roadstead_http_request_duration_seconds_bucket))");
    assert!(slowest.await.unwrap() > 0.0);
    assert_eq!(prometheus.query("up").await, Some(1.0));

    // The alerts are rules that this server takes, and none of them can be told of a host that is well.
    let rules = prometheus.api("/api/v1/rules").await;
    let rules: Vec<_> =
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() >= 10, "{rules:#?}");
    let bad: Vec<_> = rules.iter().filter(|rule| rule["health"] == "err" || rule["state"] == "firing").collect();
    assert!(bad.is_empty(), "{bad:#?}");

    // Every query of the dashboard is one that the server understands.
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(deployed("grafana/roadstead.json")).unwrap()).unwrap();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let filled = query.replace("$__rate_interval", "1m").replace("$namespace", ".*").replace("$trigger", ".*");
            assert!(!filled.contains('$'), "{query}");
            prometheus.query(&filled).await;
            queries += 1;
        }
    }
    assert!(queries >= 20, "{queries}");
}

#[test]
fn the_alerts_are_rules_and_fire_as_they_should() {
    let (rules, tests) = (deployed("prometheus/alerts.yml"), deployed("prometheus/alerts_test.yml"));
    run(promtool(&["check", "rules", rules.to_str().unwrap()]), "");
    run(promtool(&["test", "rules", tests.to_str().unwrap()]), "");
}

/// Not whether its files are there: the token is a secret of who runs it.
#[test]
fn what_the_prometheus_of_compose_is_told_is_a_configuration() {
    let file = deployed("prometheus/prometheus.yml");
    run(promtool(&["check", "config", "--syntax-only", file.to_str().unwrap()]), "");
}

/// The names of metrics in them are checked by `cargo xtask tidy`.
#[test]
fn each_alert_has_a_test_and_words_for_who_is_woken_by_it() {
    let read = |file: &str| fs::read_to_string(deployed(file)).unwrap();
    let (rules, tests) = (read("prometheus/alerts.yml"), read("prometheus/alerts_test.yml"));
    let page = fs::read_to_string(deployed("../docs/alerts.md")).unwrap();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 10);
    let links = rules.matches("runbook_url: ").count();
    assert_eq!(links, alerts.len());
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "alerts_test.yml has no {alert}");
        assert!(page.lines().any(|line| line == format!("## {alert}")), "docs/alerts.md has no {alert}");
        assert!(rules.contains(&format!("docs/alerts.md#{}", alert.to_lowercase())), "{alert} has no link");
    }
}
