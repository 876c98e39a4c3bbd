//! Each message with all of its fields, as peers write it and as this host does: both ways, by both names of a field.

use serde_json::{Value, json};

use super::{
    super::json::{JsonError, TEXT_CHARS_MAX, UNKNOWN_SHOWN_MAX, decode, encode},
    *,
};
use roadstead_config::Limits;

fn read<T: super::super::json::Json>(value: &Value) -> Result<T, JsonError> {
    decode(value.to_string().as_bytes(), Limits::default().control_bytes_max)
}

/// The fields by the names of the schema: `memoryLimitMb` as `memory_limit_mb`. Keys of maps have no capitals here.
fn snake(value: &Value) -> Value {
    let name = |name: &str| -> String {
        let lower = |c: char| if c.is_ascii_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.into() };
        name.chars().map(lower).collect()
    };
    match value {
        Value::Object(object) => object.iter().map(|(key, value)| (name(key), snake(value))).collect(),
        Value::Array(items) => items.iter().map(snake).collect(),
        other => other.clone(),
    }
}

/// The same with a null in each place of a message where a field may be.
fn with_nulls(value: &Value, fields: &[&str]) -> Value {
    let mut value = value.clone();
    for field in fields {
        value[*field] = Value::Null;
    }
    value
}

fn golden<T: super::super::json::Json + PartialEq + std::fmt::Debug>(message: &T, json: &Value) {
    assert_eq!(read::<T>(json).as_ref(), Ok(message));
    assert_eq!(read::<T>(&snake(json)).as_ref(), Ok(message));
    let written: Value = serde_json::from_slice(&encode(message)).unwrap();
    assert_eq!(&written, json);
    // Zero values are left out, and are what is read where nothing is.
    assert_eq!(encode(&T::default()), b"{}");
    assert_eq!(read::<T>(&json!({})), Ok(T::default()));
    let fields: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(read::<T>(&with_nulls(&json!({}), &fields)), Ok(T::default()));
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn interface() -> (WitInterface, Value) {
    let message = WitInterface {
        namespace: "wasmcloud".into(),
        package: "messaging".into(),
        version: "0.2.0".into(),
        interfaces: vec!["handler".into(), "consumer".into()],
        config: map(&[("subscriptions", "tasks.a")]),
        name: "tasks".into(),
    };
    let json = json!({
        "namespace": "wasmcloud", "package": "messaging", "version": "0.2.0", "interfaces": ["handler", "consumer"],
        "config": {"subscriptions": "tasks.a"}, "name": "tasks",
    });
    (message, json)
}

fn local_resources() -> (LocalResources, Value) {
    let message = LocalResources {
        memory_limit_mb: 64,
        cpu_limit: 100,
        config: map(&[("a", "1")]),
        environment: map(&[("b", "")]),
        volume_mounts: vec![VolumeMount { name: "data".into(), mount_path: "/data".into(), read_only: true }],
        allowed_hosts: vec!["*.example".into()],
        allowed_ip_name_lookups: vec!["db.example".into()],
        allowed_host_loopback_ports: vec![5432],
    };
    let json = json!({
        "memoryLimitMb": 64, "cpuLimit": 100, "config": {"a": "1"}, "environment": {"b": ""},
        "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true}],
        "allowedHosts": ["*.example"], "allowedIpNameLookups": ["db.example"], "allowedHostLoopbackPorts": [5432],
    });
    (message, json)
}

fn component() -> (Component, Value) {
    let (local, local_json) = local_resources();
    let message = Component {
        name: "one".into(),
        image: "ghcr.io/org/one:1".into(),
        local_resources: Some(local),
        pool_size: 2,
        max_invocations: -1,
        max_concurrency: 4,
        image_pull_secret: Some(ImagePullSecret { username: "anna".into(), password: Secret("hunter2".into()) }),
        image_pull_policy: ImagePullPolicy::Always,
    };
    let json = json!({
        "name": "one", "image": "ghcr.io/org/one:1", "localResources": local_json, "poolSize": 2,
        "maxInvocations": -1, "maxConcurrency": 4,
        "imagePullSecret": {"username": "anna", "password": "hunter2"},
        "imagePullPolicy": "IMAGE_PULL_POLICY_ALWAYS",
    });
    (message, json)
}

fn service() -> (Service, Value) {
    let (local, local_json) = local_resources();
    let message = Service {
        image: "ghcr.io/org/service:1".into(),
        local_resources: Some(local),
        max_restarts: 18_446_744_073_709_551_615,
        image_pull_secret: Some(ImagePullSecret::default()),
        image_pull_policy: ImagePullPolicy::Never,
    };
    let json = json!({
        "image": "ghcr.io/org/service:1", "localResources": local_json, "maxRestarts": "18446744073709551615",
        "imagePullSecret": {}, "imagePullPolicy": "IMAGE_PULL_POLICY_NEVER",
    });
    (message, json)
}

fn volumes() -> (Vec<Volume>, Value) {
    let host_path = Some(HostPathVolume { local_path: "/var/data".into() });
    let messages = vec![
        Volume { name: "data".into(), host_path, empty_dir: None },
        Volume { name: "scratch".into(), host_path: None, empty_dir: Some(EmptyDirVolume {}) },
    ];
    let json = json!([{"name": "data", "hostPath": {"localPath": "/var/data"}}, {"name": "scratch", "emptyDir": {}}]);
    (messages, json)
}

fn workload() -> (Workload, Value) {
    let ((component, component_json), (service, service_json)) = (component(), service());
    let ((interface, interface_json), (volumes, volumes_json)) = (interface(), volumes());
    let message = Workload {
        namespace: "team".into(),
        name: "app-7f9c".into(),
        annotations: map(&[("runtime.wasmcloud.dev/workload-replica-set-generation", "1")]),
        service: Some(service),
        wit_world: Some(WitWorld { components: vec![component], host_interfaces: vec![interface] }),
        volumes,
    };
    let json = json!({
        "namespace": "team", "name": "app-7f9c",
        "annotations": {"runtime.wasmcloud.dev/workload-replica-set-generation": "1"},
        "service": service_json, "volumes": volumes_json,
        "witWorld": {"components": [component_json], "hostInterfaces": [interface_json]},
    });
    (message, json)
}

fn status(state: WorkloadState, name: &str) -> (WorkloadStatus, Value) {
    let message = WorkloadStatus { workload_id: "id-1".into(), workload_state: state, message: "why".into() };
    (message, json!({"workloadId": "id-1", "workloadState": name, "message": "why"}))
}

#[test]
fn parts_of_a_workload() {
    let parts = (interface(), local_resources(), component(), service(), workload());
    golden(&parts.0.0, &parts.0.1);
    golden(&parts.1.0, &parts.1.1);
    golden(&parts.2.0, &parts.2.1);
    golden(&parts.3.0, &parts.3.1);
    golden(&parts.4.0, &parts.4.1);
    let (volumes, json) = volumes();
    for (volume, json) in volumes.into_iter().zip(json.as_array().unwrap()) {
        golden(&volume, json);
    }
    golden(
        &VolumeMount { name: "a".into(), mount_path: "/a".into(), read_only: false },
        &json!({"name": "a", "mountPath": "/a"}),
    );
    golden(&HostPathVolume { local_path: "/a".into() }, &json!({"localPath": "/a"}));
    golden(&EmptyDirVolume {}, &json!({}));
    let secret = ImagePullSecret { username: "anna".into(), password: Secret("hunter2".into()) };
    assert!(!format!("{secret:?}").contains("hunter2"));
    golden(&secret, &json!({"username": "anna", "password": "hunter2"}));
    golden(
        &WitWorld { components: vec![Component::default()], host_interfaces: Vec::new() },
        &json!({"components": [{}]}),
    );
}

#[test]
fn commands_and_their_answers() {
    let (workload, workload_json) = workload();
    golden(
        &WorkloadStartRequest { workload_id: "id-1".into(), workload: Some(workload) },
        &json!({"workloadId": "id-1", "workload": workload_json}),
    );
    golden(&WorkloadStopRequest { workload_id: "id-1".into() }, &json!({"workloadId": "id-1"}));
    golden(&WorkloadStatusRequest { workload_id: "id-1".into() }, &json!({"workloadId": "id-1"}));
    let (status, status_json) = status(WorkloadState::Error, "WORKLOAD_STATE_ERROR");
    let answer = json!({"workloadStatus": status_json});
    golden(&status, &status_json);
    golden(&WorkloadStartResponse { workload_status: Some(status.clone()) }, &answer);
    golden(&WorkloadStopResponse { workload_status: Some(status.clone()) }, &answer);
    golden(&WorkloadStatusResponse { workload_status: Some(status) }, &answer);
}

#[test]
fn a_heartbeat() {
    let ((import, import_json), started) = (interface(), json!("2026-01-31T23:59:59.5Z"));
    let heartbeat = HostHeartbeat {
        id: "h1".into(),
        hostname: "node-1".into(),
        friendly_name: "edge".into(),
        version: "0.1.0".into(),
        labels: map(&[("hostgroup", "default")]),
        started_at: read::<HostHeartbeat>(&json!({"startedAt": started})).unwrap().started_at,
        os_arch: "x86_64".into(),
        os_name: "linux".into(),
        os_kernel: "6.1".into(),
        system_cpu_usage: 12.3,
        system_memory_total: 9_007_199_254_740_993,
        system_memory_free: 1,
        component_count: 3,
        workload_count: 2,
        imports: vec![import.clone()],
        exports: vec![import],
        http_port: 8080,
        environment: "production".into(),
    };
    assert!(heartbeat.started_at.is_some());
    golden(
        &heartbeat,
        &json!({
            "id": "h1", "hostname": "node-1", "friendlyName": "edge", "version": "0.1.0",
            "labels": {"hostgroup": "default"}, "startedAt": started,
            "osArch": "x86_64", "osName": "linux", "osKernel": "6.1", "systemCpuUsage": 12.3,
            "systemMemoryTotal": "9007199254740993", "systemMemoryFree": "1",
            "componentCount": "3", "workloadCount": "2", "imports": [import_json], "exports": [import_json],
            "httpPort": 8080, "environment": "production",
        }),
    );
}

#[test]
fn states_and_policies_by_name_and_by_number() {
    let states = [
        (WorkloadState::Starting, "WORKLOAD_STATE_STARTING"),
        (WorkloadState::Running, "WORKLOAD_STATE_RUNNING"),
        (WorkloadState::Completed, "WORKLOAD_STATE_COMPLETED"),
        (WorkloadState::Stopping, "WORKLOAD_STATE_STOPPING"),
        (WorkloadState::Error, "WORKLOAD_STATE_ERROR"),
        (WorkloadState::NotFound, "WORKLOAD_STATE_NOT_FOUND"),
    ];
    for (number, (state, name)) in (1..).zip(states) {
        let (status, json) = status(state, name);
        golden(&status, &json);
        let by_number = json!({"workloadId": "id-1", "workloadState": number, "message": "why"});
        assert_eq!(read(&by_number), Ok(status));
    }
    for zero in [json!(0), json!("WORKLOAD_STATE_UNSPECIFIED")] {
        assert_eq!(read(&json!({"workloadState": zero})), Ok(WorkloadStatus::default()));
    }
    let policy = |value: Value| read::<Component>(&json!({"imagePullPolicy": value})).map(|c| c.image_pull_policy);
    assert_eq!(policy(json!("IMAGE_PULL_POLICY_IF_NOT_PRESENT")), Ok(ImagePullPolicy::IfNotPresent));
    assert_eq!(policy(json!(3)), Ok(ImagePullPolicy::Never));
    for bad in [json!("Always"), json!(4), json!(-1), json!(true), json!("1")] {
        let error = policy(bad.clone()).unwrap_err().to_string();
        assert!(error.starts_with("imagePullPolicy: found "), "{bad}: {error}");
    }
}

/// Up to `json::UNKNOWN_SHOWN_MAX` of them, and of each name `json::TEXT_CHARS_MAX`.
#[test]
fn what_is_not_known_is_named_with_its_path() {
    let request = json!({
        "workloadId": "a", "extra": 1,
        "workload": {"witWorld": {"components": [{}, {"imagePullSecret": {"token": "x"}}]}, "wit_worlds": {}},
    });
    let error = read::<WorkloadStartRequest>(&request).unwrap_err().to_string();
    let expected = "unknown field extra, workload.wit_worlds, workload.witWorld.components[1].imagePullSecret.token";
    for field in expected.strip_prefix("unknown field ").unwrap().split(", ") {
        assert!(error.contains(field), "{error}");
    }
    let many: serde_json::Map<String, Value> = (0..20).map(|n| (format!("f{n:02}"), json!(1))).collect();
    let error = read::<WorkloadStopRequest>(&many.into()).unwrap_err().to_string();
    let left_out = 20 - UNKNOWN_SHOWN_MAX;
    assert!(error.contains(&format!("f07 and {left_out} more")), "{error}");
    let long = json!({"x".repeat(1_000): 1});
    let error = read::<WorkloadStopRequest>(&long).unwrap_err().to_string();
    assert_eq!(error.matches('x').count(), TEXT_CHARS_MAX, "{error}");
}

#[test]
fn what_is_of_another_type_is_named_with_its_path() {
    for (request, error) in [
        (json!([]), "the message: found a list, expected an object"),
        (json!({"workloadId": 5}), "workloadId: found 5, expected text"),
        (json!({"workload": []}), "workload: found a list, expected an object"),
        (
            json!({"workload": {"witWorld": {"components": [{"poolSize": 2_147_483_648_i64}]}}}),
            "workload.witWorld.components[0].poolSize: found 2147483648, expected a whole number from -2147483648 to \
             2147483647",
        ),
        (json!({"workload": {"annotations": {"a b": 1}}}), "workload.annotations[\"a b\"]: found 1, expected text"),
        (json!({"workload": {"volumes": [null]}}), "workload.volumes[0]: found null, expected an object"),
        (
            json!({"workload": {"witWorld": {"components": [{"imagePullSecret": {"password": 5}}]}}}),
            "workload.witWorld.components[0].imagePullSecret.password: found \"something else\", expected text",
        ),
        (
            json!({"workload_id": "a", "workloadId": "a"}),
            "workloadId is written twice, as workloadId and as workload_id",
        ),
    ] {
        assert_eq!(read::<WorkloadStartRequest>(&request).unwrap_err().to_string(), error);
    }
}

#[test]
fn bytes_that_are_no_message() {
    let read = |bytes: &[u8], max| decode::<WorkloadStopRequest>(bytes, max).unwrap_err().to_string();
    assert!(read(b"", 100).starts_with("no JSON"));
    assert!(read(b"\xff\xfe", 100).starts_with("no JSON"));
    assert!(read(b"{\"workloadId\":\"a\"} {}", 100).starts_with("no JSON"));
    assert!(read("[".repeat(10_000).as_bytes(), 20_000).contains("recursion limit"));
    assert_eq!(read(b"{\"workloadId\":\"a\"}", 17), "18 bytes, where a message may have 17 (control_bytes_max)");
}
