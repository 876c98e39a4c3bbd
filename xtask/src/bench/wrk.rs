//! wrk: load without a bound on its rate. How it is called and what its output says.

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{process_stats, programs};
use crate::process;

/// One run against one server.
pub(crate) struct Load<'a> {
    pub(crate) server: SocketAddr,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) script: Option<&'a Path>,
    pub(crate) connections: u32,
    pub(crate) seconds: u64,
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) requests_per_s: f64,
    /// Answers other than 2xx and 3xx.
    pub(crate) bad_answers: u64,
    pub(crate) socket_errors: u64,
}

impl Outcome {
    /// # Errors
    /// When not every request was answered as it should: such figures say nothing.
    pub(crate) fn must_be_clean(self) -> Result<Self> {
        if self.bad_answers > 0 || self.socket_errors > 0 || self.requests == 0 {
            bail!(
                "of {} requests, {} were answered with an error, and there were {} socket errors",
                self.requests,
                self.bad_answers,
                self.socket_errors
            );
        }
        Ok(self)
    }
}

/// What a server did in a run, and what it cost the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speed {
    pub(crate) requests_per_s: f64,
    /// Microseconds of the server's processor time.
    pub(crate) cpu_us_per_request: f64,
}

/// The wrk that is there.
pub(crate) struct Wrk {
    pub(crate) program: PathBuf,
}

impl Wrk {
    /// The command line, pinned to the client's core.
    pub(crate) fn command(&self, load: &Load<'_>) -> Command {
        let mut command = programs::pinned(&self.program, programs::CLIENT_CORE);
        command.args(["-t1", "--timeout", "10s"]);
        command.arg(format!("-c{}", load.connections)).arg(format!("-d{}s", load.seconds));
        if let Some(host) = load.host {
            command.arg("-H").arg(format!("Host: {host}"));
        }
        if let Some(script) = load.script {
            command.arg("-s").arg(script);
        }
        command.arg(format!("http://{}{}", load.server, load.target));
        command
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When wrk fails, or a request was not answered as it should.
    pub(crate) fn run(&self, load: &Load<'_>) -> Result<Outcome> {
        let told = process::output(&mut self.command(load))?;
        let outcome = parse(&told).and_then(Outcome::must_be_clean);
        outcome.with_context(|| format!("wrk with {} connections on {}", load.connections, load.target))
    }

    /// The same, with what it costs the process `server`.
    ///
    /// # Errors
    /// As [`Wrk::run`], and when the process has ended.
    pub(crate) fn measure(&self, server: u32, load: &Load<'_>) -> Result<Speed> {
        let before = process_stats::cpu_time(server)?;
        let Outcome { requests, requests_per_s, .. } = self.run(load)?;
        let used = process_stats::cpu_time(server)?.saturating_sub(before);
        Ok(Speed { requests_per_s, cpu_us_per_request: used.as_secs_f64() * 1e6 / requests as f64 })
    }
}

/// Reads what wrk prints.
///
/// # Errors
/// When it is something else.
pub(crate) fn parse(output: &str) -> Result<Outcome> {
    let (mut requests, mut requests_per_s, mut bad_answers, mut socket_errors) = (None, None, 0, 0);
    for line in output.lines().map(str::trim) {
        if let Some((count, _)) = line.split_once(" requests in ") {
            requests = count.parse().ok();
        } else if let Some(rate) = line.strip_prefix("Requests/sec:") {
            requests_per_s = rate.trim().parse().ok();
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            bad_answers = count.trim().parse().context("wrk counts no answers")?;
        } else if let Some(errors) = line.strip_prefix("Socket errors:") {
            let counts = errors.split(',').filter_map(|error| error.split_whitespace().last()?.parse::<u64>().ok());
            socket_errors = counts.sum();
        }
    }
    let (Some(requests), Some(requests_per_s)) = (requests, requests_per_s) else {
        bail!("wrk printed no result: {output}");
    };
    Ok(Outcome { requests, requests_per_s, bad_answers, socket_errors })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "Running 1s test @ http://127.0.0.1:18999/
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   147.66us  201.37us   4.66ms   98.91%
    Req/Sec    28.11k     3.49k   31.01k    81.82%
  30803 requests in 1.10s, 3.55MB read
Requests/sec:  27992.93
Transfer/sec:      3.23MB
";

    #[test]
    fn a_clean_run_is_read() {
        let outcome = parse(CLEAN).unwrap().must_be_clean().unwrap();
        assert_eq!(outcome, Outcome { requests: 30803, requests_per_s: 27992.93, bad_answers: 0, socket_errors: 0 });
    }

    #[test]
    fn errors_are_counted_and_refused() {
        let text = CLEAN.replace(
            "Requests/sec",
            "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 17\nRequests/sec",
        );
        let outcome = parse(&text).unwrap();
        assert_eq!((outcome.socket_errors, outcome.bad_answers), (4321, 17));
        let error = outcome.must_be_clean().unwrap_err().to_string();
        assert_eq!(error, "of 30803 requests, 17 were answered with an error, and there were 4321 socket errors");
    }

    #[test]
    fn no_result_is_an_error() {
        assert!(parse("unable to connect to 127.0.0.1:18998 Connection refused").is_err());
        let idle = CLEAN.replace("30803", "0");
        assert!(parse(&idle).unwrap().must_be_clean().is_err());
    }
}
