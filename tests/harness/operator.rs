//! A scripted scheduler: it speaks the published protocol in NATS messages and JSON, and knows nothing of our crates.
//! Whatever a host answers is held to the published form before a test sees it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{PATIENCE, eventually};

/// How long an operator waits for the answer to each command (published).
pub const START_WAIT: Duration = Duration::from_secs(60);
pub const STOP_WAIT: Duration = Duration::from_secs(30);
pub const STATUS_WAIT: Duration = Duration::from_secs(5);
pub const HEARTBEAT_WAIT: Duration = Duration::from_secs(5);

const STATES: [&str; 6] = ["STARTING", "RUNNING", "COMPLETED", "STOPPING", "ERROR", "NOT_FOUND"];

pub struct Operator {
    client: async_nats::Client,
    heard: Arc<Mutex<Vec<Value>>>,
    listening: JoinHandle<()>,
}

impl Operator {
    /// Connects and listens for heartbeats.
    pub async fn connect(url: &str) -> Self {
        Self::connect_with(url, async_nats::ConnectOptions::new()).await
    }

    /// The same with TLS or credentials.
    pub async fn connect_with(url: &str, options: async_nats::ConnectOptions) -> Self {
        let client = options.retry_on_initial_connect().request_timeout(None).connect(url).await.unwrap();
        let mut heartbeats = client.subscribe("runtime.operator.heartbeat.*").await.unwrap();
        client.flush().await.unwrap();
        let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
        let list = heard.clone();
        let listening = tokio::spawn(async move {
            while let Some(message) = heartbeats.next().await {
                let heartbeat: Value = serde_json::from_slice(&message.payload).unwrap();
                check_heartbeat(&heartbeat);
                assert_eq!(message.subject.rsplit('.').next(), heartbeat["id"].as_str());
                list.lock().unwrap().push(heartbeat);
            }
        });
        Self { client, heard, listening }
    }

    /// All heartbeats of a host so far.
    pub fn heard(&self, host: &str) -> Vec<Value> {
        assert!(!self.listening.is_finished(), "a heartbeat did not have the published form");
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|heartbeat| heartbeat["id"] == host).cloned().collect()
    }

    /// Waits for a heartbeat of which something holds.
    pub async fn hears(&self, host: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || self.heard(host).into_iter().rev().find(|heartbeat| wanted(heartbeat))).await
    }

    /// Waits until a host listens for commands: it was heard, or answers.
    pub async fn knows(&self, host: &str) {
        eventually("a host that listens", async || {
            (!self.heard(host).is_empty() || self.is_heard_by(host).await).then_some(())
        })
        .await;
    }

    /// Waits until the latest heartbeat tells of so many workloads and components.
    pub async fn hears_counts(&self, host: &str, workloads: u64, components: u64) {
        let count = |heartbeat: &Value, field: &str| {
            heartbeat.get(field).map_or(0, |count| count.as_str().unwrap().parse::<u64>().unwrap())
        };
        eventually(&format!("a heartbeat of {workloads} workloads, {components} components"), async || {
            let last = self.heard(host).pop()?;
            let counts = (count(&last, "workloadCount"), count(&last, "componentCount"));
            (counts == (workloads, components)).then_some(())
        })
        .await;
    }

    /// Asks for a heartbeat.
    pub async fn heartbeat(&self, host: &str) -> Value {
        let answer = self.ask(&format!("runtime.host.{host}.heartbeat"), b"{}".to_vec(), HEARTBEAT_WAIT).await;
        check_heartbeat(&answer);
        answer
    }

    pub async fn start(&self, host: &str, id: &str, workload: &Value) -> Status {
        self.command(host, "start", &json!({"workloadId": id, "workload": workload}), START_WAIT).await
    }

    pub async fn stop(&self, host: &str, id: &str) -> Status {
        self.command(host, "stop", &json!({"workloadId": id}), STOP_WAIT).await
    }

    pub async fn status(&self, host: &str, id: &str) -> Status {
        self.command(host, "status", &json!({"workloadId": id}), STATUS_WAIT).await
    }

    /// Waits until a workload is in a state.
    pub async fn reaches(&self, host: &str, id: &str, state: &str) -> Status {
        eventually(&format!("{id} is {state}"), async || {
            let status = self.status(host, id).await;
            (status.state == state).then_some(status)
        })
        .await
    }

    /// Sends a command as it is written.
    pub async fn command(&self, host: &str, command: &str, payload: &Value, wait: Duration) -> Status {
        self.send(host, command, payload.to_string().into_bytes(), wait).await
    }

    /// Sends whatever bytes as a command.
    pub async fn send(&self, host: &str, command: &str, payload: Vec<u8>, wait: Duration) -> Status {
        Status::read(&self.ask(&format!("runtime.host.{host}.workload.{command}"), payload, wait).await)
    }

    /// Whether anybody listens for a host's commands.
    pub async fn is_heard_by(&self, host: &str) -> bool {
        self.try_command(host, "status", &json!({"workloadId": "nobody"})).await.is_some()
    }

    /// The answer to a command, unless nobody is there to give one.
    pub async fn try_command(&self, host: &str, command: &str, payload: &Value) -> Option<Status> {
        let subject = format!("runtime.host.{host}.workload.{command}");
        let asked = self.client.request(subject, payload.to_string().into());
        let answer =
            tokio::time::timeout(PATIENCE, asked).await.expect("neither an answer nor a word that nobody is there");
        match answer {
            Ok(answer) => Some(Status::read(&serde_json::from_slice(&answer.payload).unwrap())),
            Err(error) => {
                assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders, "{error}");
                None
            }
        }
    }

    async fn ask(&self, subject: &str, payload: Vec<u8>, wait: Duration) -> Value {
        let answer = tokio::time::timeout(wait, self.client.request(subject.to_owned(), payload.into())).await;
        let answer = answer.unwrap_or_else(|_| panic!("no answer on {subject} within {wait:?}"));
        let answer = answer.unwrap_or_else(|error| panic!("{subject}: {error}"));
        assert!(answer.headers.is_none(), "replies have no headers");
        serde_json::from_slice(&answer.payload).unwrap()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// `workloadStatus` of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub id: String,
    /// Without `WORKLOAD_STATE_`.
    pub state: String,
    pub message: String,
}

