//! Several files together: names, routes, hosts and artifacts.

use roadstead_config::{Limits, SourceFile, load, manifest::Document};

use super::{file, lines};

fn trigger(namespace: &str, name: &str, host: &str, paths: &str) -> String {
    format!(
        "apiVersion: control.cosmonic.io/v1alpha1\nkind: HTTPTrigger\nmetadata: {{name: {name}, namespace: \
         {namespace}}}\nspec:\n  ingress:\n    host: \"{host}\"\n    paths: {paths}\n  template:\n    spec:\n      \
         components: [{{name: c, image: file:c.wasm}}]\n"
    )
}

fn problems(files: &[SourceFile]) -> Vec<String> {
    lines(&load(files, &Limits::default()).unwrap_err())
}

#[test]
fn one_host_with_different_paths_is_fine() {
    let a = trigger("a", "one", "x.test", "[{path: /}]");
    let b = trigger("a", "two", "x.test", "[{path: /b}, {path: /, pathType: Exact}]");
    let c = trigger("b", "one", "*.x.test", "[]");
    let set = load(&[file("a.yaml", a), file("b.yaml", b), file("c.yaml", c)], &Limits::default()).unwrap();
    let names: Vec<&str> = set.documents.iter().map(|d| d.metadata().name.as_str()).collect();
    assert_eq!(names, ["one", "two", "one"]);
}

#[test]
fn conflicts_name_both_files() {
    let a = trigger("a", "one", "x.test", "[{path: /}]");
    let b = trigger("a", "one", "X.test", "[{path: //}]");
    let c = trigger("b", "two", "x.test", "[{path: /c}]");
    assert_eq!(
        problems(&[file("z.yaml", a), file("b.yaml", b), file("a.yaml", c)]),
        [
            "b.yaml:3:18: metadata.name: found \"one\" again in namespace \"a\", expected one HTTPTrigger, \
         WorkloadDeployment or Workload of a name; the HTTPTrigger of that name: z.yaml:3:18",
            "b.yaml:7:20: spec.ingress.paths[0].path: found the route Prefix / of host \"x.test\" again, expected every \
         route of a host once; first written here: z.yaml:7:20",
            "a.yaml:6:11: spec.ingress.host: found the host \"x.test\", which namespace \"a\" has, expected a host that no \
         other namespace has; claimed here: z.yaml:6:11",
        ]
    );
}

const DEPLOYMENT: &str = "apiVersion: runtime.wasmcloud.dev/v1alpha1\nkind: WorkloadDeployment\nmetadata: {name: \
                          api}\nspec:\n  artifacts: [{name: api, artifactFrom: {name: api-image}}]\n  template: \
                          {spec: {components: [{name: c, image: api}]}}\n";

fn artifact(image: &str) -> String {
    format!(
        "apiVersion: runtime.wasmcloud.dev/v1alpha1\nkind: Artifact\nmetadata: {{name: api-image}}\nspec: {{image: \
         {image}, imagePullSecret: {{name: registry}}}}\n"
    )
}

#[test]
fn a_component_may_name_an_artifact() {
    let files = [file("app.yaml", DEPLOYMENT), file("images.yaml", artifact("file:api.wasm"))];
    let set = load(&files, &Limits::default()).unwrap();
    let [Document::WorkloadDeployment(deployment), Document::Artifact(_)] = &set.documents[..] else { panic!() };
    let component = &deployment.template.spec.components[0];
    assert_eq!(component.image.to_string(), "file:api.wasm");
    assert_eq!(component.image_place.to_string(), "images.yaml:4:15");
    assert_eq!(component.image_pull_secret.as_ref().unwrap().as_str(), "registry");
}

#[test]
fn a_broken_artifact_is_one_problem() {
    let files = [file("app.yaml", DEPLOYMENT), file("images.yaml", artifact("file:/api.wasm"))];
    assert_eq!(
        problems(&files),
        ["images.yaml:4:15: spec.image: found \"file:/api.wasm\", expected an image such as ghcr.io/org/name:tag or \
         file:name.wasm; it leaves the manifest's folder; after file: write a path relative to it"]
    );
}

#[test]
fn nothing_is_a_set() {
    assert_eq!(load(&[], &Limits::default()).unwrap().documents, []);
    assert_eq!(load(&[file("a", "# nothing\n---\n---\n...\n")], &Limits::default()).unwrap().documents, []);
}
