//! Workers that misuse the GPU, and what their neighbours notice: nothing but that it is shared. For each misuse the host
//! and its HTTP traffic go on, and another tenant's work on the GPU is done within its deadline.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;

use crate::harness::{
    client::Client,
    gpu::{self, Played, play},
    host::{Host, Options},
};

/// Answers of the quiet tenant that are looked at before and during a misuse.
const ASKED_BEFORE: usize = 200;
/// How much slower the slowest of its answers may become, and below what it does not matter: the driver that computes on
/// the processor takes the cores that all others want.
const P99_RATIO_MAX: f64 = 2.0;
const P99_FLOOR: Duration = Duration::from_millis(1_500);

/// Scenarios whose right outcome is defined: what must be in `saw` at a path, and be no empty object.
const ERRORS: [(&str, &str); 32] = [
    ("abuse.submit-twice", "/second/validation"),
    ("abuse.submit-twice", "/in_one/validation"),
    ("abuse.end-twice", "/compute/validation"),
    ("abuse.end-twice", "/render/validation"),
    ("abuse.use-after-end", "/compute/validation"),
    ("abuse.use-after-end", "/render/validation"),
    ("abuse.use-after-end", "/encoder/validation"),
    ("abuse.finish-twice", "/twice/validation"),
    ("abuse.finish-twice", "/refused/validation"),
    ("abuse.pass-left-open", "/finished/validation"),
    ("abuse.pass-left-open", "/two_passes/validation"),
    ("abuse.bundle-finish-twice", "/absurd/validation"),
    ("abuse.bundle-finish-twice", "/twice/validation"),
    ("abuse.another-device", "/bind_group/validation"),
    ("abuse.another-device", "/layout_of_another/validation"),
    ("abuse.another-device", "/module/validation"),
    ("abuse.another-device", "/kind/validation"),
    ("abuse.another-device", "/copy/validation"),
    ("abuse.another-device", "/written/validation"),
    ("abuse.another-device", "/submitted/validation"),
    ("abuse.another-device", "/drawn_to/validation"),
    ("abuse.dispatch-past-the-limit", "/errors/validation"),
    ("abuse.dispatch-past-the-limit", "/absurd/validation"),
    ("abuse.unknown-usages", "/buffer 0x80000000/validation"),
    ("abuse.unknown-usages", "/texture 0xffffffff/validation"),
    ("abuse.unknown-usages", "/stage 0x400/validation"),
    ("abuse.large-buffers", "/refused/out-of-memory"),
    ("abuse.mapped-buffers", "/refused/out-of-memory"),
    ("abuse.large-textures", "/the largest/out-of-memory"),
    ("abuse.large-textures", "/past the limit/validation"),
    ("abuse.large-textures", "/absurd/validation"),
    ("abuse.large-writes", "/beyond/validation"),
];

/// Shaders that must not be run: they are refused, or end the GPU process, but never succeed.
const NEVER_RUN: [&str; 4] =
    ["abuse.workgroup-memory", "abuse.private-memory", "abuse.function-memory", "abuse.inlining"];

/// An abuser with a worker for each scenario, so that none suffers for what another did; a neighbour that uses the GPU as
/// one should; and a tenant that only speaks HTTP.
fn manifest(scenarios: &[&str]) -> String {
    let abusers: String =
        scenarios.iter().map(|scenario| gpu::probe("abuser", &scenario.replace('.', "-"), &["poolSize: 1"])).collect();
    gpu::gateway("abuser")
        + &abusers
        + &gpu::gateway("neighbour")
        + &gpu::probe("neighbour", "work", &["poolSize: 1"])
        + &crate::harness::manifest::trigger("quiet", "quiet.test", "bare-http").namespace("quiet").yaml()
}

/// A host on which a runaway shader or compilation is ended soon, but not so soon that work which only waits for a busy
/// machine is taken for one.
fn options() -> Options {
    gpu::options().flag("--limit", "gpu_run_ms_max=5000").flag("--limit", "gpu_compile_ms_max=6000")
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
}

async fn asked(client: &Client) -> Duration {
    let sent = Instant::now();
    assert_eq!(client.get("/").send().await.status, StatusCode::OK);
    sent.elapsed()
}

/// What the neighbour does until `done`, and once afterwards: each of its calls must be answered in time.
async fn neighbour(host: &Host, done: &tokio::sync::watch::Receiver<bool>) -> usize {
    let mut calls = 0;
    loop {
        let last = *done.borrow();
        match play(host, "neighbour", "work", "lifetimes.warm").await {
            Played::Saw(..) => calls += 1,
            other => panic!("the neighbour's call {calls}: {other:?}"),
        }
        if last {
            return calls;
        }
    }
}

/// Plays one misuse beside the others; what came of it.
async fn beside_others(host: &Host, scenario: &str) -> Played {
    let quiet = host.client("quiet.test");
    let mut before = Vec::new();
    for _ in 0..ASKED_BEFORE {
        before.push(asked(&quiet).await);
    }
    let (tell, done) = tokio::sync::watch::channel(false);
    let misuse = async {
        let begun = Instant::now();
        let played = play(host, "abuser", &scenario.replace('.', "-"), scenario).await;
        tell.send(true).unwrap();
        println!("{scenario} after {:?}: {played:?}", begun.elapsed());
        played
    };
    let during = async {
        let mut times = Vec::new();
        while !*done.borrow() || times.len() < ASKED_BEFORE / 4 {
            times.push(asked(&quiet).await);
        }
        times
    };
    let (played, calls, during) = tokio::join!(misuse, neighbour(host, &done), during);
    let (before, during) = (p99(before), p99(during));
    println!("{scenario}: {calls} calls of the neighbour; p99 {before:?} before, {during:?} during");
    let bound = before.mul_f64(P99_RATIO_MAX).max(P99_FLOOR);
    assert!(during <= bound, "{scenario}: HTTP p99 {during:?} beside it, {before:?} before");
    played
}

