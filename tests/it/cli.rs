//! The command line as a person meets it.

use std::{fs, process::Output};

use serde_json::Value;

use crate::harness::{
    host::{roadstead, write_application},
    manifest::trigger,
};

fn run(arguments: &[&str]) -> Output {
    roadstead().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const BAD: &str = "\
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata:
  name: one
spec:
  ingress:
    host: a.test
  timeuot: 3s
  template:
    spec:
      components:
        - name: c
          image: file:c.wasm
          poolSize: -1
---
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTriger
metadata:
  name: two
";

#[test]
fn validate_prints_every_problem_of_every_document() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.yaml");
    fs::write(&path, BAD).unwrap();
    let output = run(&["validate", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<String> =
        text(&output.stderr).lines().map(|line| line.replace(&format!("{}/", folder.path().display()), "")).collect();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(lines[0].starts_with("app.yaml:8:3: spec.timeuot: found "), "{}", lines[0]);
    assert!(lines[0].ends_with("did you mean timeout?"), "{}", lines[0]);
    assert!(lines[1].starts_with("app.yaml:14:21: spec.template.spec.components[0].poolSize: "), "{}", lines[1]);
    assert!(lines[2].starts_with("app.yaml:17:7: kind: found \"HTTPTriger\""), "{}", lines[2]);
    assert!(lines[2].contains("did you mean HTTPTrigger?"), "{}", lines[2]);
    assert_eq!(lines[3], "3 problems in 1 files");
}

#[test]
fn validate_has_json_for_machines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.yaml");
    fs::write(&path, BAD).unwrap();
    let output = run(&["validate", path.to_str().unwrap(), "--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["problems"][0]["line"], 8);
    assert_eq!(json["problems"][0]["field"], "spec.timeuot");
}

#[test]
fn validate_takes_folders_and_says_that_all_is_well() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), trigger("a", "a.test", "x").yaml()).unwrap();
    fs::write(folder.path().join("b.yml"), trigger("b", "b.test", "x").yaml()).unwrap();
    let output = run(&["validate", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "2 documents in 2 files: valid\n");
}

#[test]
fn two_triggers_on_one_host_and_path_are_refused_with_both_places() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.yaml");
    let manifest = trigger("a", "a.test", "x").yaml() + &trigger("b", "A.test", "x").yaml();
    fs::write(&path, manifest).unwrap();
    let output = run(&["validate", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert_eq!(errors.matches("app.yaml:").count(), 2, "{errors}");
}

#[test]
fn run_starts_nothing_from_a_bad_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.yaml");
    fs::write(&path, BAD).unwrap();
    let output = run(&["run", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nothing was started; correct the manifests first"));
}

#[test]
fn run_says_what_is_missing() {
    let output = run(&["run", "/nowhere/app.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: /nowhere/app.yaml cannot be read\n  because: No such file"));

    let folder = tempfile::tempdir().unwrap();
    let output = run(&["run", folder.path().to_str().unwrap()]);
    assert!(text(&output.stderr).contains("has no manifest (*.yaml, *.yml, *.json)"));
}

#[test]
fn run_ends_when_nothing_could_be_started() {
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &trigger("a", "a.test", "made-missing").yaml());
    let path = folder.path().join("app.yaml");
    let arguments = ["run", path.to_str().unwrap(), "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"];
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("none of the 1 workloads could be started"), "{errors}");
    assert!(errors.contains("made-missing.wasm cannot be read"), "{errors}");
}

#[test]
fn run_says_that_an_address_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &trigger("a", "a.test", "bare-http").yaml());
    let path = folder.path().join("app.yaml");
    let output = run(&["run", path.to_str().unwrap(), "--http-addr", &address, "--admin-addr", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&format!("cannot listen on {address}")), "{}", text(&output.stderr));
}

#[test]
fn run_refuses_a_nats_address_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &trigger("a", "a.test", "bare-http").yaml());
    let path = folder.path().join("app.yaml");
    let output = run(&["run", path.to_str().unwrap(), "--data-nats-url", "://nothing", "--http-addr", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is no NATS address; write nats://HOST:PORT"), "{}", text(&output.stderr));
}

#[test]
fn version_and_help() {
    assert_eq!(text(&run(&["--version"]).stdout), format!("roadstead {}\n", env!("CARGO_PKG_VERSION")));
    let help = text(&run(&["run", "--help"]).stdout);
    for flag in [
        "--http-addr",
        "--admin-addr",
        "--data-nats-url",
        "--request-timeout",
        "--log-format",
        "Examples:",
        "Exit codes:",
        "143",
    ] {
        assert!(help.contains(flag), "{flag} is missing:\n{help}");
    }
    assert_eq!(run(&["run"]).status.code(), Some(2));
    let output = run(&["run", "x.yaml", "--request-timeout", "300"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("has no unit; write for example 300s"), "{}", text(&output.stderr));
}

#[test]
fn no_colour_and_no_escape_where_there_is_no_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.yaml");
    fs::write(&path, BAD.replace("timeuot", "\"\\e[31mtime\"")).unwrap();
    let output = run(&["validate", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stderr.contains(&0x1b), "{}", text(&output.stderr));
}
