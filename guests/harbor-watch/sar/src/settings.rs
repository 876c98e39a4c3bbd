//! What an operator may set of the detection. Must not know where it is set.

/// Chance that a pixel of pure sea passes the threshold, where nothing else is said.
const FALSE_ALARM_PROBABILITY: f64 = 1e-6;
/// Least and greatest such chance: beyond these there is nothing to see, or nothing else.
const FALSE_ALARM_BOUNDS: (f64, f64) = (1e-12, 1e-2);

/// What the detection is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    false_alarm_probability: f64,
}

/// Why a text is no setting.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("allowed is a number from {} to {}", FALSE_ALARM_BOUNDS.0, FALSE_ALARM_BOUNDS.1)]
pub struct SettingsError;

impl Default for Settings {
    fn default() -> Self {
        Self { false_alarm_probability: FALSE_ALARM_PROBABILITY }
    }
}

impl Settings {
    /// The same with another chance of a false alarm for each pixel of pure sea, from which the threshold follows.
    ///
    /// # Errors
    /// When `text` is no number within its bounds.
    pub fn with_false_alarm_probability(self, text: &str) -> Result<Self, SettingsError> {
        let (least, greatest) = FALSE_ALARM_BOUNDS;
        let chance = text.trim().parse::<f64>().ok().filter(|chance| (least..=greatest).contains(chance));
        chance.map(|false_alarm_probability| Self { false_alarm_probability }).ok_or(SettingsError)
    }

    pub(crate) fn false_alarm_probability(&self) -> f64 {
        self.false_alarm_probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_has_bounds() {
        let set = |text: &str| Settings::default().with_false_alarm_probability(text);
        assert_eq!(set("1e-6"), Ok(Settings::default()));
        assert_eq!(set(" 0.001\n").unwrap().false_alarm_probability(), 0.001);
        for bad in ["", "x", "0", "-1e-6", "1", "NaN", "inf", "1e-13"] {
            assert_eq!(set(bad), Err(SettingsError), "{bad}");
        }
    }
}
