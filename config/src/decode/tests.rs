//! The bounds of decoding, each met from both sides through whole manifests.

use super::*;
use crate::{Limits, SourceFile, load};

fn problems(manifest: String) -> Vec<String> {
    let file = SourceFile { name: "app.yaml".into(), bytes: manifest.into_bytes() };
    let problems = load(&[file], &Limits::default()).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect()
}

/// A deployment with further lines of its `spec`, and further fields of its template's, each a list item of YAML.
fn deployment(spec: &str, template: &str) -> String {
    format!(
        "apiVersion: runtime.wasmcloud.dev/v1alpha1\nkind: WorkloadDeployment\nmetadata: {{name: a}}\nspec:\n{spec}  \
         template:\n    spec:\n{template}      components: [{{name: c, image: 'file:c.wasm'}}]\n"
    )
}

#[test]
fn a_number_of_replicas_is_an_int32() {
    let with = |replicas: u64| problems(deployment(&format!("  replicas: {replicas}\n"), ""));
    assert!(with(INT32_MAX).is_empty());
    assert_eq!(with(INT32_MAX + 1).len(), 1);
}

#[test]
fn a_workload_has_so_many_host_interfaces() {
    let with = |entries: usize| {
        let entry = |n| format!("        - {{namespace: wasi, package: logging, name: n{n}, interfaces: [logging]}}\n");
        let entries: String = (0..entries).map(entry).collect();
        problems(deployment("", &format!("      hostInterfaces:\n{entries}")))
    };
    assert_eq!(with(interface::ENTRIES_MAX), [""; 0]);
    assert_eq!(with(interface::ENTRIES_MAX + 1).len(), 1);
}

#[test]
fn a_path_of_a_volume_has_a_length() {
    let with = |bytes: usize| {
        let path = "x".repeat(bytes - 1);
        problems(deployment("", &format!("      volumes: [{{name: v, hostPath: {{path: /{path}}}}}]\n")))
    };
    assert_eq!(with(volume::PATH_BYTES_MAX), [""; 0]);
    assert_eq!(with(volume::PATH_BYTES_MAX + 1).len(), 1);
}

/// One problem for each unknown field; the one that was meant to be `template` is not missing besides, where it is
/// among those that are compared.
#[test]
fn so_many_fields_are_compared_with_a_missing_one() {
    let after = |others: usize| {
        let others: String = (0..others).map(|n| format!("  unknown{n}: 1\n")).collect();
        let manifest = deployment(&others, "").replace("template", "tepmlate");
        problems(manifest).len() - others.lines().count()
    };
    assert_eq!(after(COMPARED_FIELDS_MAX - 1), 1);
    assert_eq!(after(COMPARED_FIELDS_MAX), 2);
}

#[test]
fn problems_are_counted_after_so_many() {
    let with = |unknown: usize| {
        let fields: String = (0..unknown).map(|n| format!("  unknown{n}: 1\n")).collect();
        problems(deployment(&fields, ""))
    };
    assert!(!with(PROBLEMS_MAX).last().unwrap().contains("more problems"));
    let more = with(PROBLEMS_MAX + 2);
    assert_eq!(more.len(), PROBLEMS_MAX);
    assert!(more.last().unwrap().ends_with("; and 2 more problems in this file"));
}
