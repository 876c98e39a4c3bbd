//! `bare-loop COMPONENT SECONDS`: how fast one thread makes fresh instances of a component and calls them, and how much
//! of that is the making. `cargo xtask bench http` reads what it prints: a name and a number on each line.

use std::{
    env, fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use roadstead_bench::Bare;
use roadstead_config::Limits;
use roadstead_runtime::EngineWithClock;
use wasmtime::{Error, Result};

/// Turns between two looks at the clock.
const TURNS: u32 = 64;
/// Turns before the measurement: the first ones touch memory for the first time.
const WARM_UP_TURNS: u32 = 1_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let [component, seconds] = arguments else { return Err(Error::msg("usage: bare-loop COMPONENT.wasm SECONDS")) };
    let seconds: u64 = seconds.parse().map_err(|_| Error::msg("SECONDS must be a whole number"))?;
    let span = Duration::from_secs(seconds);
    let engine = EngineWithClock::new(&Limits::default())?;
    let bytes = fs::read(component).map_err(|error| Error::msg(format!("cannot read {component}: {error}")))?;
    let bare = Bare::new(engine.engine(), &bytes)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (call, instantiation) = runtime.block_on(async {
        let call = time_per_turn(span, async || bare.call().await.map(drop)).await?;
        let instantiation = time_per_turn(span, async || bare.instantiate().await).await?;
        Ok::<_, Error>((call, instantiation))
    })?;
    println!("calls/s {:.0}", 1.0 / call.as_secs_f64());
    println!("us/call {:.2}", micros(call));
    println!("us/instantiation {:.2}", micros(instantiation));
    Ok(())
}

/// The mean time of a turn, over at least `span`.
async fn time_per_turn(span: Duration, turn: impl AsyncFn() -> Result<()>) -> Result<Duration> {
    for _ in 0..WARM_UP_TURNS {
        turn().await?;
    }
    let begun = Instant::now();
    let mut turns = 0_u32;
    while begun.elapsed() < span || turns == 0 {
        for _ in 0..TURNS {
            turn().await?;
        }
        turns = turns.saturating_add(TURNS);
    }
    Ok(begun.elapsed() / turns)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
