//! The files in deploy/ that people start from: right by the schemas and programs of those who read them, and right about
//! what the host has by these names. Nothing of them is started here; no cluster, no Docker and no systemd is at hand.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use roadstead_config::parse_duration;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    host::{Host, Options, roadstead},
    manifest::{trigger, worker},
};

const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/deploy_files/check.py");
const UNITS: [&str; 4] = ["roadstead.service", "roadstead-next.service", "roadstead.socket", "roadstead-tls.socket"];
/// What `systemd-analyze security` may find open at most, of 10; in tenths. It was 3.9 before the filter of system calls.
const EXPOSURE_MAX: &str = "16";

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// What a command prints on its standard output, or everything that it says where it fails.
fn run(command: &mut Command) -> Result<String, String> {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; `cargo xtask setup` installs it"));
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(text.into_owned()) } else { Err(format!("{text}{errors}")) }
}

fn checked(kind: &str, path: &Path) -> Result<Value, String> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/python/bin/python");
    let python = std::env::var("ROADSTEAD_TEST_PYTHON").unwrap_or_else(|_| own.to_owned());
    run(Command::new(python).arg(CHECK).arg(kind).arg(path)).map(|text| serde_json::from_str(&text).unwrap())
}

/// The variables that a command of the program reads: its help names each.
fn assert_known_variables<'a>(command: &str, names: impl IntoIterator<Item = &'a str>) {
    let help = run(roadstead().args([command, "--help"])).unwrap();
    for name in names {
        assert!(help.contains(&format!("[env: {name}")), "`roadstead {command}` does not read {name}");
    }
}

