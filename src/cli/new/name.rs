//! The name of a new project, which ends up in host names, subjects, names of workloads and a path: only what is valid in
//! all of them is one. It must not know what the project looks like.

use std::{fmt, str::FromStr};

use roadstead_config::{NameError, Namespace};

/// Longest name in bytes: `NAME-gateway` is to be a DNS label of at most 63.
const NAME_BYTES_MAX: usize = 55;

/// A name that can be part of a host name, a subject, a crate and a folder as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProjectName(String);

/// Why a text is no name of a project.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProjectNameError {
    #[error("the name {0}")]
    Label(#[from] NameError),
    #[error("the name is {found} bytes long, at most {NAME_BYTES_MAX} are allowed")]
    TooLong { found: usize },
    #[error("the name begins with a digit; a crate's name begins with a letter")]
    Digit,
}

impl ProjectName {
    /// The name as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectName {
    type Err = ProjectNameError;

    fn from_str(text: &str) -> Result<Self, ProjectNameError> {
        // A namespace is a DNS label as well.
        let label: Namespace = text.parse()?;
        let name = label.as_str();
        if name.len() > NAME_BYTES_MAX {
            return Err(ProjectNameError::TooLong { found: name.len() });
        }
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(ProjectNameError::Digit);
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_wherever_it_is_put() {
        for good in ["hello", "a", "a-b-2", &"a".repeat(NAME_BYTES_MAX)] {
            assert!(good.parse::<ProjectName>().is_ok(), "{good}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", "Hello", "a_b", "a.b", "../a", "/a", "-a", "a-", "2a", "a b", "a\n", "é", ">", &long] {
            assert!(bad.parse::<ProjectName>().is_err(), "{bad}");
        }
        assert_eq!(long.parse::<ProjectName>(), Err(ProjectNameError::TooLong { found: NAME_BYTES_MAX + 1 }));
    }
}
