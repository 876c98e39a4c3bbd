//! The configuration of `wasmcloud:messaging`: which subjects a workload handles, how many at a time, and where it may
//! send. All but `publish` is published; that is an extension of ours.
//!
//! Checked when a manifest is read, and again by the plugin once `localResources.config` and what `configFrom` and
//! `secretFrom` name are merged in. Knows no broker.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use crate::{
    QueueGroup, SubjectPattern,
    decode::{DURATION, duration_help},
    diagnostic::quote,
    duration::{DurationError, parse_duration},
    subject::SubjectError,
};

/// The keys of the configuration.
pub const KEYS: [&str; 5] = [SUBSCRIPTIONS, CONSUMER_GROUP, MAX_IN_FLIGHT, ADMISSION_WAIT, PUBLISH];
/// Comma list of the subjects that the workload handles.
pub const SUBSCRIPTIONS: &str = "subscriptions";
/// The queue group, or `broadcast`.
pub const CONSUMER_GROUP: &str = "consumer_group";
/// Messages handled at a time.
pub const MAX_IN_FLIGHT: &str = "max_in_flight";
/// How long a message waits for a free instance.
pub const ADMISSION_WAIT: &str = "admission_wait";
/// Comma list of the subjects that the workload may send to.
pub const PUBLISH: &str = "publish";
/// Longest `admission_wait` (published).
pub const ADMISSION_WAIT_MAX: Duration = Duration::from_secs(10 * 60);

/// Most subjects of one list of a workload.
pub const SUBSCRIPTIONS_MAX: usize = 256;

/// The configuration of one workload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessagingConfig {
    /// No pattern twice, at most [`SUBSCRIPTIONS_MAX`]. Empty where the workload handles no messages.
    pub subscriptions: Vec<SubjectPattern>,
    pub consumer_group: ConsumerGroup,
    /// `None`: as many as there are instances.
    pub max_in_flight: Option<NonZeroU32>,
    /// `None`: the host's own limit. At most [`ADMISSION_WAIT_MAX`].
    pub admission_wait: Option<Duration>,
    /// The subjects that the workload may send to, at most [`SUBSCRIPTIONS_MAX`] entries; `None` where it names none.
    pub publish: Option<Vec<SubjectPattern>>,
}

/// Which replicas a message reaches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ConsumerGroup {
    /// One replica of the deployment.
    #[default]
    Default,
    /// Every replica.
    Broadcast,
    /// One of all the subscribers in the group.
    Named(QueueGroup),
}

/// Why a value of the configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessagingConfigError {
    #[error("{key} has the entry {pattern}, which is no subject")]
    Subject {
        /// The list.
        key: &'static str,
        /// Quoted and cut.
        pattern: String,
        source: SubjectError,
    },
    #[error("{key} has {pattern} twice")]
    SubjectTwice {
        /// The list.
        key: &'static str,
        /// Quoted and cut.
        pattern: String,
    },
    #[error("{key} has more than {SUBSCRIPTIONS_MAX} subjects")]
    TooManySubjects {
        /// The list.
        key: &'static str,
    },
    #[error("consumer_group {found} is no queue group")]
    ConsumerGroup {
        /// Quoted and cut.
        found: String,
        source: SubjectError,
    },
    #[error("max_in_flight {found} is no whole number of at least 1")]
    MaxInFlight {
        /// Quoted and cut.
        found: String,
    },
    #[error("admission_wait {found} is no duration")]
    AdmissionWait {
        /// Quoted and cut.
        found: String,
        source: DurationError,
    },
    #[error("admission_wait {found} is longer than 10m")]
    AdmissionWaitTooLong {
        /// Quoted and cut.
        found: String,
    },
}

impl MessagingConfigError {
    /// The key whose value it is.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Subject { key, .. } | Self::SubjectTwice { key, .. } | Self::TooManySubjects { key } => key,
            Self::ConsumerGroup { .. } => CONSUMER_GROUP,
            Self::MaxInFlight { .. } => MAX_IN_FLIGHT,
            Self::AdmissionWait { .. } | Self::AdmissionWaitTooLong { .. } => ADMISSION_WAIT,
        }
    }

    /// What a message that shows the whole value needs besides.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Subject { pattern, source, .. } => Some(format!("{pattern}: {source}")),
            Self::SubjectTwice { pattern, .. } => Some(format!("{pattern} is there twice")),
            Self::TooManySubjects { .. } => Some(format!("there are more than {SUBSCRIPTIONS_MAX}")),
            Self::AdmissionWait { source, .. } => duration_help(source),
            Self::ConsumerGroup { .. } | Self::MaxInFlight { .. } | Self::AdmissionWaitTooLong { .. } => None,
        }
    }
}

impl MessagingConfig {
    /// Reads the known keys of merged variables; others are for the component and say nothing here.
    ///
    /// # Errors
    /// The first value that is refused, in the order of [`KEYS`].
    pub fn from_variables(variables: &BTreeMap<String, String>) -> Result<Self, MessagingConfigError> {
        let value = |key: &str| variables.get(key).map(|text| text.trim());
        Ok(Self {
            subscriptions: subjects(SUBSCRIPTIONS, value(SUBSCRIPTIONS).unwrap_or_default())?,
            consumer_group: value(CONSUMER_GROUP).map(consumer_group).transpose()?.unwrap_or_default(),
            max_in_flight: value(MAX_IN_FLIGHT).map(max_in_flight).transpose()?,
            admission_wait: value(ADMISSION_WAIT).map(admission_wait).transpose()?,
            publish: value(PUBLISH).map(|list| subjects(PUBLISH, list)).transpose()?,
        })
    }
}

