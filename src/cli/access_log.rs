//! Where the access log goes: into the host's own log, into a file of its own, or nowhere. What a line says is the ingress's
//! business.

mod batch;
mod collector;
mod file;

use std::{cell::RefCell, convert::Infallible, io, path::PathBuf, str::FromStr};

use tracing::{Event, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

use batch::Batch;
pub(super) use collector::AccessLog;
use file::LogFile;

/// Target of the access log's lines.
pub(super) const TARGET: &str = "roadstead::access";

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// Into the host's log.
    Log,
    /// Nowhere.
    Off,
    /// At the end of a file, a JSON object a line.
    File(PathBuf),
}

impl FromStr for Destination {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "log" => Self::Log,
            "off" => Self::Off,
            path => Self::File(path.into()),
        })
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the access log cannot be written to {}; name a file in a folder that this user may write to, or off, or log (--access-log)",
    path.display()
)]
pub(super) struct AccessLogError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Hands events to the access log.
pub(super) struct Events(AccessLog);

impl Events {
    pub(super) fn to(log: AccessLog) -> Self {
        Self(log)
    }
}

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        thread_local! {
            /// Where values say what they are, while others hand theirs over.
            static OWN: RefCell<Batch> = RefCell::default();
        }
        OWN.with_borrow_mut(|own| {
            own.push(event);
            self.0.add(own);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_word_is_a_file() {
        let of = |text: &str| text.parse::<Destination>().unwrap();
        assert_eq!((of("log"), of("off")), (Destination::Log, Destination::Off));
        assert_eq!(of("./off"), Destination::File("./off".into()));
    }
}
