//! The seam between the pipeline and who computes the detector: [`Detector`]. One implementation runs on the
//! processor, one hands tiles of the scene to a device. Must not know scenes, vessels or clusters.
//!
//! All detectors give equal answers, bit for bit: intensities are taken as whole numbers ([`UNITS_PER_INTENSITY`]), so
//! that their sums are exact in any order, and the one division, with its comparison to the threshold, is [`ratio`].

mod cpu;
mod tiled;

pub use cpu::CpuDetector;
pub use tiled::{Candidate, Found, HALF_WINDOW_MAX, LAND, Tile, TileDevice, TileLimits, TiledDetector};

/// A scene as a detector sees it. Both slices hold `width_px * height_px` values, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Pixels in a row.
    pub width_px: usize,
    /// Rows.
    pub height_px: usize,
    /// Intensity of each pixel, linear, relative to the mean of the open sea; seen in steps of 1/4096 and up to 2048.
    pub intensity: &'a [f32],
    /// Whether a pixel is sea. Land is neither tested nor used as clutter.
    pub sea: &'a [bool],
}

/// A rectangle around the cell under test, as half widths: 2 means 5 pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// To the east and to the west, pixels.
    pub columns: usize,
    /// To the north and to the south, pixels.
    pub rows: usize,
}

/// What a cell-averaging CFAR (constant false-alarm rate) detector needs to know.
#[derive(Clone, Copy, Debug)]
pub struct CfarParameters {
    /// Pixels too close to the cell under test to be clutter: a vessel must fit in.
    pub guard: Window,
    /// Pixels whose mean is the clutter; those of `guard` are left out.
    pub training: Window,
    /// A pixel is a hit when it is at least this many times the clutter.
    pub threshold: f32,
    /// Fewest sea pixels that make a mean; with less, a pixel is no hit.
    pub training_px_min: u32,
}

/// Why a detector gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("the {backend} detector failed: {reason}")]
pub struct DetectorError {
    /// The detector's [`Detector::backend`].
    pub backend: &'static str,
    /// What went wrong.
    pub reason: String,
}

/// Runs a CA-CFAR over an image.
pub trait Detector {
    /// What the answer's `compute_backend` says.
    fn backend(&self) -> &'static str;

    /// For each pixel its intensity over the mean clutter around it where that reaches the threshold, otherwise 0.
    ///
    /// # Errors
    /// [`DetectorError`] when the backend is lost or the image does not fit it.
    fn ratios(&self, image: &Image<'_>, parameters: &CfarParameters) -> Result<Vec<f32>, DetectorError>;
}

/// Steps in an intensity of 1.
const UNITS_PER_INTENSITY: f32 = 4096.0;
/// The brightest that a detector sees; brighter is taken for this.
const UNITS_MAX: u32 = (1 << 23) - 1;

/// An intensity as a whole number of steps.
fn units(intensity: f32) -> u32 {
    // The conversion is exact below its bounds; what is no number is 0.
    ((intensity * UNITS_PER_INTENSITY + 0.5) as u32).min(UNITS_MAX)
}

/// Sum and number of the sea pixels of some area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Total {
    units: u64,
    count: u32,
}

/// The intensity of a cell over the mean of its clutter where that reaches the threshold, otherwise 0.
fn ratio(units: u32, clutter: Total, parameters: &CfarParameters) -> f32 {
    if clutter.count < parameters.training_px_min {
        return 0.0;
    }
    // Both operands are exact: below 2^23 times below 2^30, and below 2^53.
    let ratio = (f64::from(units) * f64::from(clutter.count) / clutter.units as f64) as f32;
    if ratio >= parameters.threshold { ratio } else { 0.0 }
}

/// The threshold that pure speckle of `looks` looks exceeds with probability `false_alarm`, over a mean of many cells.
///
/// The chance that a gamma variate of shape L and mean 1 exceeds t is e^(-Lt) times the sum over k < L of (Lt)^k / k!;
/// it falls with t, so that bisection finds t.
pub(crate) fn threshold_for(false_alarm: f64, looks: u32) -> f64 {
    let (mut low, mut high) = (1.0, 100.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if exceedance(middle, looks) > false_alarm { low = middle } else { high = middle }
    }
    high
}

fn exceedance(threshold: f64, looks: u32) -> f64 {
    let scaled = f64::from(looks) * threshold;
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..looks {
        term *= scaled / f64::from(k);
        sum += term;
    }
    libm::exp(-scaled) * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_is_the_exponential() {
        assert!((threshold_for(1e-6, 1) - 6.0 * 10f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn more_looks_need_less() {
        assert!(threshold_for(1e-6, 4) < threshold_for(1e-6, 1));
        assert!((exceedance(threshold_for(1e-6, 4), 4) - 1e-6).abs() < 1e-9);
    }
}
