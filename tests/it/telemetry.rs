//! Spans of calls as a collector receives them, and what components tell of themselves by `wasi:otel`.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use http::StatusCode;
use roadstead_telemetry::proto::{metrics::v1::metric::Data, resource::v1::Resource, trace::v1::Span};
use tokio::net::TcpListener;

use super::egress;
use crate::harness::{
    collector::{Collector, attribute},
    eventually,
    host::{Host, Options},
    manifest::{trigger, worker},
    nats::NatsServer,
    stores::Stores,
    upstream::Upstream,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn gateway() -> String {
    trigger("gateway", "app.test", "probe-gateway").yaml()
}

fn probe() -> String {
    "\
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata: {name: probe, namespace: a}
spec:
  ingress: {host: a.test}
  template:
    spec:
      hostInterfaces:
        - {namespace: wasi, package: otel, version: 0.2.0-rc.2, interfaces: [types, tracing, logs, metrics]}
      components:
        - name: probe-otel
          image: file:probe-otel.wasm
---
"
    .to_owned()
}

/// The trace that the host's `number`th request belonged to, as its access log names it.
async fn trace_of(host: &Host, number: usize) -> String {
    eventually("a line of the access log", async || {
        let log = host.log();
        let line = log.lines().filter(|line| line.contains("roadstead::access")).nth(number - 1)?;
        let (_, rest) = line.split_once("trace_id")?;
        let digits = rest.chars().skip_while(|c| !c.is_ascii_hexdigit()).take_while(char::is_ascii_hexdigit);
        Some(digits.collect::<String>())
    })
    .await
}

/// A span by its name; there must be one.
fn named<'s>(spans: &'s [(Span, Resource)], name: &str) -> &'s (Span, Resource) {
    let mut found = spans.iter().filter(|(span, _)| span.name == name);
    let one = found.next().unwrap_or_else(|| panic!("no {name:?} among {:?}", names(spans)));
    assert!(found.next().is_none(), "{name:?} twice among {:?}", names(spans));
    one
}

fn names(spans: &[(Span, Resource)]) -> Vec<&str> {
    spans.iter().map(|(span, _)| span.name.as_str()).collect()
}

/// Each span's parent by name; `-` for the first of the trace.
fn tree(spans: &[(Span, Resource)]) -> BTreeMap<&str, &str> {
    let name_of = |id: &[u8]| {
        let parent = spans.iter().find(|(span, _)| span.span_id == id);
        parent.map_or("somewhere else", |(span, _)| span.name.as_str())
    };
    let parent = |span: &Span| {
        if span.parent_span_id.is_empty() { "-".to_owned() } else { name_of(&span.parent_span_id).to_owned() }
    };
    spans.iter().map(|(span, _)| (span.name.as_str(), &*parent(span).leak())).collect()
}

fn value(span: &Span, name: &str) -> String {
    attribute(&span.attributes, name).unwrap_or_else(|| panic!("no {name} in {span:?}"))
}

/// The spans of a request through a gateway and a worker, each with its parent.
const PAIR: [(&str, &str); 10] = [
    ("POST gateway", "-"),
    ("route", "POST gateway"),
    ("admit", "POST gateway"),
    ("call probe-gateway", "POST gateway"),
    ("start instance", "call probe-gateway"),
    ("send probe.work", "call probe-gateway"),
    ("process probe.work", "send probe.work"),
    ("call probe-worker", "process probe.work"),
    ("wait for instance", "call probe-worker"),
    // What the worker says goes back as a message of its own.
    ("send reply", "call probe-worker"),
];

