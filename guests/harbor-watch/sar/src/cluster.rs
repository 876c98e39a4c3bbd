//! From pixels over the threshold to vessels: connected components and their shape.
//! Must not know AIS, nor what is really in the scene.

use crate::geo::{Frame, Point, normal_heading};

/// Pixels farther apart than this belong to different vessels, metres; at least one pixel.
const GAP_M: f64 = 35.0;
/// Longest cluster that can be a vessel, metres.
const LENGTH_MAX_M: f64 = 600.0;
/// A cluster this many times fainter than one nearby is taken for its sidelobe.
const SIDELOBE_RATIO: f32 = 12.0;
/// How far sidelobes reach, pixels.
const SIDELOBE_REACH_PX: f64 = 14.0;
/// Elongation (long axis over short axis) below which a shape has no direction.
const ELONGATION_MIN: f64 = 1.5;

/// One detected vessel.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    /// Centre, weighted by intensity, scene metres.
    pub(crate) point: Point,
    pub(crate) pixels: usize,
    /// Greatest intensity over clutter.
    pub(crate) peak: f32,
    pub(crate) length_m: f64,
    /// Direction of the long axis, 0 to 180 degrees clockwise from north: an image cannot tell bow from stern. None
    /// for a round shape.
    pub(crate) axis_deg: Option<f64>,
}

/// The vessels among the hits of `ratios`, the brightest first.
pub(crate) fn blobs(ratios: &[f32], frame: &Frame) -> Vec<Blob> {
    let pixel_area = frame.spacing_x() * frame.spacing_y();
    let pixels_min = libm::round(900.0 / pixel_area).clamp(2.0, 24.0) as usize;
    let mut found: Vec<Blob> = components(ratios, frame)
        .iter()
        .filter(|component| component.len() >= pixels_min)
        .map(|component| measure(component, frame))
        .filter(|blob| blob.length_m <= LENGTH_MAX_M)
        .collect();
    // Stable and by value only, so that equal scenes give equal lists.
    found.sort_by(|one, other| other.peak.total_cmp(&one.peak));
    without_sidelobes(&found, frame)
}

/// A pixel over the threshold.
#[derive(Clone, Copy)]
struct Hit {
    column: usize,
    row: usize,
    ratio: f32,
}

/// Groups hits that are at most the gap apart.
fn components(ratios: &[f32], frame: &Frame) -> Vec<Vec<Hit>> {
    let reach = |spacing: f64| libm::round(GAP_M / spacing).clamp(1.0, 6.0) as usize;
    let (reach_x, reach_y) = (reach(frame.spacing_x()), reach(frame.spacing_y()));
    let mut left = ratios.to_vec();
    let mut components = Vec::new();
    for start in 0..left.len() {
        let Some(hit) = take(&mut left, start, frame.width_px) else { continue };
        let mut component = vec![hit];
        let mut visited = 0;
        while let Some(&Hit { column, row, .. }) = component.get(visited) {
            visited += 1;
            for y in row.saturating_sub(reach_y)..=(row + reach_y).min(frame.height_px - 1) {
                for x in column.saturating_sub(reach_x)..=(column + reach_x).min(frame.width_px - 1) {
                    component.extend(take(&mut left, y * frame.width_px + x, frame.width_px));
                }
            }
        }
        components.push(component);
    }
    components
}

/// The hit at `index`, which is then no longer there.
fn take(left: &mut [f32], index: usize, width_px: usize) -> Option<Hit> {
    let ratio = left.get_mut(index).filter(|ratio| **ratio > 0.0).map(core::mem::take)?;
    Some(Hit { column: index % width_px, row: index / width_px, ratio })
}

