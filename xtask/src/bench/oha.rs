//! oha: load at a fixed rate, and how long each request took from the moment it was due. How it is called and what its
//! output says.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::programs;
use crate::process;

/// One run against one server.
pub(crate) struct Load<'a> {
    pub(crate) server: SocketAddr,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) host: Option<&'a str>,
    /// The body of a POST; a GET without.
    pub(crate) body: Option<&'a Path>,
    pub(crate) connections: u32,
    pub(crate) seconds: u64,
    pub(crate) requests_per_s: u64,
}

/// What came of it; times in microseconds.
#[derive(Debug, PartialEq)]
pub(crate) struct Latency {
    pub(crate) requests_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p99_9_us: f64,
    pub(crate) max_us: f64,
}

/// The oha that is there.
pub(crate) struct Oha {
    pub(crate) program: PathBuf,
}

impl Oha {
    /// Runs it to its end, on the client's core.
    ///
    /// # Errors
    /// When oha fails, or a request was not answered as it should.
    pub(crate) fn run(&self, load: &Load<'_>) -> Result<Latency> {
        let mut command = programs::pinned(&self.program, programs::CLIENT_CORE);
        command.args(["--latency-correction", "--no-tui", "--output-format", "json", "--worker-threads", "1", "-w"]);
        command.arg("-c").arg(load.connections.to_string()).arg("-z").arg(format!("{}s", load.seconds));
        command.arg("-q").arg(load.requests_per_s.to_string());
        if let Some(host) = load.host {
            command.arg("--host").arg(host);
        }
        if let Some(body) = load.body {
            command.args(["-m", "POST", "-D"]).arg(body);
        }
        command.arg(format!("http://{}{}", load.server, load.target));
        let told = process::output(&mut command)?;
        parse(&told).with_context(|| format!("oha with {} requests/s on {}", load.requests_per_s, load.target))
    }
}

/// Reads what `oha --output-format json` prints.
///
/// # Errors
/// When it is something else, or a request was answered otherwise than with 2xx or not at all.
pub(crate) fn parse(output: &str) -> Result<Latency> {
    let report: Value = serde_json::from_str(output).context("oha printed no JSON")?;
    let mut bad = Vec::new();
    for (list, is_good) in [("statusCodeDistribution", true), ("errorDistribution", false)] {
        let entries = report.get(list).and_then(Value::as_object).with_context(|| format!("oha printed no {list}"))?;
        let of_bad = entries.iter().filter(|(name, _)| !(is_good && name.starts_with('2')));
        bad.extend(of_bad.map(|(name, count)| format!("{count} times {name}")));
    }
    if !bad.is_empty() {
        bail!("not every request was answered with 2xx: {}", bad.join(", "));
    }
    let number = |group: &str, name: &str| {
        let value = report.get(group).and_then(|group| group.get(name)).and_then(Value::as_f64);
        value.with_context(|| format!("oha printed no {group}.{name}"))
    };
    let micros = |group: &str, name: &str| number(group, name).map(|seconds| seconds * 1e6);
    Ok(Latency {
        requests_per_s: number("summary", "requestsPerSec")?,
        p50_us: micros("latencyPercentiles", "p50")?,
        p99_us: micros("latencyPercentiles", "p99")?,
        p99_9_us: micros("latencyPercentiles", "p99.9")?,
        max_us: micros("summary", "slowest")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{
  "summary": {"successRate": 1.0, "total": 1.0, "slowest": 0.0016, "requestsPerSec": 199.7},
  "latencyPercentiles": {"p10": 0.0001, "p50": 0.00025, "p99": 0.0005, "p99.9": 0.001, "p99.99": 0.0016},
  "statusCodeDistribution": {"200": 200},
  "errorDistribution": {}
}"#;

    #[test]
    fn a_report_is_read() {
        let latency = parse(REPORT).unwrap();
        let rounded = [latency.p50_us, latency.p99_us, latency.p99_9_us, latency.max_us].map(f64::round);
        assert_eq!((latency.requests_per_s, rounded), (199.7, [250.0, 500.0, 1000.0, 1600.0]));
    }

    #[test]
    fn any_other_answer_is_an_error() {
        let refused = REPORT.replace(r#"{"200": 200}"#, r#"{"200": 199, "503": 1}"#);
        let error = parse(&refused).unwrap_err().to_string();
        assert_eq!(error, "not every request was answered with 2xx: 1 times 503");
        let cut = REPORT.replace(r#""errorDistribution": {}"#, r#""errorDistribution": {"connection closed": 3}"#);
        assert!(parse(&cut).unwrap_err().to_string().contains("3 times connection closed"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let empty = REPORT.replace("0.001,", "null,");
        assert_eq!(parse(&empty).unwrap_err().to_string(), "oha printed no latencyPercentiles.p99.9");
        assert!(parse("").is_err());
    }
}
