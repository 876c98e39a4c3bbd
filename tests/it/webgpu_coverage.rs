//! Every function of `wasi:webgpu`, called from a component on a real host. The functions are read from the interface's own
//! text, the calls are told by the component: `call!` in `guests/gpu-probe/src/calls.rs` writes a call's name down from the
//! tokens that make the call and from the type that the compiler gives its receiver, so that a name stands for that call
//! and nothing else. Calls that end the component are told in the host's log just before they are made.

use std::{collections::BTreeSet, fs, path::Path};

use crate::harness::{
    gpu::{self, Played, play},
    host::Host,
};

/// Scenarios that the host must refuse by ending the component, with what it says.
const NO_SURFACES: [&str; 4] = [
    "surfaces.connect-graphics-context",
    "surfaces.get-current-buffer",
    "surfaces.present",
    "surfaces.from-graphics-buffer",
];

/// `RESOURCE.FUNCTION` of all functions in a WIT text, and the names of those outside resources, in lower case.
fn functions(text: &str) -> BTreeSet<String> {
    let mut resource = None;
    let mut functions = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let (line, inside) = (line.trim(), line.starts_with("    "));
        if let Some(name) = line.strip_prefix("resource ") {
            resource = Some(name.trim_end_matches(" {}").trim_end_matches(" {").to_owned());
        }
        let of_resource = |name: &str| match (&resource, inside) {
            (Some(resource), true) => format!("{resource}.{name}"),
            _ => name.to_owned(),
        };
        if line.starts_with("constructor(") {
            functions.insert(of_resource("constructor"));
        } else if let Some((name, kind)) = line.split_once(": ")
            && (kind.starts_with("func(") || kind.starts_with("static func("))
        {
            functions.insert(of_resource(&name.trim_start_matches('%').to_lowercase()));
        }
    }
    functions
}

#[test]
fn functions_are_found_in_the_text() {
    let text = "interface i {\n  use x;\n  one: func() -> r;\n  resource r {\n    constructor();\n    // gone: func();\n    \
                %type: func();\n    TWO: static func() -> u32;\n    long: func(\n      a: u32,\n    );\n  }\n  record f {\n    \
                func: u32,\n  }\n}";
    let found: Vec<_> = functions(text).into_iter().collect();
    assert_eq!(found, ["one", "r.constructor", "r.long", "r.two", "r.type"]);
}

#[tokio::test]
async fn each_function_of_the_interface_is_called() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit/wasi-webgpu/webgpu.wit");
    let offered = functions(&fs::read_to_string(wit).unwrap());
    assert_eq!(offered.len(), 247);
    let manifest = gpu::gateway("probe") + &gpu::probe("probe", "gpu", &["poolSize: 1"]);
    let host = Host::start_with(&manifest, gpu::options());
    let (mut called, mut failed) = (BTreeSet::new(), Vec::new());
    for scenario in gpu::scenarios(&host, "probe", "gpu", "defined").await {
        match play(&host, "probe", "gpu", &scenario).await {
            Played::Saw(saw, calls) => {
                println!("{scenario}: {saw}");
                called.extend(calls);
            }
            other => failed.push(format!("{scenario}: {other:?}")),
        }
    }
    for scenario in gpu::scenarios(&host, "probe", "gpu", "traps").await {
        match play(&host, "probe", "gpu", &scenario).await {
            Played::Ended(reason) if reason.contains("the component failed (trap)") => {}
            other => failed.push(format!("{scenario}: {other:?}")),
        }
    }
    assert!(failed.is_empty(), "{} scenarios failed:\n{}", failed.len(), failed.join("\n"));
    // What is called last is in the log.
    let log = host.log();
    called.extend(offered.iter().filter(|name| log.contains(&format!("\"calls {name}\""))).cloned());
    let never: Vec<_> = offered.difference(&called).collect();
    assert!(never.is_empty(), "never called: {never:?}");
    let unknown: Vec<_> = called.difference(&offered).collect();
    assert!(unknown.is_empty(), "the interface has no {unknown:?}");
}

#[tokio::test]
async fn what_needs_a_surface_says_that_there_is_none() {
    let manifest = gpu::gateway("probe") + &gpu::probe("probe", "gpu", &["poolSize: 1"]);
    let host = Host::start_with(&manifest, gpu::options());
    for scenario in NO_SURFACES {
        let Played::Ended(reason) = play(&host, "probe", "gpu", scenario).await else { panic!("{scenario} returned") };
        assert!(reason.contains("the component failed (trap)"), "{scenario}: {reason}");
    }
    assert!(host.log().contains("this host has no surfaces"), "{}", host.log());
    // The worker goes on with another instance.
    play(&host, "probe", "gpu", "lifetimes.once").await.saw();
}
