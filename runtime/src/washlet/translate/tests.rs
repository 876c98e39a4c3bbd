//! Commands as a scheduler writes them, what the host makes of them, and what it says against them.

use roadstead_config::{PullPolicy, manifest::VolumeSource};
use serde_json::{Value, json};

use super::{super::json::decode, *};

fn translated(workload: &Value) -> Result<WorkloadRequest, String> {
    let workload = decode(workload.to_string().as_bytes(), 1_000_000).unwrap();
    request(workload, &Limits::default()).map_err(|error| error.to_string())
}

/// A workload with one component, and other fields of it.
fn with(fields: &Value) -> Value {
    let mut workload = json!({
        "namespace": "team", "name": "app",
        "witWorld": {"components": [{"name": "one", "image": "ghcr.io/org/one:1"}]},
    });
    for (name, value) in fields.as_object().unwrap() {
        workload[name] = value.clone();
    }
    workload
}

/// The same with other fields of its component.
fn component_with(fields: &Value) -> Value {
    let mut workload = with(&json!({}));
    for (name, value) in fields.as_object().unwrap() {
        workload["witWorld"]["components"][0][name] = value.clone();
    }
    workload
}

#[test]
fn every_field_finds_its_place() {
    let local = json!({
        "memoryLimitMb": 64, "cpuLimit": 10, "config": {"a": "1"}, "environment": {"B": "2"},
        "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true}],
        "allowedHosts": ["*.example"], "allowedIpNameLookups": ["db.example"], "allowedHostLoopbackPorts": [5432],
    });
    let workload = json!({
        "name": "app",
        "service": {"image": "ghcr.io/org/service:1", "maxRestarts": "3"},
        "volumes": [{"name": "data", "hostPath": {"localPath": "/var/data"}}, {"name": "tmp", "emptyDir": {}}],
        "witWorld": {
            "hostInterfaces": [{"namespace": "wasi", "package": "logging", "version": "0.1.0-draft", "interfaces": ["logging"]}],
            "components": [
                {"image": "ghcr.io/org/one:1", "localResources": local, "poolSize": 2, "maxInvocations": 0, "maxConcurrency": -1,
                 "imagePullPolicy": "IMAGE_PULL_POLICY_NEVER",
                 "imagePullSecret": {"username": "anna", "password": "hunter2"}},
                {"name": "two", "image": "ghcr.io/org/two:1", "imagePullSecret": {}},
            ],
        },
    });
    let request = translated(&workload).unwrap();
    assert_eq!((request.id.to_string().as_str(), request.deployment.as_str()), ("default/app", "app"));
    let [one, two] = request.spec.components.as_slice() else { panic!("{:?}", request.spec.components) };
    assert_eq!((one.name.as_str(), two.name.as_str()), ("component-0", "two"));
    assert_eq!((one.pool_size.map(u32::from), one.max_invocations, one.max_concurrency), (Some(2), None, None));
    assert_eq!((one.image_pull_policy, two.image_pull_policy), (PullPolicy::Never, PullPolicy::IfNotPresent));
    let local = &one.local_resources;
    assert_eq!((local.memory_limit_mb.map(u32::from), local.cpu_limit.map(u32::from)), (Some(64), Some(10)));
    assert_eq!((local.config["a"].as_str(), local.environment.config["B"].as_str()), ("1", "2"));
    assert!(local.volume_mounts[0].read_only && local.allowed_hosts.len() == 1);
    assert_eq!(local.allowed_host_loopback_ports, [5432]);
    assert_eq!(request.spec.service.as_ref().unwrap().max_restarts, 3);
    assert_eq!(request.spec.volumes[0].source, VolumeSource::HostPath("/var/data".into()));
    assert_eq!(request.spec.volumes[1].source, VolumeSource::Ephemeral);
    let secrets: Vec<(&str, &str)> = request
        .registry_credentials
        .iter()
        .map(|(component, secret)| (component.as_str(), secret.username()))
        .collect();
    assert_eq!(secrets, [("component-0", "anna")]);
    assert_eq!(one.image_place.to_string(), "workload.witWorld.components[0].image");
    assert_eq!(request.spec.volumes[1].place.to_string(), "workload.volumes[1]");
    assert_eq!(request.trigger, None);
}

#[test]
fn replicas_are_named_after_what_they_are_replicas_of() {
    let deployment = |name: &str, annotations: Value| {
        translated(&with(&json!({"name": name, "annotations": annotations}))).unwrap().deployment.to_string()
    };
    let replica = || json!({REPLICA_ANNOTATION: "1"});
    assert_eq!(deployment("app-5d9f-x7k2p", replica()), "app-5d9f");
    assert_eq!(deployment("app-5d9f-x7k2p", json!({})), "app-5d9f-x7k2p");
    assert_eq!(deployment("app", replica()), "app");
}