fn judge(scenario: &str, played: &Played) -> Result<(), String> {
    if let Played::Failed(reason) = played {
        return Err(format!("{scenario}: {reason}"));
    }
    for (_, path) in ERRORS.iter().filter(|(name, _)| *name == scenario) {
        let Played::Saw(saw, _) = played else { return Err(format!("{scenario} has no answer: {played:?}")) };
        // Names have spaces in them, but no slashes.
        if saw.pointer(path).is_none_or(Value::is_null) {
            return Err(format!("{scenario}: no {path} in {saw}"));
        }
    }
    if let ("abuse.out-of-bounds", Played::Saw(saw, _)) = (scenario, played) {
        // A place that is written instead may be read instead; what lies beyond may not.
        let own = [0, 0xbad0_0bad].contains(&saw["seen"].as_u64().unwrap_or(1));
        if !own || saw["intact"] != true {
            return Err(format!("{scenario}: {saw}"));
        }
    }
    if let (true, Played::Saw(saw, _)) = (NEVER_RUN.contains(&scenario), played)
        && saw["run"][0].is_number()
    {
        return Err(format!("{scenario}: it ran: {saw}"));
    }
    Ok(())
}

/// Plays each of the misuses on one host.
async fn all_beside_others(scenarios: &[&str]) {
    let host = Host::start_with(&manifest(scenarios), options());
    play(&host, "neighbour", "work", "lifetimes.warm").await.saw();
    let mut wrong = Vec::new();
    for scenario in scenarios {
        let played = beside_others(&host, scenario).await;
        wrong.extend(judge(scenario, &played).err());
    }
    let log = host.log();
    // One of the misuses is a panic of the guest.
    let of_host = |line: &&str| line.contains("panicked at") && !line.contains("gpu-probe/src");
    let panics: Vec<&str> = log.lines().filter(of_host).collect();
    assert!(panics.is_empty(), "{}", panics.join("\n"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Control characters of a label come to the log, if at all, written out.
    assert!(!log.contains('\u{1b}'));
}

#[tokio::test]
async fn objects_used_wrongly_are_errors() {
    all_beside_others(&[
        "abuse.submit-twice",
        "abuse.end-twice",
        "abuse.use-after-end",
        "abuse.finish-twice",
        "abuse.pass-left-open",
        "abuse.bundle-finish-twice",
        "abuse.destroy-in-odd-orders",
        "abuse.another-device",
    ])
    .await;
}

#[tokio::test]
async fn objects_in_great_numbers_are_refused() {
    all_beside_others(&[
        "abuse.many-objects",
        "abuse.many-scopes",
        "abuse.scopes-without-end",
        "abuse.many-devices",
        "abuse.many-submits",
    ])
    .await;
}

#[tokio::test]
async fn runaway_work_is_ended() {
    all_beside_others(&[
        "abuse.greatest-dispatch",
        "abuse.dispatch-past-the-limit",
        "abuse.indirect-dispatch-past-the-limit",
        "abuse.endless-loop",
        "abuse.long-dispatches",
        "abuse.waiting-for-loss",
    ])
    .await;
}

#[tokio::test]
async fn work_that_is_left_behind_harms_nobody() {
    all_beside_others(&[
        "abuse.dropped-in-flight",
        "abuse.destroyed-in-flight",
        "abuse.trapped-in-flight",
        "abuse.out-of-bounds",
    ])
    .await;
}

#[tokio::test]
async fn shaders_that_break_compilers_are_refused_or_end_the_gpu_process_alone() {
    all_beside_others(&[
        "abuse.workgroup-memory",
        "abuse.private-memory",
        "abuse.function-memory",
        "abuse.chained-operators",
        "abuse.nested-parentheses",
        "abuse.nested-blocks",
        "abuse.nested-types",
    ])
    .await;
}

#[tokio::test]
async fn shaders_that_take_for_ever_are_refused_or_end_the_gpu_process_alone() {
    all_beside_others(&[
        "abuse.inlining",
        "abuse.large-source",
        "abuse.many-functions",
        "abuse.constant-expressions",
        "abuse.large-switch",
        "abuse.unrolling",
    ])
    .await;
}

#[tokio::test]
async fn absurd_sizes_and_texts_are_refused() {
    all_beside_others(&[
        "abuse.unknown-usages",
        "abuse.limits",
        "abuse.large-records",
        "abuse.mapping",
        "abuse.large-buffers",
        "abuse.mapped-buffers",
        "abuse.buffers-come-and-go",
        "abuse.large-textures",
        "abuse.labels",
        "abuse.large-writes",
    ])
    .await;
}

/// None of the probe's misuses is forgotten here.
#[tokio::test]
async fn each_misuse_is_played() {
    let manifest = gpu::gateway("probe") + &gpu::probe("probe", "gpu", &["poolSize: 1"]);
    let host = Host::start_with(&manifest, gpu::options());
    for scenario in gpu::scenarios(&host, "probe", "gpu", "abuse").await {
        let named = format!("        \"{scenario}\",");
        assert!(include_str!("webgpu_abuse.rs").contains(&named), "{scenario} is played by no test");
    }
}
