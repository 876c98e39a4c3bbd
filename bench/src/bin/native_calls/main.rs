//! `native-calls redb|nats|postgres PLACE get|set SIZE COUNT` and `native-calls http ADDRESS COUNT AT-ONCE`: what a host does
//! for its components, done by the libraries' own clients and nothing around them. `cargo xtask bench capabilities` reads
//! what it prints, a name and a number on each line, and compares. It knows no host; the statements for PostgreSQL are
//! those of the host, whose schema has to be there.

mod http;
mod stores;

use std::{env, process::ExitCode, time::Duration};

use stores::{Nats, Operation, Postgres, Redb};

type AnyError = Box<dyn std::error::Error>;

const USAGE: &str = "usage: native-calls redb|nats|postgres PLACE get|set SIZE COUNT | http ADDRESS COUNT AT-ONCE";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // On one thread no call waits for another thread to be woken: the least that a client can take.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

async fn run(arguments: &[String]) -> Result<(), AnyError> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (backend, place, operation, size, count) = match *words.as_slice() {
        ["http", address, count, at_once] => {
            return http::run(address.parse()?, count.parse()?, at_once.parse()?).await;
        }
        [backend, place, operation, size, count] => (backend, place, operation, size, count),
        _ => return Err(USAGE.into()),
    };
    let operation = match operation {
        "get" => Operation::Get,
        "set" => Operation::Set,
        _ => return Err(USAGE.into()),
    };
    let (value, count) = (stores::noise(size.parse()?), count.parse()?);
    let times = match backend {
        "redb" => stores::time(&Redb::open(place)?, operation, &value, count).await?,
        "nats" => stores::time(&Nats::open(place).await?, operation, &value, count).await?,
        "postgres" => stores::time(&Postgres::open(place).await?, operation, &value, count).await?,
        _ => return Err(USAGE.into()),
    };
    print(times);
    Ok(())
}

/// Mean and median of the calls, in microseconds.
fn print(mut times: Vec<Duration>) {
    times.sort_unstable();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let mean = micros(times.iter().sum()) / times.len() as f64;
    println!("mean_us {mean:.3}");
    println!("p50_us {:.3}", times.get(times.len() / 2).copied().map_or(f64::NAN, micros));
}
