//! Finds the bounds that no flag sets: constants of the sources, by their names. The page of limits lists them with
//! their tests; one without a test needs a reason here.

use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::Problem;
use super::test_index::{TestIndex, cell};

/// Where bounds of the host are; `xtask` itself bounds nothing that runs.
const SOURCES: [&str; 6] = ["config/src", "runtime/src", "plugins/src", "proxy/src", "telemetry/src", "src"];
const NATS: &str = "plugins/src/wasmcloud_messaging/nats/connect.rs";
/// What a bound's name ends with.
const ENDINGS: [&str; 5] = ["_MAX", "_TIMEOUT", "_TIME", "_PAUSE", "_EVERY"];
/// Bounds that are called otherwise.
const OTHERS: [&str; 10] = [
    "BACKGROUND_NICE",
    "CALLS_REMEMBERED",
    "CONNECT_WITHIN",
    "GOODBYE",
    "HOST_STACK_BYTES",
    "KEEP_RESIDENT_BYTES",
    "KEEP_STACK_BYTES",
    "TABLES_PER_SLOT",
    "TENANT_CONNECT_WITHIN",
    "WRITE_BUFFER_BYTES",
];
/// Bounds that no test meets, and why.
const UNTESTED: [(&str, &str, &str); 43] = [
    (
        NATS,
        "BURST_MESSAGES_MAX",
        "to exceed it, messages must come faster than they are looked at, which no test can arrange",
    ),
    (
        NATS,
        "COMMANDS_WAITING_MAX",
        "to exceed it, commands must come faster than they are read, which no test can arrange",
    ),
    (NATS, "CONNECT_WITHIN", "a test would last a minute"),
    (NATS, "TENANT_CONNECT_WITHIN", "a test would show that ten seconds pass, and little else"),
    (
        "plugins/src/wasi_blobstore/nats.rs",
        "PLACE_ATTEMPTS_MAX",
        "to exceed it, others must write the object between each two steps of an attempt, which no test can arrange",
    ),
    (
        "plugins/src/tenant_postgres.rs",
        "CONFLICT_PAUSE_MAX",
        "a pause: without it only the attempts come faster, and are as many",
    ),
    ("plugins/src/tenant_postgres.rs", "SERVER_MS_MAX", "a test would last 24 days"),
    ("plugins/src/tenant_postgres/health.rs", "LOOK_EVERY", "a pause: without it only the server has more to do"),
    ("plugins/src/tenant_postgres/health.rs", "PAUSE_MAX", "a pause: without it only the server has more to do"),
    ("plugins/src/tenant_postgres/schema.rs", "CHANGE_MS_MAX", "a test would last a minute"),
    ("plugins/src/tenant_postgres/schema.rs", "REACH_PAUSE", "a pause: without it only the log is longer"),
    (
        "plugins/src/tenant_postgres/url.rs",
        "CONNECT_WITHIN",
        "a test would show that five seconds pass, and little else",
    ),
    ("plugins/src/wasi_blobstore/postgres.rs", "LEASE_MAX", "a test would last a year"),
    (
        "plugins/src/wasi_blobstore/postgres/sweep.rs",
        "LOOK_EVERY",
        "a pause: without it only the server has more to do",
    ),
    (
        "plugins/src/wasi_blobstore/postgres/sweep.rs",
        "STATEMENTS_PER_LOOK_MAX",
        "to exceed it, there must be 16 GiB to remove; what is left waits for the next look",
    ),
    ("plugins/src/wasi_config/live.rs", "WATCH_PAUSE", "a pause: without it only the log is longer"),
    ("plugins/src/wasi_keyvalue/host.rs", "BATCH_AT_ONCE_MAX", "speed: nothing else depends on it"),
    (
        "plugins/src/wasmcloud_messaging/nats/subscription.rs",
        "REFUSALS_MAX",
        "to exceed it, a connection must take refusals more slowly than they come, which no test can arrange",
    ),
    ("plugins/src/wasmcloud_messaging/nats/subscription.rs", "TAKEN_AT_ONCE_MAX", "speed: nothing else depends on it"),
    (NATS, "RETRY_PAUSE", "a pause: without it only the log is longer"),
    ("proxy/src/resources/memory.rs", "LOOK_EVERY", "a pause: without it only the processor has more to do"),
    ("proxy/src/tls/reload.rs", "LOOK_EVERY", "a pause: without it only the processor has more to do"),
    ("runtime/src/artifact/wire.rs", "ADDRESSES_MAX", "a test would need a name server that gives more for a name"),
    ("runtime/src/egress.rs", "SESSIONS_MAX", "speed: nothing else depends on it"),
    (
        "runtime/src/egress/connect.rs",
        "CONNECTION_WINDOW_BYTES_MAX",
        "memory against speed: nothing else depends on it",
    ),
    ("runtime/src/egress/connect.rs", "SEND_BUFFER_BYTES_MAX", "memory against speed: nothing else depends on it"),
    ("runtime/src/egress/connect.rs", "STREAM_WINDOW_BYTES_MAX", "memory against speed: nothing else depends on it"),
    (
        "runtime/src/egress/exchange.rs",
        "RETRIES_MAX",
        "to exceed it, servers must close connections in the moment that each is taken, which no test can arrange",
    ),
    ("runtime/src/engine.rs", "HOST_STACK_BYTES", "too little of it ends the process, which any other test would show"),
    ("runtime/src/engine.rs", "KEEP_RESIDENT_BYTES", "memory against speed: nothing else depends on it"),
    (
        "runtime/src/washlet/control.rs",
        "REPLY_TIMEOUT",
        "to exceed it, a connection must take replies more slowly than they come, which no test can arrange",
    ),
    ("runtime/src/washlet/heartbeat.rs", "LOOK_EVERY", "a pause: without it only the processor has more to do"),
    (
        "runtime/src/washlet/heartbeat.rs",
        "PUBLISH_TIMEOUT",
        "to exceed it, a connection must be full of replies, which no test can arrange",
    ),
    (
        "runtime/src/washlet/listening.rs",
        "LAST_CALL_TIMEOUT",
        "a test would show that five seconds pass, and little else",
    ),
    ("src/admin.rs", "OBSERVE_EVERY", "a pause: without it only the host has more to do"),
    ("src/admin.rs", "SOCKET_EVERY", "a pause: without it only the log is longer"),
    (
        "src/admin/workloads.rs",
        "EVENTS_MAX",
        "to exceed it, hundreds of workloads must run; the journal's own bounds are tested",
    ),
    ("src/cli/asking.rs", "STEP_TIMEOUT", "a test would show that ten seconds pass, and little else"),
    ("src/cli/get.rs", "LOOK_EVERY", "a pause: without it only the host has more to do"),
    ("src/cli/logs.rs", "FOLLOW_PAUSE", "a pause: without it only the host has more to do"),
    ("src/admin/listening.rs", "ACCEPT_LOG_EVERY", "a pause: without it only the log is longer"),
    ("src/cli/run/watch.rs", "LOOK_EVERY", "a pause: without it only the processor has more to do"),
    ("telemetry/src/outbox.rs", "LOGGED_EVERY", "a pause: without it only the log is longer"),
];
const HEAD: &str = "
## Fixed bounds