fn subjects(key: &'static str, list: &str) -> Result<Vec<SubjectPattern>, MessagingConfigError> {
    let mut kept: Vec<SubjectPattern> = Vec::new();
    for entry in list.split(',').map(str::trim).filter(|_| !list.is_empty()) {
        let pattern: SubjectPattern =
            entry.parse().map_err(|source| MessagingConfigError::Subject { key, pattern: quote(entry), source })?;
        if kept.len() == SUBSCRIPTIONS_MAX {
            return Err(MessagingConfigError::TooManySubjects { key });
        }
        if kept.contains(&pattern) {
            return Err(MessagingConfigError::SubjectTwice { key, pattern: quote(entry) });
        }
        kept.push(pattern);
    }
    Ok(kept)
}

fn consumer_group(text: &str) -> Result<ConsumerGroup, MessagingConfigError> {
    match text {
        "broadcast" => Ok(ConsumerGroup::Broadcast),
        _ => match text.parse() {
            Ok(group) => Ok(ConsumerGroup::Named(group)),
            Err(source) => Err(MessagingConfigError::ConsumerGroup { found: quote(text), source }),
        },
    }
}

fn max_in_flight(text: &str) -> Result<NonZeroU32, MessagingConfigError> {
    text.parse().map_err(|_| MessagingConfigError::MaxInFlight { found: quote(text) })
}

fn admission_wait(text: &str) -> Result<Duration, MessagingConfigError> {
    match parse_duration(text) {
        Ok(wait) if wait > ADMISSION_WAIT_MAX => Err(MessagingConfigError::AdmissionWaitTooLong { found: quote(text) }),
        Ok(wait) => Ok(wait),
        Err(source) => Err(MessagingConfigError::AdmissionWait { found: quote(text), source }),
    }
}

/// What the value of a key may be, for messages; `None` for keys that are not ours.
pub(crate) fn expected(key: &str) -> Option<String> {
    match key {
        SUBSCRIPTIONS | PUBLISH => Some("a comma list of subjects, each once".to_owned()),
        CONSUMER_GROUP => Some("broadcast, or the name of a queue group without spaces, '*' and '>'".to_owned()),
        MAX_IN_FLIGHT => Some("a whole number of at least 1".to_owned()),
        ADMISSION_WAIT => Some(format!("{DURATION}, at most 10m")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<MessagingConfig, MessagingConfigError> {
        let variables = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        MessagingConfig::from_variables(&variables)
    }

    #[test]
    fn nothing_is_the_default() {
        assert_eq!(config(&[("other", "x")]), Ok(MessagingConfig::default()));
        assert_eq!(config(&[("subscriptions", "")]), Ok(MessagingConfig::default()));
    }

    #[test]
    fn all_keys() {
        let read = config(&[
            ("subscriptions", "tasks.a, tasks.*.b,events.>"),
            ("consumer_group", "workers"),
            ("max_in_flight", "8"),
            ("admission_wait", "10m"),
            ("publish", "tasks.>,events.*"),
        ])
        .unwrap();
        let patterns: Vec<&str> = read.subscriptions.iter().map(SubjectPattern::as_str).collect();
        assert_eq!(patterns, ["tasks.a", "tasks.*.b", "events.>"]);
        assert!(matches!(read.consumer_group, ConsumerGroup::Named(group) if group.as_str() == "workers"));
        assert_eq!(read.max_in_flight.map(NonZeroU32::get), Some(8));
        assert_eq!(read.admission_wait, Some(ADMISSION_WAIT_MAX));
        let may_send: Vec<&str> = read.publish.iter().flatten().map(SubjectPattern::as_str).collect();
        assert_eq!(may_send, ["tasks.>", "events.*"]);
        assert_eq!(config(&[("publish", "")]).unwrap().publish, Some(Vec::new()));
        let broadcast = config(&[("consumer_group", "broadcast")]).unwrap();
        assert_eq!(broadcast.consumer_group, ConsumerGroup::Broadcast);
    }

    #[test]
    fn subscriptions_are_bounded() {
        let list: Vec<String> = (0..=SUBSCRIPTIONS_MAX).map(|n| format!("a.{n}")).collect();
        assert!(config(&[("subscriptions", &list[1..].join(","))]).is_ok());
        let error = config(&[("subscriptions", &list.join(","))]);
        assert_eq!(error, Err(MessagingConfigError::TooManySubjects { key: "subscriptions" }));
    }

    #[test]
    fn bad_values_name_their_key() {
        let table = [
            ("subscriptions", "a,,b", "subscriptions has the entry \"\", which is no subject"),
            ("subscriptions", "a,a", "subscriptions has \"a\" twice"),
            ("subscriptions", "$SYS.x", "subscriptions has the entry \"$SYS.x\", which is no subject"),
            ("publish", "_INBOX.>", "publish has the entry \"_INBOX.>\", which is no subject"),
            ("consumer_group", "", "consumer_group \"\" is no queue group"),
            ("consumer_group", "a b", "consumer_group \"a b\" is no queue group"),
            ("max_in_flight", "0", "max_in_flight \"0\" is no whole number of at least 1"),
            ("admission_wait", "5", "admission_wait \"5\" is no duration"),
            ("admission_wait", "601s", "admission_wait \"601s\" is longer than 10m"),
        ];
        let past = format!("{}s", ADMISSION_WAIT_MAX.as_secs() + 1);
        assert!(matches!(config(&[("admission_wait", &past)]), Err(MessagingConfigError::AdmissionWaitTooLong { .. })));
        for (key, value, message) in table {
            let error = config(&[(key, value)]).unwrap_err();
            assert_eq!((error.key(), error.to_string().as_str()), (key, message));
        }
    }
}
