//! The seam between the pipeline and who computes the detector: [`Detector`]. One implementation runs on the
//! processor; another may run elsewhere. Must not know scenes, vessels or clusters.

mod cpu;

pub use cpu::CpuDetector;

/// A scene as a detector sees it. Both slices hold `width_px * height_px` values, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Pixels in a row.
    pub width_px: usize,
    /// Rows.
    pub height_px: usize,
    /// Intensity of each pixel, linear.
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
