//! Programs that speak HTTP as users and attackers do: curl, h2load, slowhttptest.

use std::{process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

/// A command of a program that `cargo xtask setup` installs, which ends with the test and asks no proxy.
pub fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).env_remove("http_proxy").env_remove("HTTP_PROXY").env_remove("ALL_PROXY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// What a program prints on its standard output; the test fails when the program does, or takes longer than `patience`.
pub async fn printed(mut command: Command, patience: Duration) -> String {
    let child = command.spawn().unwrap_or_else(|error| {
        panic!("{command:?} cannot be started ({error}); `cargo xtask setup` installs it");
    });
    let output = timeout(patience, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{command:?} does not end within {patience:?}")).unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed ({}):\n{text}\n{errors}", output.status);
    text.into_owned()
}