impl Status {
    /// Reads a reply of the published form; anything else fails the test.
    fn read(reply: &Value) -> Self {
        only_fields(reply, &["workloadStatus"]);
        let status = &reply["workloadStatus"];
        only_fields(status, &["workloadId", "workloadState", "message"]);
        let text = |field: &str| match status.get(field) {
            // Zero values are left out.
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            None => String::new(),
            Some(other) => panic!("{field} is {other}"),
        };
        let state = text("workloadState");
        let state = state.strip_prefix("WORKLOAD_STATE_").unwrap_or_else(|| panic!("{reply}"));
        assert!(STATES.contains(&state), "{reply}");
        Self { id: text("workloadId"), state: state.to_owned(), message: text("message") }
    }

    /// Fails the test unless the status is of this id in this state.
    pub fn is(&self, id: &str, state: &str) -> &Self {
        assert_eq!((self.id.as_str(), self.state.as_str()), (id, state), "{self:?}");
        self
    }

    /// Fails the test unless the message has this in it.
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.message.contains(text), "{self:?} does not say {text:?}");
        self
    }
}

fn only_fields(object: &Value, known: &[&str]) {
    let fields = object.as_object().unwrap_or_else(|| panic!("{object} is no object"));
    let unknown: Vec<&String> = fields.keys().filter(|field| !known.contains(&field.as_str())).collect();
    assert!(unknown.is_empty(), "peers refuse the fields {unknown:?} of {object}");
    for (field, value) in fields {
        let zero = match value {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
        };
        assert!(!zero, "{field} is zero and must be left out of {object}");
    }
}

fn check_heartbeat(heartbeat: &Value) {
    let texts =
        ["id", "hostname", "friendlyName", "version", "startedAt", "osArch", "osName", "osKernel", "environment"];
    let integers = ["systemMemoryTotal", "systemMemoryFree", "componentCount", "workloadCount"];
    let others = ["labels", "systemCpuUsage", "imports", "exports", "httpPort"];
    only_fields(heartbeat, &[&texts[..], &integers, &others].concat());
    for field in texts.iter().filter_map(|field| heartbeat.get(*field)) {
        assert!(field.is_string(), "{heartbeat}");
    }
    for field in integers.iter().filter_map(|field| heartbeat.get(*field)) {
        // 64 bits are text.
        assert!(field.as_str().is_some_and(|text| text.parse::<u64>().is_ok()), "{heartbeat}");
    }
    let cpu = heartbeat.get("systemCpuUsage").map_or(0.0, |cpu| cpu.as_f64().unwrap());
    assert!((0.0..=100.0).contains(&cpu), "{heartbeat}");
    for list in ["imports", "exports"] {
        for interface in heartbeat.get(list).iter().flat_map(|list| list.as_array().unwrap()) {
            only_fields(interface, &["namespace", "package", "version", "interfaces", "config", "name"]);
            assert!(interface["interfaces"].as_array().is_some_and(|names| names.iter().all(Value::is_string)));
        }
    }
}
