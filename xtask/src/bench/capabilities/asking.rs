//! The calls of one run, by a component or by native-calls of the `bench` crate, and what both say of them. It does not
//! know how many runs there are.

use anyhow::{Context, Result, bail};
use std::time::Duration;

use super::parts::{Backend, GATEWAY_HOST, Operation, Parts, STORE_HOST};
use crate::bench::{process_stats, programs};
use crate::{client, process};

/// The whole of a run by a component; the trigger's own timeout is shorter.
const RUN_TIMEOUT: Duration = Duration::from_secs(300);

/// Times of the calls of one run, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CallTimes {
    pub(super) mean_us: f64,
    pub(super) p50_us: f64,
}

/// What came of the outgoing requests of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RequestRate {
    pub(super) requests_per_s: f64,
    pub(super) cpu_us_per_request: f64,
}

impl Parts {
    /// # Errors
    /// When a call fails.
    pub(super) fn component_calls(
        &self,
        backend: Backend,
        operation: Operation,
        size: u32,
        count: u32,
    ) -> Result<CallTimes> {
        let (bucket, operation) = (backend.name(), operation.name());
        let target = format!("/keys/timed?bucket={bucket}&op={operation}&size={size}&count={count}");
        call_times(&self.ask(STORE_HOST, &target)?)
    }

    /// `None` where there is no client but the host.
    ///
    /// # Errors
    /// When a call fails.
    pub(super) fn native_calls(
        &self,
        backend: Backend,
        operation: Operation,
        size: u32,
        count: u32,
    ) -> Result<Option<CallTimes>> {
        let Some((client, place)) = self.native_place(backend) else { return Ok(None) };
        let mut command = programs::pinned(&self.native, programs::SERVER_CORE);
        command.args([client, &place, operation.name(), &size.to_string(), &count.to_string()]);
        call_times(&process::output(&mut command)?).map(Some)
    }

    /// # Errors
    /// When a request is not answered as it should.
    pub(super) fn component_requests(&self, count: u32, at_once: u32) -> Result<RequestRate> {
        let upstream = self.upstream.http;
        let target = format!("/out-timed?authority={upstream}&count={count}&at-once={at_once}");
        let before = process_stats::cpu_time(self.host.pid())?;
        let said = self.ask(GATEWAY_HOST, &target)?;
        let used = process_stats::cpu_time(self.host.pid())?.saturating_sub(before);
        // Those of the warm-up are among them.
        let sent = f64::from(count) + f64::from(count / 10);
        let cpu_us_per_request = used.as_secs_f64() * 1e6 / sent;
        Ok(RequestRate { requests_per_s: number(&said, "requests_per_s")?, cpu_us_per_request })
    }

    /// # Errors
    /// When a request is not answered as it should.
    pub(super) fn native_requests(&self, count: u32, at_once: u32) -> Result<RequestRate> {
        let mut command = programs::pinned(&self.native, programs::SERVER_CORE);
        command.args(["http", &self.upstream.http.to_string(), &count.to_string(), &at_once.to_string()]);
        let said = process::output(&mut command)?;
        Ok(RequestRate {
            requests_per_s: number(&said, "requests_per_s")?,
            cpu_us_per_request: number(&said, "cpu_us_per_request")?,
        })
    }

    fn ask(&self, host: &str, target: &str) -> Result<String> {
        let answer = client::get(self.host.http, host, target, RUN_TIMEOUT).with_context(|| target.to_owned())?;
        if answer.status != 200 {
            bail!("{target} was answered with {}: {}; {}", answer.status, answer.body.trim(), self.host.last_words());
        }
        Ok(answer.body)
    }
}

fn call_times(said: &str) -> Result<CallTimes> {
    Ok(CallTimes { mean_us: number(said, "mean_us")?, p50_us: number(said, "p50_us")? })
}

/// The number of the line that begins with this name.
fn number(said: &str, name: &str) -> Result<f64> {
    let words = said.lines().filter_map(|line| line.split_once(' '));
    let value = words.filter(|(own, _)| *own == name).find_map(|(_, value)| value.trim().parse().ok());
    value
        .filter(|value: &f64| value.is_finite())
        .with_context(|| format!("there is no {name} in what was said: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let times = CallTimes { mean_us: 2.5, p50_us: 1.25 };
        assert_eq!(call_times("mean_us 2.500\np50_us 1.250\n").unwrap(), times);
        // As it comes in chunks.
        assert_eq!(call_times("1d\r\nmean_us 2.500\np50_us 1.250\n\r\n0\r\n\r\n").unwrap(), times);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = call_times("mean_us 2.5\np50_us NaN\n").unwrap_err().to_string();
        assert!(error.contains("there is no p50_us"), "{error}");
    }
}
