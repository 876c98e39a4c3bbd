//! What an author of manifests sees: the published manifest is read as it stands, and bad ones get exact messages.
//!
//! Only the public interface of the crate is used here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    time::Duration,
};

use roadstead_config::{
    Diagnostic, HostPattern, ImageReference, Limits, ManifestSet, PathMatch, PullPolicy, SourceFile, load,
    manifest::{DeployPolicy, Document, HttpTrigger, RequestLimits, VolumeSource, WorkloadDeployment},
};

#[path = "manifests/hostile.rs"]
mod hostile;
#[path = "manifests/sets.rs"]
mod sets;

const PUBLISHED: &str = include_str!("data/published-two-component.yaml");
const BAD: &str = include_str!("data/bad-manifests.txt");

fn file(name: &str, text: impl Into<Vec<u8>>) -> SourceFile {
    SourceFile { name: name.into(), bytes: text.into() }
}

fn read(text: &str) -> Result<ManifestSet, Vec<Diagnostic>> {
    load(&[file("app.yaml", text)], &Limits::default())
}

fn documents(text: &str) -> Vec<Document> {
    match read(text) {
        Ok(set) => set.documents,
        Err(problems) => panic!("{}", lines(&problems).join("\n")),
    }
}

fn lines(problems: &[Diagnostic]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn published(text: &str) -> (HttpTrigger, WorkloadDeployment) {
    match documents(text).as_slice() {
        [Document::HttpTrigger(trigger), Document::WorkloadDeployment(worker)] => (trigger.clone(), worker.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_published_manifest_is_read_as_it_stands() {
    let (trigger, worker) = published(PUBLISHED);
    assert_eq!(trigger.metadata.namespace.as_str(), "cosmonic-system");
    assert_eq!(trigger.metadata.name.as_str(), "dv-apigateway");
    assert_eq!(trigger.metadata.place.to_string(), "app.yaml:1:1");
    assert_eq!(trigger.host, "darkvessels.localhost.cosmonic.sh".parse::<HostPattern>().unwrap());
    assert_eq!(trigger.host_place.to_string(), "app.yaml:8:11");
    assert_eq!(trigger.paths, [PathMatch::everything()]);
    assert_eq!(trigger.timeout, Duration::from_secs(300));
    assert_eq!((trigger.replicas, trigger.deploy_policy), (1, DeployPolicy::RollingUpdate));
    let interfaces: Vec<String> = trigger
        .template
        .spec
        .host_interfaces
        .iter()
        .map(|i| format!("{}/{}@{}", i.package, i.interfaces.join(","), i.version.as_ref().unwrap()))
        .collect();
    assert_eq!(interfaces, ["wasi:logging/logging@0.1.0-draft", "wasmcloud:messaging/consumer,types@0.2.0"]);
    let [gateway] = trigger.template.spec.components.as_slice() else { panic!("one component") };
    assert_eq!(gateway.name.as_str(), "api-gateway");
    assert_eq!(gateway.image.to_string(), "ghcr.io/cosmonic-labs/dark-vessels/api-gateway:0.1.0");
    assert_eq!(gateway.image_pull_policy, PullPolicy::IfNotPresent);
    assert_eq!(gateway.pool_size, None);

    assert_eq!(worker.metadata.place.to_string(), "app.yaml:32:1");
    assert_eq!(worker.http_host(), None);
    let [_, webgpu, messaging] = worker.template.spec.host_interfaces.as_slice() else { panic!("three interfaces") };
    assert_eq!(webgpu.version.as_ref().unwrap().to_string(), "0.0.1");
    assert_eq!(messaging.config.config["subscriptions"], "tasks.sar-processor");
    assert_eq!(worker.template.spec.components[0].pool_size, NonZeroU32::new(1));
}

#[test]
fn json_is_read_like_yaml() {
    let json = include_str!("data/published-two-component.json");
    let (trigger, worker) = published(json);
    let (expected_trigger, expected_worker) = published(PUBLISHED);
    assert_eq!((trigger.host, trigger.paths, trigger.timeout), {
        let t = expected_trigger;
        (t.host, t.paths, t.timeout)
    });
    assert_eq!(trigger.template.spec.components[0].image, {
        let mut components = published(PUBLISHED).0.template.spec.components;
        components.remove(0).image
    });
    assert_eq!(worker.metadata.name, expected_worker.metadata.name);
    let config =
        |w: &WorkloadDeployment| w.template.spec.host_interfaces.iter().map(|i| i.config.clone()).collect::<Vec<_>>();
    assert_eq!(config(&worker), config(&expected_worker));
    assert_eq!(worker.template.spec.components[0].pool_size, NonZeroU32::new(1));
}

#[test]
fn every_field_is_read() {
    let [Document::WorkloadDeployment(d)] = &documents(include_str!("data/every-field.yaml"))[..] else {
        panic!("one deployment")
    };
    assert_eq!((d.replicas, d.deploy_policy), (3, DeployPolicy::Recreate));
    assert_eq!(d.kubernetes_service.as_ref().unwrap().as_str(), "worker");
    assert_eq!(d.http_host(), Some("*.every.test".parse().unwrap()));
    assert_eq!(d.metadata.labels["app.kubernetes.io/name"], "every");
    let spec = &d.template.spec;
    assert_eq!(d.template.labels["a"], "b");
    assert_eq!((spec.host_selector["zone"].as_str(), spec.host_selector["gpu"].as_str()), ("a", "true"));
    assert_eq!((spec.host_id.as_deref(), spec.environment.as_deref()), (Some("host-1"), Some("production")));
    assert_eq!(spec.host_interfaces[1].name.as_deref(), Some("cache"));
    assert_eq!(spec.host_interfaces[1].config.secret_from[0].as_str(), "cache-credentials");
    assert_eq!(spec.volumes[0].source, VolumeSource::Ephemeral);
    assert_eq!(spec.volumes[1].source, VolumeSource::HostPath(PathBuf::from("/var/lib/models")));
    let component = &spec.components[0];
    assert_eq!(component.image, ImageReference::File("build/worker.wasm".into()));
    assert_eq!(component.image_place.to_string(), "app.yaml:50:18");
    assert_eq!(component.image_pull_secret.as_ref().unwrap().as_str(), "registry");
    assert_eq!(component.image_pull_policy, PullPolicy::Never);
    assert_eq!((component.pool_size, component.max_invocations), (NonZeroU32::new(4), NonZeroU32::new(100)));
    assert_eq!(component.max_concurrency, None);
    let local = &component.local_resources;
    assert_eq!((local.volume_mounts[0].mount_path.as_str(), local.volume_mounts[0].read_only), ("/models", true));
    assert!(!local.volume_mounts[1].read_only);
    assert_eq!(local.environment.config["MODE"], "12");
    assert_eq!(local.environment.config["TEXT"], "two\nlines\n");
    assert_eq!(local.environment.config_from[0].as_str(), "settings");
    let allowed: Vec<String> = local.allowed_hosts.iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["https://api.test:8443", "*.example.com", "*"]);
    assert_eq!(local.allowed_ip_name_lookups, ["db.test".parse().unwrap()]);
    assert_eq!(local.allowed_host_loopback_ports, [5432]);
    assert_eq!((local.memory_limit_mb, local.cpu_limit), (NonZeroU32::new(64), None));
    let service = spec.service.as_ref().unwrap();
    assert_eq!((service.name.is_none(), service.max_restarts), (true, 5_000_000_000));
}

#[test]
fn a_trigger_has_defaults() {
    let text = "apiVersion: control.cosmonic.io/v1alpha1\nkind: HTTPTrigger\nmetadata: {name: a}\nspec:\n  \
                ingress: {host: A.test.}\n  hostSelector: {zone: a}\n  template: {spec: {components: [{name: c, image: \
                file:c.wasm}]}}\nstatus: {ready: true}\n";
    let [Document::HttpTrigger(trigger)] = &documents(text)[..] else { panic!("one trigger") };
    assert_eq!(trigger.metadata.namespace.as_str(), "default");
    assert_eq!(trigger.host.to_string(), "a.test");
    assert_eq!(trigger.paths, [PathMatch::everything()]);
    assert_eq!(trigger.timeout, Duration::from_secs(300));
    assert_eq!(trigger.template.spec.host_selector["zone"], "a");
}

#[test]
fn a_trigger_has_the_limits_that_are_written() {
    let read = |written: &str| {
        let text = format!(
            "apiVersion: control.cosmonic.io/v1alpha1\nkind: HTTPTrigger\nmetadata: {{name: a}}\nspec:\n  ingress: \
             {{host: a.test}}\n  {written}\n  template: {{spec: {{components: [{{name: c, image: file:c.wasm}}]}}}}\n"
        );
        let [Document::HttpTrigger(trigger)] = &documents(&text)[..] else { panic!("one trigger") };
        trigger.limits
    };
    let limits = |written: &str| {
        let RequestLimits { rate, concurrent, queue, .. } = read(written);
        let rate = rate.map(|rate| (rate.per_second.get(), rate.burst.get()));
        (rate, concurrent.map(NonZeroU32::get), queue.map(|queue| (queue.requests.get(), queue.wait.as_secs())))
    };
    assert_eq!(limits(""), (None, None, None));
    assert_eq!(limits("limits: {}"), (None, None, None));
    assert_eq!(limits("limits: {requestsPerSecond: 10}"), (Some((10, 10)), None, None));
    let rate_and_places = "limits: {requestsPerSecond: 10, burst: 3, concurrentRequests: 2}";
    assert_eq!(limits(rate_and_places), (Some((10, 3)), Some(2), None));
    let queue = |rest: &str| limits(&format!("limits: {{concurrentRequests: 2, queuedRequests: 7{rest}}}"));
    assert_eq!(queue(""), (None, Some(2), Some((7, 30))));
    assert_eq!(queue(", queueTimeout: 5s"), (None, Some(2), Some((7, 5))));
    let RequestLimits { body_bytes, .. } = read("limits: {bodyBytes: 5000000000}");
    assert_eq!(body_bytes.map(NonZeroU64::get), Some(5_000_000_000));
}

#[test]
fn bad_manifests_get_exact_messages() {
    let cases: Vec<&str> = BAD.split("### ").skip(1).collect();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let (name, rest) = case.split_once('\n').unwrap();
        let (yaml, expected) = rest.split_once(">>>\n").unwrap();
        let found = lines(&read(yaml).expect_err(name)).join("\n");
        if found != expected.trim_end() {
            wrong.push(format!("### {name}\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_three_bad_manifests_of_the_documentation_are_true() {
    let page = include_str!("../../docs/manifests.md");
    let (_, examples) = page.split_once("## Three bad manifests").unwrap();
    let blocks: Vec<&str> = examples.split("```").skip(1).step_by(2).collect();
    assert_eq!(blocks.len(), 6);
    for pair in blocks.chunks(2) {
        let yaml = pair[0].strip_prefix("yaml\n").unwrap();
        let found = lines(&read(yaml).unwrap_err()).join("\n");
        assert_eq!(found, pair[1].strip_prefix("text\n").unwrap().trim_end());
    }
}

#[test]
fn a_span_covers_what_is_wrong() {
    let text = "\u{feff}apiVersion: control.cosmonic.io/v1alpha1\nkind: HTTPTrigger\nmetadata: {name: a, \"größe\": \"ü\"}\n\
                spec:\n  ingress: {host: \"ü.test\"}\n  timeout: 300x\n  template: {spec: {components: []}}\n";
    let problems = read(text).unwrap_err();
    let spans: Vec<&str> = problems.iter().map(|problem| &text[problem.span.clone()]).collect();
    assert_eq!(spans, ["\"größe\"", "\"ü.test\"", "300x", "{"]);
}
