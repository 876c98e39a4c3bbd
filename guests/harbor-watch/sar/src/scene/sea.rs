//! Which pixels are sea. Must not know intensities or vessels.

use crate::geo::{Frame, Point};
use crate::region::Region;

/// One flag a pixel: true where there is water.
pub(crate) struct SeaMask {
    frame: Frame,
    sea: Vec<bool>,
}

impl SeaMask {
    /// Rasterises the coastline of `region`: a pixel is land when its centre is.
    pub(crate) fn new(region: &Region, frame: Frame) -> Self {
        let mut sea = vec![true; frame.width_px * frame.height_px];
        for outline in region.land {
            let corners: Vec<Point> = outline.iter().map(|&position| frame.point_of(position)).collect();
            for (row, pixels) in sea.chunks_exact_mut(frame.width_px).enumerate() {
                let y = frame.pixel_centre(0.0, row as f64).y;
                fill_row(pixels, &crossings(&corners, y), frame.spacing_x());
            }
        }
        Self { frame, sea }
    }

    /// All flags, row by row from the north-west.
    pub(crate) fn flags(&self) -> &[bool] {
        &self.sea
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &[bool]> {
        self.sea.chunks_exact(self.frame.width_px)
    }

    /// Area of the water, square kilometres.
    pub(crate) fn area_km2(&self) -> f64 {
        let pixels = self.sea.iter().filter(|is_sea| **is_sea).count() as f64;
        pixels * self.frame.spacing_x() * self.frame.spacing_y() / 1e6
    }

    /// Whether the water around `point` is inside the scene and free of land for `clearance` metres, sampled in
    /// sixteen directions at half and at full distance.
    pub(crate) fn is_clear(&self, point: Point, clearance: f64) -> bool {
        self.is_sea(point)
            && (0..16).all(|step| {
                let heading = f64::from(step) * 22.5;
                self.is_sea(point.ahead(heading, clearance)) && self.is_sea(point.ahead(heading, clearance / 2.0))
            })
    }

    fn is_sea(&self, point: Point) -> bool {
        let column = libm::floor(point.x / self.frame.spacing_x());
        let row = libm::floor(point.y / self.frame.spacing_y());
        if column < 0.0 || row < 0.0 || column >= self.frame.width_px as f64 || row >= self.frame.height_px as f64 {
            return false;
        }
        self.sea.get(row as usize * self.frame.width_px + column as usize).copied().unwrap_or(false)
    }
}

/// Where a line to the east at `y` crosses the outline, in order.
fn crossings(corners: &[Point], y: f64) -> Vec<f64> {
    let next = corners.iter().cycle().skip(1);
    let mut found: Vec<f64> = corners
        .iter()
        .zip(next)
        .filter(|(from, to)| (from.y <= y) != (to.y <= y))
        .map(|(from, to)| from.x + (y - from.y) / (to.y - from.y) * (to.x - from.x))
        .collect();
    found.sort_by(f64::total_cmp);
    found
}

/// Marks as land what lies between each pair of crossings.
fn fill_row(pixels: &mut [bool], crossings: &[f64], spacing: f64) {
    for pair in crossings.chunks_exact(2) {
        let [enter, leave] = pair else { continue };
        let first = libm::ceil(enter / spacing - 0.5).max(0.0) as usize;
        let end = libm::ceil(leave / spacing - 0.5).max(0.0) as usize;
        let end = end.min(pixels.len());
        if let Some(land) = pixels.get_mut(first.min(end)..end) {
            land.fill(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::Position;
    use crate::region::regions;

    #[test]
    fn known_places_are_land_and_sea() {
        let singapore = &regions()[0];
        let frame = Frame::new(singapore.bounds, 512, 512);
        let mask = SeaMask::new(singapore, frame);
        let at = |longitude, latitude| frame.point_of(Position::new(longitude, latitude));
        assert!(!mask.is_sea(at(103.85, 1.282)), "the city");
        assert!(!mask.is_sea(at(103.828, 1.25)), "Sentosa");
        assert!(mask.is_sea(at(103.83, 1.185)), "the strait");
        assert!(!mask.is_clear(at(103.85, 1.268), 400.0), "close to the coast");
        assert!(!mask.is_sea(Point { x: -1.0, y: 10.0 }), "outside");
    }

    #[test]
    fn every_region_has_sea_enough() {
        for region in regions() {
            let frame = Frame::new(region.bounds, 256, 256);
            let share = SeaMask::new(region, frame).area_km2() * 1e6 / (frame.width_m * frame.height_m);
            assert!((0.4..0.98).contains(&share), "{}: {share}", region.id);
        }
    }
}
