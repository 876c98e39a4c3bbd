//! NATS subjects, patterns over them, and queue groups, as the NATS documentation defines them.

use std::{fmt, str::FromStr, sync::Arc};

/// Longest subject, in bytes. The NATS server takes more; nothing that a person writes needs it.
const SUBJECT_BYTES_MAX: usize = 255;
/// Most tokens of a subject.
const TOKENS_MAX: usize = 32;
/// First tokens that belong to the server, its stores, other callers' inboxes, or the control plane.
const RESERVED: [&str; 7] = ["$SYS", "$JS", "$KV", "$O", "$NRG", "_INBOX", "runtime"];

/// Why a text is not a subject or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    #[error("the subject is empty")]
    Empty,
    #[error("the subject is {found} bytes long, at most {SUBJECT_BYTES_MAX} are allowed")]
    TooLong { found: usize },
    #[error("the subject has more than {TOKENS_MAX} tokens")]
    TooManyTokens,
    #[error("the subject has an empty token (a '.' at its beginning or end, or two in a row)")]
    EmptyToken,
    #[error("the subject has the character {0:?}")]
    Character(char),
    #[error("a wildcard stands where a single subject is needed")]
    Wildcard,
    #[error("'*' must be a whole token, '>' the whole last token")]
    WildcardPlace,
    #[error("subjects under '{0}.' are reserved")]
    Reserved(String),
}

/// One subject that a guest or a manifest may name: no wildcard, not reserved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        check_tokens(text)?;
        if text.split('.').any(|token| token == "*" || token == ">") {
            return Err(SubjectError::Wildcard);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a workload subscribes to: a subject in which `*` stands for one token and a last `>` for one or more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectPattern(Arc<str>);

impl SubjectPattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern is a single subject.
    pub fn is_literal(&self) -> bool {
        !self.0.split('.').any(|token| token == "*" || token == ">")
    }

    /// Whether `subject` matches.
    pub fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for expected in self.0.split('.') {
            match (expected, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(token)) if literal == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

impl FromStr for SubjectPattern {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        check_tokens(text)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_tokens(text: &str) -> Result<(), SubjectError> {
    if text.is_empty() {
        return Err(SubjectError::Empty);
    }
    if text.len() > SUBJECT_BYTES_MAX {
        return Err(SubjectError::TooLong { found: text.len() });
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(SubjectError::Character(c));
    }
    let tokens: Vec<&str> = text.split('.').collect();
    if tokens.len() > TOKENS_MAX {
        return Err(SubjectError::TooManyTokens);
    }
    if tokens.iter().any(|token| token.is_empty()) {
        return Err(SubjectError::EmptyToken);
    }
    let last = tokens.len() - 1;
    let misplaced = |(place, token): (usize, &&str)| match *token {
        "*" => false,
        ">" => place != last,
        other => other.contains(['*', '>']),
    };
    if tokens.iter().enumerate().any(misplaced) {
        return Err(SubjectError::WildcardPlace);
    }
    // A pattern whose first token is a wildcard does not reach '$' subjects on a NATS server, but does reach
    // inboxes: those are kept from guests when a message is delivered.
    match tokens.first() {
        Some(first) if RESERVED.contains(first) || first.starts_with('$') => {
            Err(SubjectError::Reserved((*first).to_owned()))
        }
        Some(first) if first.starts_with("_INBOX") => Err(SubjectError::Reserved((*first).to_owned())),
        _ => Ok(()),
    }
}

/// A queue group: of its subscribers, one gets each message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueGroup(Arc<str>);

impl QueueGroup {
    /// The group's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueueGroup {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        match text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '*' | '>')) {
            _ if text.is_empty() => Err(SubjectError::Empty),
            _ if text.len() > SUBJECT_BYTES_MAX => Err(SubjectError::TooLong { found: text.len() }),
            Some(c) => Err(SubjectError::Character(c)),
            None => Ok(Self(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects() {
        assert!("tasks.sar-processor".parse::<Subject>().is_ok());
        assert_eq!("".parse::<Subject>(), Err(SubjectError::Empty));
        assert_eq!("a..b".parse::<Subject>(), Err(SubjectError::EmptyToken));
        assert_eq!("a b".parse::<Subject>(), Err(SubjectError::Character(' ')));
        assert_eq!("a.*".parse::<Subject>(), Err(SubjectError::Wildcard));
        assert_eq!("a.b*".parse::<Subject>(), Err(SubjectError::WildcardPlace));
        for reserved in ["$SYS.x", "$JS.API", "_INBOX.a.b", "_INBOX_x.y", "runtime.host.a"] {
            assert!(matches!(reserved.parse::<Subject>(), Err(SubjectError::Reserved(_))), "{reserved}");
        }
    }

    #[test]
    fn patterns_match_as_the_server_does() {
        let matches =
            |pattern: &str, subject: &str| pattern.parse::<SubjectPattern>().is_ok_and(|p| p.matches(subject));
        assert!(matches("a.*.c", "a.b.c"));
        assert!(!matches("a.*.c", "a.b.d"));
        assert!(!matches("a.*", "a"));
        assert!(!matches("a.*", "a.b.c"));
        assert!(matches("a.>", "a.b.c"));
        assert!(!matches("a.>", "a"));
        assert!(matches(">", "a"));
        assert_eq!("a.>.b".parse::<SubjectPattern>(), Err(SubjectError::WildcardPlace));
    }

    #[test]
    fn a_subject_has_a_length_and_a_number_of_tokens() {
        let long = |bytes: usize| "a".repeat(bytes).parse::<Subject>();
        assert!(long(SUBJECT_BYTES_MAX).is_ok());
        assert_eq!(long(SUBJECT_BYTES_MAX + 1), Err(SubjectError::TooLong { found: SUBJECT_BYTES_MAX + 1 }));
        let of_tokens = |tokens: usize| vec!["a"; tokens].join(".").parse::<SubjectPattern>();
        assert!(of_tokens(TOKENS_MAX).is_ok());
        assert_eq!(of_tokens(TOKENS_MAX + 1), Err(SubjectError::TooManyTokens));
    }
}
