//! nats-load, the client of NATS in the `bench` crate: how it is called and what its output says.

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::bench::oha::Latency;
use crate::bench::programs;
use crate::process;

/// How many requests there are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// So many under way.
    InFlight(u32),
    /// So many a second.
    Rate(u64),
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) requests: u64,
    pub(super) latency: Latency,
}

/// The client that is there.
pub(super) struct NatsLoad {
    pub(super) program: PathBuf,
}

impl NatsLoad {
    /// Runs it to its end, on the client's core.
    ///
    /// # Errors
    /// When it fails, or a request was not answered as it should.
    pub(super) fn run(&self, server: SocketAddr, subject: &str, seconds: u64, pace: Pace) -> Result<Outcome> {
        let (kind, number) = match pace {
            Pace::InFlight(number) => ("in-flight", number.to_string()),
            Pace::Rate(number) => ("rate", number.to_string()),
        };
        let mut command = programs::pinned(&self.program, programs::CLIENT_CORE);
        command.args([&server.to_string(), subject, &seconds.to_string(), kind, &number]);
        parse(&process::output(&mut command)?).with_context(|| format!("nats-load with {kind} {number}"))
    }
}

/// Reads what nats-load prints.
///
/// # Errors
/// When it is something else, or a request was not answered as it should.
fn parse(output: &str) -> Result<Outcome> {
    let number = |name: &str| {
        let words = output.lines().filter_map(|line| line.split_once(' '));
        let value = words.filter(|(own, _)| *own == name).find_map(|(_, value)| value.parse::<f64>().ok());
        value.with_context(|| format!("nats-load printed no {name}"))
    };
    let count = |name| number(name).map(whole);
    let (requests, failures) = (count("requests")?, count("failures")?);
    if failures > 0 || requests == 0 {
        bail!("of {requests} requests, {failures} were answered otherwise than with what they sent");
    }
    let latency = Latency {
        requests_per_s: number("requests/s")?,
        p50_us: number("p50_us")?,
        p99_us: number("p99_us")?,
        p99_9_us: number("p99.9_us")?,
        max_us: number("max_us")?,
    };
    Ok(Outcome { requests, latency })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float that is cast saturates")]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str =
        "requests 1000\nfailures 0\nrequests/s 500.0\np50_us 1.5\np99_us 2.5\np99.9_us 3.5\nmax_us 4.5\n";

    #[test]
    fn a_report_is_read() {
        let latency = Latency { requests_per_s: 500.0, p50_us: 1.5, p99_us: 2.5, p99_9_us: 3.5, max_us: 4.5 };
        assert_eq!(parse(REPORT).unwrap(), Outcome { requests: 1_000, latency });
    }

    #[test]
    fn failures_are_an_error() {
        let error = parse(&REPORT.replace("failures 0", "failures 3")).unwrap_err().to_string();
        assert_eq!(error, "of 1000 requests, 3 were answered otherwise than with what they sent");
        assert!(parse(&REPORT.replace("1000", "0")).is_err());
        assert!(parse("").unwrap_err().to_string().contains("no requests"));
    }
}
