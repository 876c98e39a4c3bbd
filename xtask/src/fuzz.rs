//! `cargo xtask fuzz`: libFuzzer on the targets of `fuzz/`, for a bounded time. It knows the targets by their seeds'
//! folders, and what a stable compiler has to be told to count what code a run has reached.

use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::layout::Layout;
use crate::process;
use crate::report::{self, Step};
use crate::setup::{self, Purpose};

/// Seconds for each target where nobody says otherwise.
const SECONDS: u64 = 60;
/// Longest input, in bytes: `LONGEST_INPUT_BYTES` of proxy/src/fuzz.rs.
const LONGEST_INPUT_BYTES: usize = 4000;
/// An input that takes longer is a finding.
const INPUT_SECONDS_MAX: u64 = 10;
/// A target that takes more memory is a finding.
const MEMORY_MIB_MAX: u64 = 2048;
/// What cargo-fuzz asks of the compiler, without a sanitizer: those need a nightly one.
const FLAGS: [&str; 7] = [
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// Look for inputs that break what holds for all
#[derive(Args)]
#[command(
    long_about = "Builds the targets of fuzz/ and runs each for a bounded time with libFuzzer, one after the other,
beginning with the seeds that are kept and what former runs here have found to reach other code. A finding is written to
target/fuzz/findings/TARGET; once it is mended, put the file into fuzz/seeds/TARGET, where `cargo test` tries it too."
)]
#[command(after_help = "Examples:
  cargo xtask fuzz                          each target for 60 s (the first build takes 15 minutes)
  cargo xtask fuzz --seconds 600 route      one target for 10 minutes")]
pub(crate) struct Arguments {
    /// The targets; all where none is named
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, default_value_t = SECONDS, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// What a run of a target came to.
struct Outcome {
    executions: Option<u64>,
    passed: bool,
}

/// Runs the command.
///
/// # Errors
/// When a target has a finding, does not exist or cannot be built.
pub(crate) fn run(layout: &Layout, arguments: &Arguments) -> Result<()> {
    setup::step(layout, Purpose::Build)?;
    // libFuzzer itself is C++.
    setup::program("c++", "g++")?;
    let targets = chosen(layout, &arguments.targets)?;
    let host = host_triple(layout)?;
    let step = Step::begin("fuzz build", format_args!("{} targets (about 15 minutes the first time)", targets.len()));
    build(layout, &host)?;
    step.done("built");
    let mut findings = Vec::new();
    for target in &targets {
        let step = Step::begin("fuzz", format_args!("{target} for {} s", arguments.seconds));
        let outcome = run_target(layout, &host, target, arguments.seconds)?;
        let executions = outcome.executions.map_or("an unknown number of".to_owned(), |count| count.to_string());
        let result = if outcome.passed { "no finding" } else { "A FINDING" };
        step.done(format_args!("{target}: {executions} executions, {result}"));
        if !outcome.passed {
            findings.push(target.as_str());
        }
    }
    if !findings.is_empty() {
        bail!("findings of {}: see {}", findings.join(", "), layout.shown(&work(layout).join("findings")));
    }
    report::note("nothing found");
    Ok(())
}

/// The targets that are named, or all: those that have seeds.
fn chosen(layout: &Layout, named: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(seeds(layout)).context("there is no fuzz/seeds")? {
        all.push(entry?.file_name().to_string_lossy().into_owned());
    }
    all.sort();
    match named.iter().find(|name| !all.contains(name)) {
        Some(unknown) => bail!("there is no target `{unknown}`; there are {}", all.join(", ")),
        None if named.is_empty() => Ok(all),
        None => Ok(named.to_vec()),
    }
}

fn host_triple(layout: &Layout) -> Result<String> {
    let told = process::output(process::command("rustc", layout.root()).arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

/// The target is named so that the flags are for it alone, not for build scripts and macros.
fn build(layout: &Layout, host: &str) -> Result<()> {
    let mut cargo = process::cargo(&layout.fuzz());
    cargo.env("CARGO_TARGET_DIR", work(layout)).env("RUSTFLAGS", FLAGS.join(" "));
    process::run(cargo.args(["build", "--locked", "--target", host]))
}

fn run_target(layout: &Layout, host: &str, target: &str, seconds: u64) -> Result<Outcome> {
    let work = work(layout);
    let (corpus, findings) = (work.join("corpus").join(target), work.join("findings").join(target));
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = process::command(work.join(host).join("debug").join(target), layout.root());
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST_INPUT_BYTES}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-dict={}", layout.fuzz().join("tokens.dict").display()))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg("-print_final_stats=1")
        .arg(&corpus)
        .arg(seeds(layout).join(target))
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("the target {target} could not be started"))?;
    let told = child.stderr.take().context("the target has no standard error")?;
    let executions = follow(BufReader::new(told))?;
    Ok(Outcome { executions, passed: child.wait()?.success() })
}

/// Reads what libFuzzer says: shows what a finding says, and returns the number of executions.
fn follow(told: impl BufRead) -> Result<Option<u64>> {
    const QUIET: [&str; 6] = ["#", "INFO:", "stat::", "WARNING: Failed to find function", "    \"", "\tNEW_FUNC"];
    let (mut executions, mut last_progress) = (None, None);
    for line in told.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        executions = executions.or_else(|| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok());
        match line.strip_prefix('#').and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()) {
            Some(count) => last_progress = Some(count),
            None if QUIET.iter().any(|quiet| line.starts_with(quiet)) => {}
            None => report::note(line.trim_end()),
        }
    }
    // A finding ends the process before its statistics: then the last progress line counts, which is less.
    Ok(executions.or(last_progress))
}

fn seeds(layout: &Layout) -> PathBuf {
    layout.fuzz().join("seeds")
}

/// Everything that is made: builds, what reached other code, findings.
fn work(layout: &Layout) -> PathBuf {
    Path::new(layout.target()).join("fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_counted() {
        let whole = "INFO: Seed: 1\n#2\tINITED cov: 3\n#900\tDONE\nstat::number_of_executed_units: 901\n";
        assert_eq!(follow(whole.as_bytes()).unwrap(), Some(901));
        assert_eq!(follow("#2\tINITED\n#65536\tpulse\n==1== ERROR\n".as_bytes()).unwrap(), Some(65536));
        assert_eq!(follow("".as_bytes()).unwrap(), None);
    }

    #[test]
    fn the_targets_are_those_of_the_manifest() {
        let layout = Layout::find();
        let manifest = fs::read_to_string(layout.root().join("fuzz/Cargo.toml")).unwrap();
        let named = manifest.lines().filter_map(|line| line.strip_prefix("path = \"targets/")?.strip_suffix(".rs\""));
        let mut named: Vec<&str> = named.collect();
        named.sort_unstable();
        assert_eq!(chosen(&layout, &[]).unwrap(), named);
        assert!(chosen(&layout, &["nothing".to_owned()]).is_err());
        let module = fs::read_to_string(layout.root().join("proxy/src/fuzz.rs")).unwrap();
        assert!(module.contains(&format!("LONGEST_INPUT_BYTES: usize = {LONGEST_INPUT_BYTES};")));
    }
}