Bounds of single parts, which no flag changes: constants of the sources, with their values as written there.

A test names the constant, in its code or, where that cannot see it, in its documentation. `-`: no test.

| bound | value | meaning | place | test |
|---|---|---|---|---|
";

/// One constant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bound {
    file: PathBuf,
    /// From 1.
    line: usize,
    name: String,
    value: String,
    meaning: String,
}

/// All bounds of the sources.
///
/// # Errors
/// When a source cannot be read.
pub(super) fn read(root: &Path) -> Result<Vec<Bound>> {
    let mut files = Vec::new();
    for folder in SOURCES {
        super::walk(root, Path::new(folder), &mut files)?;
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs") && !file.ends_with("tests.rs"));
    files.sort();
    let mut bounds = Vec::new();
    for file in &files {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {}", file.display()))?;
        bounds.extend(bounds_of(file, &text));
    }
    Ok(bounds)
}

/// The section of the page.
pub(super) fn section(bounds: &[Bound], index: &TestIndex) -> String {
    let mut section = HEAD.to_owned();
    for Bound { file, name, value, meaning, .. } in bounds {
        let tests = index.of_constant(file, name);
        let tests = if tests.is_empty() { "-".to_owned() } else { cell(&tests) };
        let file = file.display();
        // Writing to a String cannot fail.
        let _ = writeln!(section, "| `{name}` | `{value}` | {meaning} | [{file}](../{file}) | {tests} |");
    }
    section
}

/// Finds the bounds that have neither a test nor a reason to have none, and reasons that are none any more.
pub(super) fn check(bounds: &[Bound], index: &TestIndex, problems: &mut Vec<Problem>) {
    check_against(&UNTESTED, bounds, index, problems);
}

fn check_against(untested: &[(&str, &str, &str)], bounds: &[Bound], index: &TestIndex, problems: &mut Vec<Problem>) {
    let is_it =
        |(file, name, _): &(&str, &str, &str), bound: &Bound| bound.file == Path::new(file) && bound.name == *name;
    for bound in bounds {
        let Bound { file, name, .. } = bound;
        let excused = untested.iter().any(|entry| is_it(entry, bound));
        let what = match (index.of_constant(file, name).is_empty(), excused) {
            (true, false) => {
                let module = file.file_stem().unwrap_or_default().display();
                format!(
                    "no test names `{name}`: name it in a test of this module, or `{module}::{name}` in the documentation \
                     of one elsewhere that fails when the bound goes away"
                )
            }
            (false, true) => format!("`{name}` has a test: take it out of UNTESTED in xtask/src/tidy/fixed_bounds.rs"),
            _ => continue,
        };
        problems.push(Problem { file: file.clone(), line: Some(bound.line), what });
    }
    for entry in untested.iter().filter(|entry| !bounds.iter().any(|bound| is_it(entry, bound))) {
        let what = format!("has no `{}`: take it out of UNTESTED in xtask/src/tidy/fixed_bounds.rs", entry.1);
        problems.push(Problem { file: entry.0.into(), line: None, what });
    }
}

/// The bounds of a source, up to its tests.
fn bounds_of(file: &Path, text: &str) -> Vec<Bound> {
    let mut bounds = Vec::new();
    let mut meaning: Vec<&str> = Vec::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line == "#[cfg(test)]" {
            break;
        }
        match line.strip_prefix("///") {
            Some(said) => meaning.push(said.trim()),
            None => {
                let meaning = std::mem::take(&mut meaning).join(" ").replace('|', "\\|");
                let bound = |(name, value)| Bound { file: file.to_owned(), line: index + 1, name, value, meaning };
                bounds.extend(constant(line).map(bound));
            }
        }
    }
    bounds
}