#[test]
fn hosts_and_aliases_become_routes() {
    let hosts = |config: Value| {
        let interface =
            json!({"namespace": "wasi", "package": "http", "interfaces": ["incoming-handler"], "config": config});
        let mut workload = with(&json!({}));
        workload["witWorld"]["hostInterfaces"] = json!([interface]);
        translated(&workload).map(|request| {
            request.trigger.map(|trigger| {
                assert!(trigger.is_shared);
                std::iter::once(&trigger.host).chain(&trigger.aliases).map(ToString::to_string).collect::<Vec<_>>()
            })
        })
    };
    assert_eq!(hosts(json!({})), Ok(None));
    assert_eq!(hosts(json!({"host": "a.test"})), Ok(Some(vec!["a.test".into()])));
    let all = hosts(json!({"host": "a.test", "host-aliases": "svc.ns, svc.ns.svc,a.test,"})).unwrap().unwrap();
    assert_eq!(all, ["a.test", "svc.ns", "svc.ns.svc"]);
    assert_eq!(hosts(json!({"host-aliases": "svc.ns"})), Ok(Some(vec!["svc.ns".into()])));
    let error = hosts(json!({"host-aliases": "svc.ns,a b"})).unwrap_err();
    let place = "workload.witWorld.hostInterfaces[0].config[\"host-aliases\"]: found \"a b\", expected a host";
    assert!(error.starts_with(place), "{error}");
    let list: Vec<String> = (0..=HOST_ALIASES_MAX).map(|n| format!("h{n}.test")).collect();
    assert_eq!(hosts(json!({"host-aliases": list[1..].join(",")})).unwrap().unwrap().len(), HOST_ALIASES_MAX);
    assert!(hosts(json!({"host-aliases": list.join(",")})).unwrap_err().contains("more than 64 hosts"));
}

#[test]
fn what_is_wrong_is_said_with_the_field_of_the_command() {
    for (workload, error) in [
        (with(&json!({"name": ""})), "workload.name: found nothing"),
        (with(&json!({"name": "A"})), "workload.name: found \"A\""),
        (with(&json!({"namespace": "a.b"})), "workload.namespace: found \"a.b\""),
        (json!({"name": "app"}), "workload.witWorld.components: found neither components nor a service"),
        (component_with(&json!({"image": ""})), "workload.witWorld.components[0].image: found nothing"),
        (component_with(&json!({"image": "one"})), "workload.witWorld.components[0].image: found \"one\""),
        (
            component_with(&json!({"image": "file:one.wasm"})),
            "workload.witWorld.components[0].image: found \"file:one.wasm\", expected an image in a registry",
        ),
        (
            component_with(&json!({"localResources": {"environment": {"A=B": "1"}}})),
            "workload.witWorld.components[0].localResources.environment[\"A=B\"]: found the name \"A=B\"",
        ),
        (
            component_with(&json!({"localResources": {"allowedHostLoopbackPorts": [70000]}})),
            "workload.witWorld.components[0].localResources.allowedHostLoopbackPorts[0]: found the number 70000",
        ),
        (
            component_with(&json!({"imagePullSecret": {"username": "a:b", "password": "c"}})),
            "workload.witWorld.components[0].imagePullSecret: the user name has a ':'",
        ),
        (
            with(&json!({"volumes": [{"name": "data", "hostPath": {"localPath": "data"}}]})),
            "workload.volumes[0].hostPath.localPath: found \"data\"",
        ),
        (
            with(&json!({"volumes": [{"name": "data"}]})),
            "workload.volumes[0]: found a volume without a source, expected emptyDir: {} or hostPath: {localPath: PATH}",
        ),
        (with(&json!({"service": {}})), "workload.service.image: found nothing"),
    ] {
        let found = translated(&workload).unwrap_err();
        assert!(found.starts_with(error), "{found}");
    }
}

#[test]
fn problems_are_shown_up_to_a_number() {
    let interfaces: Vec<Value> =
        (0..12).map(|_| json!({"namespace": "A", "package": "b", "interfaces": ["c"]})).collect();
    let mut workload = with(&json!({}));
    workload["witWorld"]["hostInterfaces"] = json!(interfaces);
    let found = translated(&workload).unwrap_err();
    assert_eq!(found.matches("expected a WIT name").count(), PROBLEMS_SHOWN_MAX, "{found}");
    assert!(found.ends_with("; and 4 more problems"), "{found}");
}