fn of_kind<'a>(objects: &'a Value, kind: &str) -> &'a Value {
    objects.as_array().unwrap().iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn assert_is_hardened(pod: &Value, container: &Value) {
    let security = &container["securityContext"];
    assert_eq!(
        (&security["allowPrivilegeEscalation"], &security["readOnlyRootFilesystem"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    let security = &pod["securityContext"];
    assert_eq!((&security["runAsNonRoot"], &security["runAsUser"]), (&json!(true), &json!(65532)));
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["automountServiceAccountToken"], false);
}

/// What holds for each host group.
fn assert_is_a_host_group(objects: &Value, group: &str) {
    let (deployment, settings) = (of_kind(objects, "Deployment"), &of_kind(objects, "ConfigMap")["data"]);
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_is_hardened(pod, container);
    assert_eq!((&container["args"], &settings["ROADSTEAD_HOST_GROUP"]), (&json!(["host"]), &json!(group)));
    let variables = container["env"].as_array().unwrap().iter().map(|variable| variable["name"].as_str().unwrap());
    let settings_names = settings.as_object().unwrap().keys().map(String::as_str);
    assert_known_variables("host", variables.chain(settings_names));

    let drain = parse_duration(settings["ROADSTEAD_DRAIN_TIMEOUT"].as_str().unwrap()).unwrap().as_secs();
    let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace >= pause + drain + 5, "Kubernetes kills after {grace} s; the host may take {pause} + {drain} s");
    for (probe, command) in [
        ("startupProbe", json!(["roadstead", "health"])),
        ("livenessProbe", json!(["roadstead", "health"])),
        ("readinessProbe", json!(["roadstead", "health", "--ready"])),
    ] {
        assert_eq!(container[probe]["exec"]["command"], command, "{probe}");
    }
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    for kind in ["PodDisruptionBudget", "NetworkPolicy", "Service"] {
        let spec = &of_kind(objects, kind)["spec"];
        let selector = spec.get("podSelector").or(spec.get("selector")).unwrap();
        assert_eq!(selector.get("matchLabels").unwrap_or(selector), labels, "{kind}");
    }
    let rules = of_kind(objects, "NetworkPolicy")["spec"]["ingress"].as_array().unwrap();
    let admin = rules.iter().find(|rule| rule["ports"] == json!([{"port": "admin"}])).unwrap();
    assert!(admin["from"][0]["podSelector"].is_object(), "everybody reaches the admin port: {admin}");
    assert_eq!(
        of_kind(objects, "Service")["spec"]["ports"].as_array().unwrap().len(),
        1,
        "the admin port is not for tenants"
    );
}

#[test]
fn the_objects_for_kubernetes_fit_its_schemas_and_the_host() {
    let edge = checked("kubernetes", &deploy("kubernetes/overlays/edge")).unwrap();
    assert_is_a_host_group(&edge, "edge");
    let gpu = checked("kubernetes", &deploy("kubernetes/overlays/gpu")).unwrap();
    assert_is_a_host_group(&gpu, "gpu");
    let container = &of_kind(&gpu, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"], "1");
    assert_eq!(container["image"], "registry.example/roadstead-gpu:0.1.0");
}

#[test]
fn an_object_that_does_not_fit_is_found() {
    let (folder, base) = (tempfile::tempdir().unwrap(), deploy("kubernetes/base"));
    for entry in fs::read_dir(&base).unwrap().flatten() {
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    assert!(checked("kubernetes", folder.path()).is_ok());
    let file = folder.path().join("deployment.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("readinessProbe", "readynessProbe")).unwrap();
    let told = checked("kubernetes", folder.path()).unwrap_err();
    assert!(told.contains("readynessProbe"), "{told}");
}

#[test]
fn the_example_for_an_operator_is_valid() {
    let told = run(roadstead().arg("validate").arg(deploy("kubernetes/examples")));
    assert!(told.is_ok(), "{told:?}");
}

#[test]
fn the_compose_file_fits_its_schema_and_the_host() {
    let file = deploy("compose.yaml");
    run(Command::new("docker-compose").arg("--file").arg(&file).args(["config", "--quiet"])).unwrap();
    let compose = checked("compose", &file).unwrap();
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        assert_eq!((&service["read_only"], &service["cap_drop"]), (&json!(true), &json!(["ALL"])), "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]), "{name}");
        assert!(service["healthcheck"]["test"].is_array() && service["stop_grace_period"].is_string(), "{name}");
    }
    let host = &services["roadstead"];
    let (given, drained) =
        (host["stop_grace_period"].as_str().unwrap(), roadstead_config::Limits::default().drain_timeout_ms);
    assert!(parse_duration(given).unwrap().as_millis() >= u128::from(drained) + 5_000, "{given}");
    assert_known_variables("run", host["environment"].as_object().unwrap().keys().map(String::as_str));
    assert!(!host["ports"].to_string().contains("9090"), "the admin port is published");
    for volume in services.values().filter_map(|service| service["volumes"].as_array()).flatten() {
        let place = volume.as_str().unwrap().split(':').next().unwrap();
        let path = deploy(place);
        // Components are built, not kept.
        assert!(!place.starts_with('.') || place.ends_with("/components") || path.exists(), "there is no {place}");
    }
}

#[test]
fn a_compose_file_that_does_not_fit_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (file, text) = (folder.path().join("compose.yaml"), fs::read_to_string(deploy("compose.yaml")).unwrap());
    fs::write(&file, text.replace("stop_grace_period: 40s", "stop_grace_periode: 40s")).unwrap();
    assert!(run(Command::new("docker-compose").arg("--file").arg(&file).args(["config", "--quiet"])).is_err());
    assert!(checked("compose", &file).is_err());
}

const FILTERED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/deploy_files/filtered.py");

/// The unit's lines of one setting.
fn settings(unit: &str, name: &str) -> Vec<String> {
    let unit = fs::read_to_string(deploy("systemd").join(unit)).unwrap();
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_host_has_the_system_calls_that_it_needs() {
    let filter = settings("roadstead.service", "SystemCallFilter");
    assert_eq!(filter, settings("roadstead-next.service", "SystemCallFilter"));
    assert_eq!(settings("roadstead.service", "SystemCallErrorNumber"), ["EPERM"]);
    let mut through = vec!["/usr/bin/python3", FILTERED];
    through.extend(filter.iter().map(String::as_str));
    through.push("--");
    // Nothing is compiled yet.
    let cache = tempfile::tempdir().unwrap();
    let options = Options::default().through(&through).flag("--component-cache-dir", cache.path().to_str().unwrap());
    let application =
        trigger("gateway", "probe.test", "probe-gateway").yaml() + &worker("worker", "probe.work", &["poolSize: 1"]);
    let mut host = Host::start_with(&application, options.ready_within(Duration::from_secs(120)));
    let status = fs::read_to_string(format!("/proc/{}/status", host.id())).unwrap();
    assert!(status.contains("Seccomp:\t2"), "{status}");
    let client = host.client("probe.test");
    assert_eq!(client.get("/hello").send().await.text(), "hello from roadstead\n");
    let answer = client.post("/request?subject=probe.work").body("sleep:10").send().await;
    assert_eq!(answer.text(), "slept 10 ms");
    host.signal(Signal::TERM);
    assert!(tokio::task::spawn_blocking(move || host.wait()).await.unwrap().success());
}

/// The units, with a program that is there.
fn units() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in UNITS {
        let text = fs::read_to_string(deploy("systemd").join(name)).unwrap();
        let text = text.replace("/usr/local/bin/roadstead", env!("CARGO_BIN_EXE_roadstead"));
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn the_units_are_valid_and_closed() {
    let folder = units();
    let mut command = Command::new("systemd-analyze");
    let verified = command.arg("verify").args(UNITS.map(|name| folder.path().join(name))).output().unwrap();
    // It succeeds although it has ignored a line that it does not know.
    let told = String::from_utf8_lossy(&verified.stderr).into_owned();
    let of_ours = told.lines().filter(|line| line.contains("roadstead")).collect::<Vec<_>>();
    assert!(verified.status.success() && of_ours.is_empty(), "{told}");
    for name in ["roadstead.service", "roadstead-next.service"] {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE_MAX}")]);
        if let Err(told) = run(command.arg(folder.path().join(name))) {
            panic!("{told}");
        }
        let unit = fs::read_to_string(folder.path().join(name)).unwrap();
        let variables = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split('=').next());
        assert_known_variables("run", variables);
        let setting =
            |wanted: &str| unit.lines().find_map(|line| line.strip_prefix(wanted)?.strip_prefix('=')).unwrap();
        let stop = setting("TimeoutStopSec").parse::<u64>().unwrap() * 1_000;
        assert!(stop >= roadstead_config::Limits::default().drain_timeout_ms + 5_000, "{stop}");
        assert!(!unit.contains("MemoryDenyWriteExecute=yes"), "compiled components could not run");
    }
}
