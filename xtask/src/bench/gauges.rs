//! Gauges in the text of /metrics. It knows the format of Prometheus, and the names of the host that the caller passes.

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::time::Duration;

use crate::client;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The text of /metrics.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Asks a host.
    ///
    /// # Errors
    /// When it does not answer within 10 s.
    pub(crate) fn of(admin: SocketAddr) -> Result<Self> {
        let answer =
            client::get(admin, "localhost", "/metrics", TIMEOUT).context("the host does not answer /metrics")?;
        if answer.status != 200 {
            bail!("the host answers /metrics with {}", answer.status);
        }
        Ok(Self(answer.body))
    }

    /// The sum of all series of a metric; 0 where there is none.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.0.lines().filter_map(|line| value(line, name)).sum()
    }
}

fn value(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let value = match rest.strip_prefix('{') {
        // No label value of the host's has a bracket: they are names and words of fixed lists.
        Some(labels) => labels.split_once('}')?.1,
        None => rest.strip_prefix(' ')?,
    };
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn series_of_one_name_are_summed() {
        let text =
            "# HELP a_b words\n# TYPE a_b gauge\na_b{x=\"1\"} 2\na_b{x=\"2\"} 3.5\na_b_total{x=\"1\"} 100\na_c 7\n";
        let metrics = Metrics(text.into());
        assert_eq!(metrics.sum("a_b"), 5.5);
        assert_eq!(metrics.sum("a_c"), 7.0);
        assert_eq!(metrics.sum("a_d"), 0.0);
    }
}
