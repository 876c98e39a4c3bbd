//! What may go wrong between a host and its scheduler: commands that are wrong, come twice or at once; registries that say
//! nothing; servers that go away, or seem to be there.

use std::{net::TcpListener, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};

use super::fleet::{gateway, options, registry_with, worker};
use crate::harness::{
    eventually,
    fault_proxy::FaultProxy,
    host::Host,
    nats::NatsServer,
    operator::{Operator, START_WAIT, STATUS_WAIT},
};

/// A registry that takes connections and says nothing on them.
struct Silent(TcpListener);

impl Silent {
    fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn image(&self) -> String {
        format!("http://{}/test/silent:1", self.0.local_addr().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_takes_a_minute_delays_nobody() {
    let (server, registry, silent) = (NatsServer::start(), registry_with(&["bare-http"]), Silent::start());
    let operator = Operator::connect(&server.url()).await;
    let host = Host::join(&server, options());
    let id = host.fleet_id();
    operator.knows(id).await;
    let slow = gateway("slow", "slow.test", &silent.image());
    let request = json!({"workloadId": "slow", "workload": slow});
    let starting = operator.command(id, "start", &request, START_WAIT);
    let others = async {
        operator.reaches(id, "slow", "STARTING").await;
        operator.heartbeat(id).await;
        let fast = gateway("fast", "fast.test", &registry.plain("test/bare-http:1"));
        operator.start(id, "fast", &fast).await.is("fast", "RUNNING");
        operator.hears_counts(id, 1, 1).await;
        assert_eq!(host.client("fast.test").get("/").send().await.status, StatusCode::OK);
        operator.status(id, "slow").await.is("slow", "STARTING");
        // Its id and its name are taken, whatever comes of it.
        operator.start(id, "slow", &slow).await.is("slow", "ERROR").says("already exists");
        operator
            .start(id, "another", &slow)
            .await
            .is("another", "ERROR")
            .says("already exists")
            .says("under the id slow");
        // A stop ends the start at once, and both are answered.
        operator.stop(id, "slow").await.is("slow", "STOPPING");
        operator.reaches(id, "slow", "NOT_FOUND").await;
    };
    let (answer, ()) = tokio::join!(starting, others);
    answer.is("slow", "ERROR").says("stopped before it ran");
    operator
        .start(id, "slow", &gateway("slow", "slow.test", &registry.plain("test/bare-http:1")))
        .await
        .is("slow", "RUNNING");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_starts_at_once_one_wins() {
    let (server, registry) = (NatsServer::start(), registry_with(&["bare-http"]));
    let operator = Operator::connect(&server.url()).await;
    let host = Host::join(&server, options());
    let id = host.fleet_id();
    operator.knows(id).await;
    let workload = gateway("app", "app.test", &registry.plain("test/bare-http:1"));
    for _ in 0..5 {
        let both = futures::future::join_all((0..4).map(|_| operator.start(id, "a", &workload))).await;
        let running = both.iter().filter(|status| status.is("a", &status.state).state == "RUNNING").count();
        assert_eq!(running, 1, "{both:?}");
        for refused in both.iter().filter(|status| status.state != "RUNNING") {
            refused.is("a", "ERROR").says("already exists");
        }
        // A replayed command changes nothing either.
        operator.start(id, "a", &workload).await.is("a", "ERROR").says("already exists");
        operator.status(id, "a").await.is("a", "RUNNING");
        let stops = futures::future::join_all((0..3).map(|_| operator.stop(id, "a"))).await;
        assert!(stops.iter().any(|status| status.state == "STOPPING"), "{stops:?}");
        assert!(stops.iter().all(|status| ["STOPPING", "NOT_FOUND"].contains(&status.state.as_str())), "{stops:?}");
        operator.reaches(id, "a", "NOT_FOUND").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_leaves_its_id_free_and_what_cannot_be_linked_stays() {
    let (server, registry) = (NatsServer::start(), registry_with(&["bare-http", "undeclared"]));
    let operator = Operator::connect(&server.url()).await;
    let host = Host::join(&server, options());
    let id = host.fleet_id();
    operator.knows(id).await;
    let missing = gateway("app", "app.test", &registry.plain("test/missing:1"));
    operator
        .start(id, "a", &missing)
        .await
        .is("a", "ERROR")
        .says("workload.witWorld.components[0].image")
        .says("test/missing:1");
    operator.status(id, "a").await.is("a", "NOT_FOUND");
    operator.start(id, "a", &gateway("app", "app.test", &registry.plain("test/bare-http:1"))).await.is("a", "RUNNING");

    let unlinked = gateway("other", "other.test", &registry.plain("test/undeclared:1"));
    let said = operator.start(id, "b", &unlinked).await;
    said.is("b", "ERROR").says("workload.witWorld.components[0]").says("does not offer acme:widgets");
    operator.status(id, "b").await.is("b", "ERROR").says(&said.message);
    operator.start(id, "b", &unlinked).await.is("b", "ERROR").says("already exists");
    operator.stop(id, "b").await.is("b", "STOPPING");
    operator.reaches(id, "b", "NOT_FOUND").await;

    // What this version does not run is said, not left out.
    let mut with_service = gateway("third", "third.test", &registry.plain("test/bare-http:1"));
    with_service["service"] = json!({"image": registry.plain("test/bare-http:1")});
    operator.start(id, "c", &with_service).await.is("c", "ERROR").says("workload.service: service cannot be used");
    let mut with_volume = gateway("fourth", "fourth.test", &registry.plain("test/bare-http:1"));
    with_volume["volumes"] = json!([{"name": "scratch", "emptyDir": {}}]);
    operator.start(id, "d", &with_volume).await.is("d", "ERROR").says("workload.volumes[0]: volumes cannot be used");
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_commands_are_answered_counted_and_logged() {
    let server = NatsServer::start();
    let operator = Operator::connect(&server.url()).await;
    let options = options().flag("--limit", "control_bytes_max=10000").flag("--limit", "control_commands_max=1");
    let host = Host::join(&server, options);
    let id = host.fleet_id();
    operator.knows(id).await;
    let deep = "[".repeat(5_000);
    let large = json!({"workloadId": "a", "workload": {"name": "x".repeat(10_000)}}).to_string();
    let cases: [(&str, &str, &str, &str); 10] = [
        ("start", "", "", "no JSON"),
        ("start", "\u{0}\u{ff}", "", "no JSON"),
        ("start", &deep, "", "no JSON"),
        ("start", &large, "", "10000 (control_bytes_max)"),
        ("start", "{}", "", "workloadId: expected text of 1 to 256 bytes"),
        ("start", r#"{"workloadId":"a"}"#, "a", "workload: found nothing"),
        ("start", r#"{"workload_id":"a","workload":{"colour":1},"x":1}"#, "a", "workload.colour"),
        ("stop", r#"{"workloadId":"a","force":true}"#, "a", "unknown field force"),
        ("status", r#"{"workloadId":"a\nb"}"#, "", "control characters"),
        ("status", r#"{"workloadId":7}"#, "", "workloadId: found 7, expected text"),
    ];
    for (command, payload, own, reason) in cases {
        let answer = operator.send(id, command, payload.as_bytes().to_vec(), STATUS_WAIT).await;
        answer.is(own, "ERROR").says(reason);
    }
    host.wait_for_metric("roadstead_control_commands_total", &["\"malformed\""], 10.0).await;
    assert!(host.log().contains("a command was not done"));
    operator.status(id, "a").await.is("a", "NOT_FOUND");

    // As many starts at a time as there may be, and no more.
    let silent = Silent::start();
    let started =
        |name: &str| json!({"workloadId": name, "workload": gateway(name, &format!("{name}.test"), &silent.image())});
    let first = started("first");
    let first = operator.command(id, "start", &first, START_WAIT);
    let others = async {
        operator.reaches(id, "first", "STARTING").await;
        let refused = operator.command(id, "start", &started("second"), STATUS_WAIT).await;
        refused.is("second", "ERROR").says("control_commands_max");
        operator.status(id, "second").await.is("second", "NOT_FOUND");
        operator.stop(id, "first").await.is("first", "STOPPING");
    };
    let (first, ()) = tokio::join!(first, others);
    first.is("first", "ERROR");
    host.wait_for_metric("roadstead_control_commands_total", &["\"busy\""], 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_outlives_its_server() {
    let (mut server, registry, silent) = (NatsServer::start(), registry_with(&["bare-http"]), Silent::start());
    let operator = Operator::connect(&server.url()).await;
    let host = Host::join(&server, options());
    let id = host.fleet_id().to_owned();
    operator.knows(&id).await;
    let running = gateway("app", "app.test", &registry.plain("test/bare-http:1"));
    operator.start(&id, "app", &running).await.is("app", "RUNNING");
    // A start is under way when the server goes; nobody waits for its answer any more.
    let slow = json!({"workloadId": "slow", "workload": gateway("slow", "slow.test", &silent.image())});
    let asked = tokio::time::timeout(Duration::from_secs(1), operator.command(&id, "start", &slow, START_WAIT)).await;
    assert!(asked.is_err());
    drop(operator);
    server.kill();
    eventually("/readyz tells of both connections", async || {
        let text = host.admin("/readyz").await.text();
        (text.contains("scheduler") && text.contains("NATS")).then_some(())
    })
    .await;
    host.wait_for_metric("roadstead_scheduler_connected", &[], 0.0).await;
    assert_eq!(host.client("app.test").get("/").send().await.status, StatusCode::OK);
    assert_eq!(host.workload("slow").await["state"], "WORKLOAD_STATE_STARTING");

    server.start_again();
    // Another operator, which knows the host by its heartbeat: at once, not at the next regular one.
    let operator = Operator::connect(&server.url()).await;
    operator.hears(&id, "a heartbeat of the same host", |_| true).await;
    host.wait_for_metric("roadstead_scheduler_connected", &[], 1.0).await;
    operator.status(&id, "app").await.is("app", "RUNNING");
    operator.status(&id, "slow").await.is("slow", "STARTING");
    operator.start(&id, "app", &running).await.is("app", "ERROR").says("already exists");
    operator.stop(&id, "slow").await.is("slow", "STOPPING");
    operator.reaches(&id, "slow", "NOT_FOUND").await;
    operator.stop(&id, "app").await.is("app", "STOPPING");
    operator.reaches(&id, "app", "NOT_FOUND").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedulers_connection_alone_is_lost() {
    let (server, registry) = (NatsServer::start(), registry_with(&["probe-gateway", "probe-worker"]));
    let proxy = FaultProxy::start(server.port()).await;
    let operator = Operator::connect(&server.url()).await;
    let host = Host::join(&server, options().flag("--scheduler-nats-url", &format!("nats://{}", proxy.address())));
    let id = host.fleet_id();
    operator.knows(id).await;
    let images = ["test/probe-gateway:1", "test/probe-worker:1"].map(|name| registry.plain(name));
    operator.start(id, "gateway", &gateway("app", "app.test", &images[0])).await.is("gateway", "RUNNING");
    operator.start(id, "worker", &worker("work", "probe.work", &images[1])).await.is("worker", "RUNNING");
    proxy.partition();
    // The connection seems to be there: signs of life that do not come end it.
    eventually("/readyz tells of the scheduler", async || {
        let ready = host.admin("/readyz").await;
        (ready.text().contains("scheduler")).then(|| assert_eq!(ready.status, StatusCode::OK, "it serves requests"))
    })
    .await;
    let answer = host.client("app.test").post("/request?subject=probe.work").body("echo:hello").send().await;
    assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "hello"));
    proxy.heal();
    proxy.cut();
    let before = operator.heard(id).len();
    eventually("heartbeats again", async || (operator.heard(id).len() > before).then_some(())).await;
    operator.status(id, "gateway").await.is("gateway", "RUNNING");
    assert!(host.metric("roadstead_scheduler_connections_lost_total", &[]).await >= 1.0);
    // Half open: the host finds out by itself and comes back on another connection.
    proxy.go_half_open();
    eventually("an answer on the new connection", async || {
        let asked = json!({"workloadId": "gateway"}).to_string().into_bytes();
        let asked = operator.send(id, "status", asked, Duration::from_secs(20));
        tokio::time::timeout(Duration::from_secs(2), asked).await.ok().map(drop)
    })
    .await;
    operator.stop(id, "gateway").await.is("gateway", "STOPPING");
}

#[tokio::test]
async fn a_host_waits_for_its_scheduler_and_says_for_whom() {
    let mut server = NatsServer::start();
    server.kill();
    let url = server.url();
    let started = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1_500));
        server.start_again();
        server
    });
    let placeholder = NatsServer::start();
    let options = options().flag("--scheduler-nats-url", &url).flag("--data-nats-url", &url);
    let host = Host::join(&placeholder, options);
    let server = started.join().unwrap();
    assert!(host.log().contains("NATS cannot be reached yet; trying again"), "{}", host.log());
    let operator = Operator::connect(&server.url()).await;
    operator.knows(host.fleet_id()).await;
    let answer: Value = operator.heartbeat(host.fleet_id()).await;
    assert_eq!(answer["id"], host.fleet_id());
}
