//! The synthetic scene: sea, land and vessels as the mean backscatter of each pixel, then speckle over all of it.
//!
//! Intensities are relative to the mean of the open sea, which is 1. Must not know how vessels are found again, nor
//! AIS.

mod hull;
mod quicklook;
mod sea;

pub use quicklook::{Quicklook, Scene};
pub(crate) use sea::SeaMask;

use crate::fleet::Vessel;
use crate::geo::Frame;
use crate::random::{Purpose, Stream};

/// Independent looks averaged into each pixel.
pub(crate) const LOOKS: u32 = 4;
/// Mean backscatter of land.
const LAND: f32 = 5.0;
/// How far swell and wind streaks move the sea's backscatter from its mean.
const SWELL: f32 = 0.12;

/// Draws the intensity image of `vessels` on the sea and land of `mask`, row by row from the north-west.
pub(crate) fn intensity(frame: &Frame, mask: &SeaMask, vessels: &[Vessel], seed: u64) -> Vec<f32> {
    let mut image = background(frame, mask, seed);
    for vessel in vessels {
        hull::paint(&mut image, frame, vessel);
    }
    let mut speckle = Stream::new(seed, Purpose::Speckle);
    for pixel in &mut image {
        *pixel *= speckle.speckle(LOOKS) as f32;
    }
    image
}

/// Sea with slow swell, and land with a coarse relief.
fn background(frame: &Frame, mask: &SeaMask, seed: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed, Purpose::Swell);
    let columns = wave(frame.width_px, frame.spacing_x(), &mut stream);
    let rows = wave(frame.height_px, frame.spacing_y(), &mut stream);
    let mut image = Vec::with_capacity(frame.width_px * frame.height_px);
    for (row, sea) in rows.iter().zip(mask.rows()) {
        image.extend(columns.iter().zip(sea).map(|(column, is_sea)| {
            let swell = row * column;
            if *is_sea { 1.0 + SWELL * swell } else { LAND * (1.0 + 0.5 * swell) }
        }));
    }
    image
}

/// A sine along one side of the scene, a few kilometres long, with a random phase.
fn wave(length_px: usize, spacing: f64, stream: &mut Stream) -> Vec<f32> {
    let wavelength = stream.between(2_500.0, 5_000.0);
    let phase = stream.between(0.0, core::f64::consts::TAU);
    let angle = |index: usize| phase + core::f64::consts::TAU * index as f64 * spacing / wavelength;
    (0..length_px).map(|index| libm::sin(angle(index)) as f32).collect()
}
