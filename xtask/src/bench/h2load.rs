//! h2load: HTTP/2 with many streams on a connection, without a bound on the rate. How it is called and what its output
//! says.

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::path::PathBuf;

use super::programs;
use crate::process;

/// One run against one server, over cleartext by prior knowledge.
pub(crate) struct Load {
    pub(crate) server: SocketAddr,
    pub(crate) connections: u32,
    /// Requests under way on each connection.
    pub(crate) streams: u32,
    pub(crate) seconds: u64,
}

/// What came of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) requests_per_s: f64,
}

/// The h2load that is there.
pub(crate) struct H2load {
    pub(crate) program: PathBuf,
}

impl H2load {
    /// Runs it to its end, on the client's core.
    ///
    /// # Errors
    /// When h2load fails, or a request was not answered as it should.
    pub(crate) fn run(&self, load: &Load) -> Result<Outcome> {
        let mut command = programs::pinned(&self.program, programs::CLIENT_CORE);
        command.args(["-t", "1", "-c", &load.connections.to_string(), "-m", &load.streams.to_string()]);
        command.args(["-D", &load.seconds.to_string()]).arg(format!("http://{}/", load.server));
        let told = process::output(&mut command)?;
        parse(&told).with_context(|| format!("h2load with {} connections", load.connections))
    }
}

/// Reads what h2load prints.
///
/// # Errors
/// When it is something else, or a request was answered otherwise than with 2xx or not at all. Those that are under way
/// when the time is over are counted as neither.
fn parse(output: &str) -> Result<Outcome> {
    let line = |name: &str| output.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let counted = |line: Option<&str>, name: &str| -> Option<u64> {
        line?.split(", ").find_map(|count| count.strip_suffix(name)?.trim().parse().ok())
    };
    let (requests, codes) = (line("requests:"), line("status codes:"));
    let rate = line("finished in").and_then(|line| line.split(", ").nth(1)?.strip_suffix("req/s")?.trim().parse().ok());
    let read = |line, name| counted(line, name).with_context(|| format!("h2load printed no number of {name}"));
    let (done, succeeded) = (read(requests, " done")?, read(requests, " succeeded")?);
    let (failed, good) = (read(requests, " failed")?, read(codes, " 2xx")?);
    let Some(requests_per_s) = rate else { bail!("h2load printed no rate: {output}") };
    if failed > 0 || done != succeeded || good < succeeded || succeeded == 0 {
        bail!("of {done} requests, {succeeded} were answered, {good} of them with 2xx, and {failed} failed");
    }
    Ok(Outcome { requests: succeeded, requests_per_s })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "starting benchmark...
spawning thread #0: 4 total client(s). Timing-based test with 0s of warm-up time and 1s of main duration for measurements.
Main benchmark duration is over for thread #0. Stopping all clients.

finished in 1.00s, 119544.00 req/s, 4.57MB/s
requests: 119544 total, 119944 started, 119544 done, 119544 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 119556 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 4.57MB (4788888) total, 117.08KB (119892) headers (space savings 98.99%), 2.39MB (2510424) data
";

    #[test]
    fn a_clean_run_is_read() {
        assert_eq!(parse(CLEAN).unwrap(), Outcome { requests: 119_544, requests_per_s: 119_544.0 });
    }

    #[test]
    fn any_other_answer_is_an_error() {
        let error = parse(&CLEAN.replace("119556 2xx, 0 3xx", "119000 2xx, 556 3xx")).unwrap_err().to_string();
        assert_eq!(error, "of 119544 requests, 119544 were answered, 119000 of them with 2xx, and 0 failed");
        assert!(parse(&CLEAN.replace("0 failed", "3 failed")).is_err());
        assert!(parse(&CLEAN.replace("119544", "0").replace("119556", "0")).is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = parse(&CLEAN.replace("status codes", "codes")).unwrap_err().to_string();
        assert_eq!(error, "h2load printed no number of  2xx");
        assert!(parse("").is_err());
    }
}
