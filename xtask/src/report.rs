//! What a person sees while a command works: steps with their times, on standard error, coloured only on a terminal.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

const BOLD: &str = "1";
const RED: &str = "1;31";
const GREEN: &str = "32";

/// One step under way. Ends with [`Step::done`]; a step that fails is named by the error that ends the command.
pub(crate) struct Step {
    name: String,
    started: Instant,
}

impl Step {
    /// Announces a step: its name, what it does, and how long it may take where that is long.
    pub(crate) fn begin(name: impl Into<String>, what: impl fmt::Display) -> Self {
        let name = name.into();
        eprintln!("{} {}", paint(BOLD, format_args!("==> {name}:")), what);
        Self { name, started: Instant::now() }
    }

    /// Tells that the step went well, with its time, and returns the time.
    pub(crate) fn done(self, result: impl fmt::Display) -> Duration {
        let elapsed = self.started.elapsed();
        eprintln!("{} {result} ({})", paint(GREEN, format_args!("    {}:", self.name)), Seconds(elapsed));
        elapsed
    }
}

/// A line without a time of its own.
pub(crate) fn note(text: impl fmt::Display) {
    eprintln!("    {text}");
}

/// The error that ends a command, with its causes.
pub(crate) fn failure(error: &anyhow::Error) {
    eprintln!("{} {error:#}", paint(RED, "error:"));
}

/// A duration as a person reads it: `0.4 s`, `38 s`, `6 min 05 s`.
pub(crate) struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            10..60 => write!(f, "{seconds} s"),
            _ => write!(f, "{} min {:02} s", seconds / 60, seconds % 60),
        }
    }
}

fn paint(code: &str, text: impl fmt::Display) -> String {
    if io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Seconds;
    use std::time::Duration;

    #[test]
    fn times_are_short_to_read() {
        let shown = |ms| Seconds(Duration::from_millis(ms)).to_string();
        assert_eq!(shown(420), "0.4 s");
        assert_eq!(shown(38_900), "38 s");
        assert_eq!(shown(365_000), "6 min 05 s");
    }
}
