//! Runs the pipeline natively: `cargo run --release -p harbor-watch-sar --example detect -- '{"seed":7}' > answer.json`.
//! The time it took goes to standard error.

use std::io::Write as _;
use std::time::Instant;

use harbor_watch_sar::{CpuDetector, DetectRequest, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let json = std::env::args().nth(1).unwrap_or_else(|| "{}".to_owned());
    let started = Instant::now();
    let report = run(&DetectRequest::from_json(json.as_bytes())?, &CpuDetector)?;
    eprintln!("{} ms; {:?}", started.elapsed().as_millis(), report.stats);
    std::io::stdout().write_all(&report.to_json()?)?;
    Ok(())
}
