//! `roadstead health`: the health check of a container image that holds nothing but this program.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use super::{fail, sockets::ADMIN_ADDR_DEFAULT};

/// Time that the whole check may take, per step.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// Flags of `roadstead health`.
#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    /// Admin address of the host.
    #[arg(long, default_value_t = ADMIN_ADDR_DEFAULT, env = "ROADSTEAD_ADMIN_ADDR")]
    admin_addr: SocketAddr,
    /// Ask whether it is ready instead of whether it is alive.
    #[arg(long)]
    ready: bool,
}

#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("no host answers at {address}")]
    Unreachable {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the host at {address} says: {answer}")]
    Unhealthy { address: SocketAddr, answer: String },
}

/// Runs the command; exit code 0 when the host is well.
pub(super) fn main(arguments: &HealthArguments) -> ExitCode {
    match check(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn check(arguments: &HealthArguments) -> Result<(), HealthError> {
    let address = arguments.admin_addr;
    let answer = ask(arguments).map_err(|source| HealthError::Unreachable { address, source })?;
    if answer.lines().next().is_some_and(|line| line.contains(" 200 ")) {
        return Ok(());
    }
    let answer = answer.lines().last().unwrap_or_default().to_owned();
    Err(HealthError::Unhealthy { address, answer })
}

fn ask(arguments: &HealthArguments) -> std::io::Result<String> {
    let path = if arguments.ready { "/readyz" } else { "/healthz" };
    let mut stream = TcpStream::connect_timeout(&arguments.admin_addr, STEP_TIMEOUT)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT))?;
    stream.set_write_timeout(Some(STEP_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4_096).read_to_string(&mut answer)?;
    Ok(answer)
}
