//! How far fetches have come, as bars on a terminal. Where standard error is none, the log says when an image is there.

use std::{
    collections::HashMap,
    io::IsTerminal,
    sync::{Mutex, PoisonError},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use roadstead_runtime::artifact::PullProgress;

/// Fetches that are smaller have no bar: they are over before one could be seen.
const SHOWN_BYTES_LEAST: u64 = 262_144;
const TEMPLATE: &str = "  {msg} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec}";

/// A bar for each fetch.
#[derive(Debug, Default)]
pub(super) struct Bars {
    all: MultiProgress,
    bars: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    /// Bars, where standard error is a terminal.
    pub(super) fn on_terminal() -> Option<Self> {
        std::io::stderr().is_terminal().then(Self::default)
    }
}

impl PullProgress for Bars {
    fn received(&self, image: &str, bytes: u64, of: u64) {
        if of < SHOWN_BYTES_LEAST {
            return;
        }
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars.entry(image.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
            self.all.add(ProgressBar::new(of).with_style(style).with_message(image.to_owned()))
        });
        bar.set_position(bytes);
    }

    fn ended(&self, image: &str) {
        if let Some(bar) = self.bars.lock().unwrap_or_else(PoisonError::into_inner).remove(image) {
            bar.finish_and_clear();
        }
    }
}