#[tokio::test]
async fn one_trace_leads_from_the_ingress_to_a_worker_of_another_host() {
    let collector = Collector::start().await;
    let server = NatsServer::start();
    let options = |name: &str| {
        let options = collector.tell(Options::default().nats(&server));
        options.flag("--otlp-service-name", name).flag("--otlp-resource-attributes", "zone=a%20b")
    };
    let host = Host::start_with(&gateway(), options("front"));
    let _other = Host::start_with(&worker("work", "probe.work", &["poolSize: 1"]), options("back"));
    let asked = host.client("app.test").post("/request?subject=probe.work").body("echo:hi").send().await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.text());
    let spans = collector.whole_trace(&trace_of(&host, 1).await, PAIR.len()).await;
    assert_eq!(tree(&spans), BTreeMap::from(PAIR));

    let (first, resource) = named(&spans, "POST gateway");
    assert_eq!(attribute(&resource.attributes, "service.name").unwrap(), "front");
    assert_eq!(attribute(&resource.attributes, "zone").unwrap(), "a b");
    assert_eq!(first.kind, 2, "a server's");
    for (name, wanted) in [
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("url.path", "/request"),
        ("http.route", "/"),
        ("url.scheme", "http"),
        ("server.address", "app.test"),
        ("network.protocol.version", "1.1"),
        ("roadstead.namespace", "default"),
        ("roadstead.trigger", "gateway"),
    ] {
        assert_eq!(value(first, name), wanted, "{name}");
    }
    // What may be a secret is in no span.
    assert!(!format!("{spans:?}").contains("subject="));
    let (process, resource) = named(&spans, "process probe.work");
    assert_eq!(attribute(&resource.attributes, "service.name").unwrap(), "back");
    assert_eq!((process.kind, value(process, "messaging.destination.name").as_str()), (5, "probe.work"));
    let (run, _) = named(&spans, "call probe-worker");
    assert_eq!(
        (value(run, "roadstead.instance").as_str(), value(run, "roadstead.workload").as_str()),
        ("pooled", "work")
    );
    for (span, _) in &spans {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
        assert!(first.start_time_unix_nano <= span.start_time_unix_nano, "{span:?}");
    }
}

#[tokio::test]
async fn what_fails_says_so_in_its_span() {
    let collector = Collector::start().await;
    let manifest = gateway() + &worker("work", "probe.work", &["poolSize: 1"]);
    let host = Host::start_with(&manifest, collector.tell(Options::default()));
    let failed = host.client("app.test").get("/request?subject=nobody.there").send().await;
    assert_ne!(failed.status, StatusCode::OK);
    let spans = collector.whole_trace(&trace_of(&host, 1).await, 6).await;
    let (send, _) = named(&spans, "send nobody.there");
    assert_eq!((send.status.as_ref().unwrap().code, value(send, "error.type").as_str()), (2, "no-responders"));

    let failed = host.client("app.test").get("/trap").send().await;
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    let spans = collector.whole_trace(&trace_of(&host, 2).await, 5).await;
    let (call, _) = named(&spans, "call probe-gateway");
    assert_eq!((call.status.as_ref().unwrap().code, value(call, "error.type").as_str()), (2, "trap"));
    let (first, _) = named(&spans, "GET gateway");
    assert_eq!((first.status.as_ref().unwrap().code, value(first, "http.response.status_code").as_str()), (2, "502"));
}

#[tokio::test]
async fn a_call_has_so_many_spans_and_whom_it_asks_beyond_them_has_none() {
    let collector = Collector::start().await;
    let manifest = gateway() + &worker("work", "probe.work", &["poolSize: 1"]);
    let host = Host::start_with(&manifest, collector.tell(Options::default()).flag("--limit", "call_spans_max=1"));
    let asked = host.client("app.test").post("/request?subject=probe.work").body("echo:hi").send().await;
    assert_eq!(asked.status, StatusCode::OK, "{}", asked.text());
    let spans = collector.whole_trace(&trace_of(&host, 1).await, 5).await;
    assert_eq!(
        names(&spans).into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from(["POST gateway", "route", "admit", "call probe-gateway", "start instance"])
    );
    assert_eq!(value(&named(&spans, "call probe-gateway").0, "roadstead.spans_left_out"), "1");
}

#[tokio::test]
async fn a_trusted_proxy_decides_over_sampling_and_others_do_not() {
    let collector = Collector::start_http().await;
    let manifest = gateway();
    let seldom = || collector.tell(Options::default()).flag("--trace-sampling", "0");
    let traced = |flags: &str| format!("00-{TRACE}-{PARENT}-{flags}");
    let host = Host::start_with(&manifest, seldom().flag("--trusted-proxies", "127.0.0.1/32"));
    let client = host.client("app.test");
    for flags in ["00", "01"] {
        let answer = client.get("/headers").header("traceparent", &traced(flags)).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }
    let spans = collector.whole_trace(TRACE, 5).await;
    assert_eq!(tree(&spans)["GET gateway"], "somewhere else");
    assert_eq!(hex::encode(&named(&spans, "GET gateway").0.parent_span_id), PARENT);

    // Without such a proxy a client is not believed.
    let host = Host::start_with(&manifest, collector.tell(Options::default()));
    host.client("app.test").get("/headers").header("traceparent", &traced("01")).send().await;
    let id = trace_of(&host, 1).await;
    assert_ne!(id, TRACE);
    collector.whole_trace(&id, 5).await;
    assert_eq!(collector.trace(TRACE).len(), 5);
}

