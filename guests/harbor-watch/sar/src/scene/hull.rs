//! How one vessel looks to the radar: an extended hull, a few bright corners, the sidelobes of the brightest.
//! Must not know other vessels, land or speckle.

use core::f64::consts::{PI, SQRT_2};

use crate::fleet::Vessel;
use crate::geo::{Frame, Point};

/// Width of the radar's response, as the standard deviation in pixels.
const RESPONSE_PX: f64 = 0.55;
/// How far from the brightest corner sidelobes are drawn, pixels.
const SIDELOBE_REACH_PX: i64 = 12;
/// Sidelobe level relative to an unweighted aperture's.
const SIDELOBE_WEIGHT: f64 = 0.12;

/// Adds the mean backscatter of `vessel` to `image`.
pub(super) fn paint(image: &mut [f32], frame: &Frame, vessel: &Vessel) {
    let response = RESPONSE_PX * frame.spacing_x().max(frame.spacing_y());
    let profile = Profile::new(vessel, response);
    let reach = vessel.length_m / 2.0 + 4.0 * response;
    let columns = span(vessel.point.x, reach, frame.spacing_x(), frame.width_px);
    for row in span(vessel.point.y, reach, frame.spacing_y(), frame.height_px) {
        for column in columns.clone() {
            let point = frame.pixel_centre(column as f64, row as f64);
            add(image, frame, column as i64, row as i64, profile.at(point));
        }
    }
    sidelobes(image, frame, profile.brightest(), profile.peak);
}

/// The pixels of one side that `reach` metres around `middle` touch.
fn span(middle: f64, reach: f64, spacing: f64, length_px: usize) -> core::ops::Range<usize> {
    let first = libm::floor((middle - reach) / spacing).max(0.0) as usize;
    let end = libm::ceil((middle + reach) / spacing).max(0.0) as usize;
    first.min(length_px)..end.min(length_px)
}

fn add(image: &mut [f32], frame: &Frame, column: i64, row: i64, value: f64) {
    let (Ok(column), Ok(row)) = (usize::try_from(column), usize::try_from(row)) else { return };
    if column < frame.width_px
        && let Some(pixel) = image.get_mut(row * frame.width_px + column)
    {
        *pixel += value as f32;
    }
}

/// A vessel's backscatter in its own axes.
struct Profile {
    middle: Point,
    along: (f64, f64),
    half_length: f64,
    half_beam: f64,
    response: f64,
    /// Scale that makes the middle of the hull as bright as asked for, however few pixels it covers: real vessels
    /// are dominated by a few corners, which do not fade when the pixel grows.
    hull: f64,
    peak: f64,
}

/// Bright corners: place along the hull (half lengths from the middle, bow positive) and strength. The first, the
/// bridge aft, is the brightest.
const CORNERS: [(f64, f64); 3] = [(-0.7, 1.0), (0.1, 0.45), (0.75, 0.6)];

impl Profile {
    fn new(vessel: &Vessel, response: f64) -> Self {
        let heading = vessel.heading_deg.to_radians();
        let (half_length, half_beam) = (vessel.length_m / 2.0, vessel.beam_m / 2.0);
        let fill = blurred_box(0.0, half_length, response) * blurred_box(0.0, half_beam, response);
        Self {
            middle: vessel.point,
            along: (libm::sin(heading), -libm::cos(heading)),
            half_length,
            half_beam,
            response,
            hull: vessel.backscatter / fill.max(1e-3),
            peak: vessel.backscatter * 2.0,
        }
    }

    fn brightest(&self) -> Point {
        let offset = CORNERS.first().map_or(0.0, |(place, _)| place * self.half_length);
        Point { x: self.middle.x + self.along.0 * offset, y: self.middle.y + self.along.1 * offset }
    }

    fn at(&self, point: Point) -> f64 {
        let (east, south) = (point.x - self.middle.x, point.y - self.middle.y);
        let along = east * self.along.0 + south * self.along.1;
        let across = east * self.along.1 - south * self.along.0;
        let hull = blurred_box(along, self.half_length, self.response)
            * blurred_box(across, self.half_beam, self.response)
            * self.hull;
        let corners: f64 = CORNERS
            .iter()
            .map(|(place, strength)| {
                let off = along - place * self.half_length;
                let square = (off * off + across * across) / (self.response * self.response);
                strength * libm::exp(-0.5 * square)
            })
            .sum();
        hull + corners * self.peak
    }
}

/// A box of height 1 from `-half` to `half`, blurred by the radar's response.
fn blurred_box(at: f64, half: f64, response: f64) -> f64 {
    let scale = SQRT_2 * response;
    0.5 * (libm::erf((at + half) / scale) - libm::erf((at - half) / scale))
}

/// The cross of range and azimuth sidelobes around `point`.
fn sidelobes(image: &mut [f32], frame: &Frame, point: Point, peak: f64) {
    let column = libm::floor(point.x / frame.spacing_x()) as i64;
    let row = libm::floor(point.y / frame.spacing_y()) as i64;
    for offset in (-SIDELOBE_REACH_PX..=SIDELOBE_REACH_PX).filter(|offset| offset.abs() >= 2) {
        let argument = PI * offset as f64 / 1.3;
        let sinc = libm::sin(argument) / argument;
        let level = peak * SIDELOBE_WEIGHT * sinc * sinc;
        add(image, frame, column + offset, row, level);
        add(image, frame, column, row + offset, level);
    }
}