fn measure(component: &[Hit], frame: &Frame) -> Blob {
    let centre = mean(component, frame, |hit| f64::from(hit.ratio));
    let middle = mean(component, frame, |_| 1.0);
    let count = component.len() as f64;
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for hit in component {
        let point = frame.pixel_centre(hit.column as f64, hit.row as f64);
        let (x, y) = (point.x - middle.x, point.y - middle.y);
        xx += x * x / count;
        yy += y * y / count;
        xy += x * y / count;
    }
    // Each pixel is a square, not a point.
    xx += frame.spacing_x() * frame.spacing_x() / 12.0;
    yy += frame.spacing_y() * frame.spacing_y() / 12.0;
    let half_trace = (xx + yy) / 2.0;
    let root = libm::hypot((xx - yy) / 2.0, xy);
    let (long, short) = (half_trace + root, (half_trace - root).max(1e-9));
    let axis = libm::atan2(xy, long - yy);
    // A bar of length l has variance l²/12 along itself; the radar's response adds about a pixel on each end.
    let blur = frame.spacing_x().max(frame.spacing_y()) * 1.5;
    let length_m = (libm::sqrt(12.0 * long) - blur).max(blur / 1.5);
    let elongated = libm::sqrt(long / short) >= ELONGATION_MIN;
    Blob {
        point: centre,
        pixels: component.len(),
        peak: component.iter().map(|hit| hit.ratio).fold(0.0, f32::max),
        length_m,
        // x is to the east and y to the south: a heading from north is a quarter turn ahead of atan2's angle.
        axis_deg: elongated.then(|| libm::fmod(normal_heading(axis.to_degrees() + 90.0), 180.0)),
    }
}

fn mean(component: &[Hit], frame: &Frame, weight: impl Fn(&Hit) -> f64) -> Point {
    let (mut x, mut y, mut total) = (0.0, 0.0, 0.0);
    for hit in component {
        let point = frame.pixel_centre(hit.column as f64, hit.row as f64);
        let weight = weight(hit);
        x += point.x * weight;
        y += point.y * weight;
        total += weight;
    }
    Point { x: x / total, y: y / total }
}

/// Drops what lies in the range or azimuth sidelobes of something much brighter. `found` is sorted by brightness.
fn without_sidelobes(found: &[Blob], frame: &Frame) -> Vec<Blob> {
    let mut kept: Vec<Blob> = Vec::with_capacity(found.len());
    for blob in found {
        let is_sidelobe = kept.iter().any(|bright| {
            let reach_x = SIDELOBE_REACH_PX * frame.spacing_x() + bright.length_m / 2.0;
            let reach_y = SIDELOBE_REACH_PX * frame.spacing_y() + bright.length_m / 2.0;
            let (dx, dy) = ((blob.point.x - bright.point.x).abs(), (blob.point.y - bright.point.y).abs());
            let aside = bright.length_m / 2.0 + 2.0 * frame.spacing_x().max(frame.spacing_y());
            bright.peak > blob.peak * SIDELOBE_RATIO && ((dx < reach_x && dy < aside) || (dy < reach_y && dx < aside))
        });
        if !is_sidelobe {
            kept.push(blob.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::BoundingBox;

    fn frame() -> Frame {
        Frame::new(BoundingBox { west: 0.0, south: 0.0, east: 0.018, north: 0.018 }, 100, 100)
    }

    #[test]
    fn a_bar_has_its_length_and_direction() {
        let frame = frame();
        let mut ratios = vec![0.0; 10_000];
        // To the south-east, 15 pixels of about 20 m, three wide.
        for step in 0..15 {
            for side in 0..3 {
                ratios[(30 + step) * 100 + 40 + step + side] = 10.0;
            }
        }
        let found = blobs(&ratios, &frame);
        assert_eq!(found.len(), 1);
        let axis = found[0].axis_deg.unwrap();
        assert!((axis - 135.0).abs() < 8.0, "{axis}");
        assert!((found[0].length_m - 420.0).abs() < 70.0, "{}", found[0].length_m);
    }

    #[test]
    fn what_is_apart_stays_apart() {
        let frame = frame();
        let mut ratios = vec![0.0; 10_000];
        for (column, row) in [(10, 10), (11, 10), (12, 11), (30, 10), (31, 10), (30, 11)] {
            ratios[row * 100 + column] = 9.0;
        }
        ratios[80 * 100 + 80] = 9.0; // alone: too small
        assert_eq!(blobs(&ratios, &frame).len(), 2);
    }
}