#[tokio::test]
async fn a_collector_that_is_gone_or_silent_costs_no_request_anything() {
    // It takes connections and says nothing, ever.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (address, protocol) in [(silent.local_addr().unwrap(), "grpc"), (gone, "grpc"), (gone, "http/protobuf")] {
        let options = Options::default().flag("--otlp-endpoint", &format!("http://{address}"));
        let options = options.flag("--otlp-protocol", protocol).flag("--otlp-delay", "1").flag("--otlp-timeout", "100");
        let host = Host::start_with(&gateway(), options);
        let client = host.client("app.test");
        // More spans than there is room for, if the sampling let them through.
        for _ in 0..300 {
            assert_eq!(client.get("/headers").send().await.status, StatusCode::OK);
        }
        eventually("the spans are given up", async || {
            (host.metric("roadstead_telemetry_exports_total", &["spans", "failed"]).await >= 1.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_components_spans_join_the_trace_of_its_call() {
    let collector = Collector::start().await;
    let host = Host::start_with(&probe(), collector.tell(Options::default()));
    let client = host.client("a.test");
    let outer = client.get("/span").send().await.text();
    let id = trace_of(&host, 1).await;
    assert!(outer.starts_with(&id) && outer.contains(" true "), "{outer}");
    let spans = collector.whole_trace(&id, 6).await;
    assert_eq!(tree(&spans)["of guest"], "call probe-otel");
    let (span, resource) = named(&spans, "of guest");
    assert_eq!((span.kind, span.events.len(), span.links.len()), (3, 1, 1));
    assert_eq!(
        (span.start_time_unix_nano, span.end_time_unix_nano),
        (1_700_000_000_000_000_001, 1_700_000_001_000_000_002)
    );
    assert_eq!(
        (value(span, "text"), value(span, "number"), value(span, "broken")),
        ("a b".into(), "7".into(), "{".into())
    );
    assert_eq!(attribute(&span.links[0].attributes, "l").unwrap(), "[1,a]");
    let status = span.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "it failed"));
    assert_eq!((span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count), (1, 2, 3));
    for (name, wanted) in [
        ("service.name", "probe"),
        ("service.namespace", "a"),
        ("roadstead.workload", "probe"),
        ("roadstead.component", "probe-otel"),
    ] {
        assert_eq!(attribute(&resource.attributes, name).unwrap(), wanted, "{name}");
    }
    let contexts = client.get("/contexts").send().await.text();
    let [outer, before, during] = contexts.lines().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(outer, before);
    assert!(during.contains("00000000000000a1"), "{contexts}");
    // What is not sampled, or has no id, goes nowhere, and is counted.
    client.get("/span?sampled=no").send().await;
    client.get("/span?span=xyz").send().await;
    host.wait_for_metric("roadstead_otel_items_total", &["spans", "not-sampled"], 1.0).await;
    host.wait_for_metric("roadstead_otel_items_total", &["spans", "malformed"], 1.0).await;
}

#[tokio::test]
async fn a_components_logs_and_metrics_are_sent_under_its_own_name() {
    let collector = Collector::start().await;
    let headers = Options::default().flag("--otlp-headers", "authorization=Bearer%20key-of-the-collector");
    let host = Host::start_with(&probe(), collector.tell(headers));
    let client = host.client("a.test");
    assert_eq!(client.get("/log?body=%7B%22b%22%3A%5Btrue%5D%7D").send().await.status, StatusCode::OK);
    let id = trace_of(&host, 1).await;
    assert_eq!(client.get("/metrics").send().await.status, StatusCode::OK);
    eventually("logs and metrics have come", async || {
        let kept = collector.kept();
        (!kept.logs.is_empty() && !kept.metrics.is_empty()).then_some(())
    })
    .await;
    let kept = collector.kept();
    let resource = kept.logs[0].resource.as_ref().unwrap();
    // A component names itself, but not its tenant.
    for (name, wanted) in [("service.name", "chosen"), ("service.namespace", "a"), ("roadstead.namespace", "a")] {
        assert_eq!(attribute(&resource.attributes, name).unwrap(), wanted, "{name}");
    }
    let record = &kept.logs[0].scope_logs[0].log_records[0];
    assert_eq!(
        (record.severity_number, record.severity_text.as_str(), record.event_name.as_str()),
        (13, "WARN", "happened")
    );
    assert_eq!(hex::encode(&record.trace_id), id);
    assert_eq!(attribute(&record.attributes, "k").unwrap(), "{a:1.5}");
    assert!(format!("{:?}", record.body).contains("BoolValue(true)"), "{:?}", record.body);

    let scope = &kept.metrics[0].scope_metrics[0];
    assert_eq!(scope.scope.as_ref().unwrap().name, "probe");
    let of = |name: &str| scope.metrics.iter().find(|metric| metric.name == name).unwrap().data.clone().unwrap();
    let (Data::Gauge(gauge), Data::Sum(sum)) = (of("gauge"), of("sum")) else { panic!("{scope:?}") };
    assert_eq!(format!("{:?}", gauge.data_points[0].value), "Some(AsDouble(21.5))");
    assert_eq!(gauge.data_points[0].exemplars.len(), 1);
    assert_eq!(
        (format!("{:?}", sum.data_points[0].value), sum.is_monotonic, sum.aggregation_temporality),
        ("Some(AsInt(3))".into(), true, 2)
    );
    let (Data::Histogram(histogram), Data::ExponentialHistogram(exponential)) = (of("histogram"), of("exponential"))
    else {
        panic!("{scope:?}")
    };
    assert_eq!(
        (histogram.data_points[0].bucket_counts.as_slice(), histogram.data_points[0].sum),
        ([1, 1, 1].as_slice(), Some(8.0))
    );
    assert_eq!((exponential.data_points[0].scale, exponential.data_points[0].sum), (-2, Some(-4.0)));
    assert!(kept.authorizations.iter().all(|given| given.as_deref() == Some("Bearer key-of-the-collector")));
    assert!(!host.log().contains("key-of-the-collector"));
}

#[tokio::test]
async fn a_call_tells_so_much_and_no_more() {
    let collector = Collector::start().await;
    let limits = [("--limit", "otel_items_per_call_max=5"), ("--limit", "otel_bytes_per_call_max=20000")];
    let options =
        limits.into_iter().fold(collector.tell(Options::default()), |options, (flag, limit)| options.flag(flag, limit));
    let host = Host::start_with(&probe(), options);
    let client = host.client("a.test");
    let refused = client.get("/metrics?count=6").send().await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text().contains("otel_items_per_call_max"), "{}", refused.text());
    assert_eq!(client.get(&format!("/span?name={}", "x".repeat(30_000))).send().await.status, StatusCode::URI_TOO_LONG);
    assert_eq!(client.get(&format!("/span?count=9&name={}", "x".repeat(5_000))).send().await.status, StatusCode::OK);
    host.wait_for_metric("roadstead_otel_items_total", &["metrics", "taken"], 5.0).await;
    host.wait_for_metric("roadstead_otel_items_total", &["metrics", "over-limit"], 1.0).await;
    host.wait_for_metric("roadstead_otel_items_total", &["spans", "taken"], 3.0).await;
    host.wait_for_metric("roadstead_otel_items_total", &["spans", "over-limit"], 6.0).await;
    // The next call has its own allowance.
    assert_eq!(client.get("/metrics?count=5").send().await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_a_collector_components_tell_nobody() {
    let host = Host::start(&probe());
    let client = host.client("a.test");
    let outer = client.get("/span").send().await;
    assert!(outer.status == StatusCode::OK && outer.text().contains(" false "), "{}", outer.text());
    assert_eq!(client.get("/metrics").send().await.text(), "taken");
    host.wait_for_metric("roadstead_otel_items_total", &["metrics", "no-collector"], 1.0).await;
}

#[tokio::test]
async fn calls_to_stores_are_spans_that_name_nothing_of_the_guests() {
    let collector = Collector::start().await;
    let stores = Stores::in_memory_with(collector.tell(Options::default()));
    stores.say("/keys/set?bucket=own-bucket&key=own-key", "own-value").await;
    let spans = collector.whole_trace(&trace_of(&stores.host, 1).await, 6).await;
    assert_eq!(tree(&spans)["keyvalue set"], "call probe-store");
    let (set, _) = named(&spans, "keyvalue set");
    assert_eq!(set.kind, 3, "a client's");
    assert_eq!((value(set, "db.system.name").as_str(), value(set, "db.operation.name").as_str()), ("memory", "set"));
    let told = format!("{spans:?}");
    for secret in ["own-bucket", "own-key", "own-value"] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[tokio::test]
async fn an_upstream_belongs_below_the_span_of_its_request() {
    let collector = Collector::start().await;
    let upstream = Upstream::plain().await;
    let host = Host::start_with(&egress::gateway("a", &[&upstream]), collector.tell(egress::options()));
    let path = egress::out("/out", "http", &upstream, "/hello%3Fsecret=hunter2");
    let answer = host.client("a.test").get(&path).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let id = trace_of(&host, 1).await;
    let spans = collector.whole_trace(&id, 6).await;
    assert_eq!(tree(&spans)["GET"], "call probe-gateway");
    let (sent, _) = named(&spans, "GET");
    assert_eq!(sent.kind, 3, "a client's");
    for (name, wanted) in [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("server.address", "localhost"),
        ("server.port", &upstream.port().to_string()),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(value(sent, name), wanted, "{name}");
    }
    let got = upstream.requests().pop().unwrap();
    assert_eq!(got.headers["traceparent"].to_str().unwrap(), format!("00-{id}-{}-01", hex::encode(&sent.span_id)));
    assert!(!format!("{spans:?}").contains("hunter2"));
}

#[tokio::test]
async fn what_was_not_let_in_says_where_it_ended() {
    let collector = Collector::start().await;
    let manifest = trigger("gateway", "app.test", "probe-gateway").limits("{bodyBytes: 1}");
    let host = Host::start_with(&manifest.yaml(), collector.tell(Options::default()));
    let client = host.client("app.test");
    assert_eq!(client.post("/headers").body("two").send().await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let spans = collector.whole_trace(&trace_of(&host, 1).await, 3).await;
    assert_eq!(value(&named(&spans, "admit").0, "error.type"), "body-too-large");
    host.client("nobody.test").get("/").send().await;
    let spans = collector.whole_trace(&trace_of(&host, 2).await, 2).await;
    assert_eq!(value(&named(&spans, "route").0, "error.type"), "no-route");
}

#[tokio::test]
async fn baggage_of_a_trusted_proxy_travels_on() {
    const BAGGAGE: &str = "plan=gold,region=sg;ttl=1";
    let server = NatsServer::start();
    let upstream = Upstream::plain().await;
    let manifest = egress::gateway("a", &[&upstream]);
    let ask = async |options: Options| {
        let host = Host::start_with(&manifest, options.nats(&server));
        let client = host.client("a.test");
        let out = egress::out("/out", "http", &upstream, "/hello");
        for path in [out.as_str(), "/request?subject=probe.listener"] {
            client.get(path).header("baggage", "plan=gold").header("baggage", "region=sg;ttl=1").send().await;
        }
        upstream.requests().pop().unwrap().headers.get("baggage").map(|found| found.to_str().unwrap().to_owned())
    };
    let listener = async_nats::connect(server.url()).await.unwrap();
    let mut heard = listener.subscribe("probe.listener").await.unwrap();
    listener.flush().await.unwrap();
    let mut of_message = async || {
        let message = heard.next().await.unwrap();
        message.headers.unwrap().get("baggage").map(|found| found.as_str().to_owned())
    };
    assert_eq!(ask(egress::options()).await.as_deref(), Some(BAGGAGE));
    assert_eq!(of_message().await.as_deref(), Some(BAGGAGE));
    assert_eq!(ask(Options::default().switch("--allow-host-loopback")).await, None);
    assert_eq!(of_message().await, None);
}
