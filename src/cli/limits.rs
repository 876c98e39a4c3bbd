//! `--limit NAME=VALUE`: every row of the table of limits as a flag.

use clap::Args;
use roadstead_config::{LimitSetting, Limits};

/// Flags of limits.
#[derive(Debug, Args)]
pub(super) struct LimitArguments {
    /// Another value for a limit of docs/limits.md, in its unit; may be given several times. Holds against every
    /// other flag for the same limit.
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = str::parse::<LimitSetting>)]
    settings: Vec<LimitSetting>,
}

impl LimitArguments {
    /// `limits` with what the flags say.
    pub(super) fn apply(&self, limits: Limits) -> Limits {
        limits.with(&self.settings)
    }
}