/// Name and value of a constant that is a bound.
fn constant(line: &str) -> Option<(String, String)> {
    let (before, rest) = line.split_once("const ")?;
    let (name, rest) = rest.split_once(": ")?;
    let is_bound = ENDINGS.iter().any(|ending| name.ends_with(ending)) || OTHERS.contains(&name);
    let (_, value) = rest.split_once(" = ")?;
    (is_bound && (before.is_empty() || before.starts_with("pub")))
        .then(|| (name.to_owned(), value.trim_end_matches(';').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_found_by_their_names() {
        let text = "\
/// Longest
/// name | in bytes.
pub(super) const NAME_BYTES_MAX: usize = 4 * 1024;
const OTHER: usize = 3;
/// Of nobody.
struct Max;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
#[cfg(test)]
const TEST_MAX: usize = 1;
";
        let file = Path::new("src/a.rs");
        let bound = |line, name: &str, value: &str, meaning: &str| Bound {
            file: file.into(),
            line,
            name: name.into(),
            value: value.into(),
            meaning: meaning.into(),
        };
        assert_eq!(
            bounds_of(file, text),
            [
                bound(3, "NAME_BYTES_MAX", "4 * 1024", "Longest name \\| in bytes."),
                bound(7, "RETRY_PAUSE", "Duration::from_secs(1)", "")
            ]
        );
    }

    #[test]
    fn a_bound_has_a_test_or_a_reason() {
        let source = "const A_MAX: u32 = 1;\nconst B_MAX: u32 = 1;\n\
                      #[cfg(test)] mod tests { #[test] fn a() { A_MAX; } }\n";
        let file = Path::new("src/a.rs");
        let mut index = TestIndex::default();
        index.add(file, source).unwrap();
        let bounds = bounds_of(file, source);
        let found = |untested: &[(&str, &str, &str)]| {
            let mut problems = Vec::new();
            check_against(untested, &bounds, &index, &mut problems);
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(found(&[("src/a.rs", "B_MAX", "a reason")]).is_empty());
        assert_eq!(
            found(&[]),
            [
                "src/a.rs:2: no test names `B_MAX`: name it in a test of this module, or `a::B_MAX` in the documentation \
                 of one elsewhere that fails when the bound goes away"
            ]
        );
        let at_home = "out of UNTESTED in xtask/src/tidy/fixed_bounds.rs";
        assert_eq!(
            found(&[("src/a.rs", "A_MAX", ""), ("src/a.rs", "B_MAX", ""), ("src/b.rs", "A_MAX", "")]),
            [
                format!("src/a.rs:1: `A_MAX` has a test: take it {at_home}"),
                format!("src/b.rs: has no `A_MAX`: take it {at_home}"),
            ]
        );
    }
}
