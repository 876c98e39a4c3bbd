//! Positions on the earth, and the flat frame in which a scene of a few kilometres is worked out.
//! Must not know regions, vessels or images' contents.

use serde::Serialize;

const METRES_PER_DEGREE_LATITUDE: f64 = 110_574.0;
const METRES_PER_DEGREE_LONGITUDE_AT_EQUATOR: f64 = 111_320.0;

/// A point on the earth, WGS 84.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// Degrees east of Greenwich.
    pub longitude_deg: f64,
    /// Degrees north of the equator.
    pub latitude_deg: f64,
}

impl Position {
    pub(crate) const fn new(longitude_deg: f64, latitude_deg: f64) -> Self {
        Self { longitude_deg, latitude_deg }
    }
}

/// What a scene covers, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BoundingBox {
    /// Least longitude.
    pub west: f64,
    /// Least latitude.
    pub south: f64,
    /// Greatest longitude.
    pub east: f64,
    /// Greatest latitude.
    pub north: f64,
}

/// A point of a scene in metres: `x` to the east and `y` to the SOUTH of the north-west corner, as image rows go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
}

impl Point {
    pub(crate) fn distance(self, other: Self) -> f64 {
        libm::hypot(self.x - other.x, self.y - other.y)
    }

    /// The point `distance` metres away towards `heading_deg` (clockwise from north).
    pub(crate) fn ahead(self, heading_deg: f64, distance: f64) -> Self {
        let heading = heading_deg.to_radians();
        Self { x: self.x + libm::sin(heading) * distance, y: self.y - libm::cos(heading) * distance }
    }

    /// The heading from here to `other`, degrees clockwise from north, 0 to 360.
    pub(crate) fn heading_to(self, other: Self) -> f64 {
        normal_heading(libm::atan2(other.x - self.x, self.y - other.y).to_degrees())
    }
}

/// The same heading between 0 and 360 degrees.
pub(crate) fn normal_heading(heading_deg: f64) -> f64 {
    let turned = libm::fmod(heading_deg, 360.0);
    if turned < 0.0 { turned + 360.0 } else { turned }
}

/// How far two headings are apart, 0 to 180 degrees.
pub(crate) fn heading_difference(one_deg: f64, other_deg: f64) -> f64 {
    let apart = normal_heading(one_deg - other_deg);
    apart.min(360.0 - apart)
}

/// Ties together degrees, metres and pixels of one scene. Flat: good to a metre over the extents used here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) bounds: BoundingBox,
    pub(crate) width_px: usize,
    pub(crate) height_px: usize,
    /// Extent to the east, metres.
    pub(crate) width_m: f64,
    /// Extent to the south, metres.
    pub(crate) height_m: f64,
}

impl Frame {
    pub(crate) fn new(bounds: BoundingBox, width_px: usize, height_px: usize) -> Self {
        let middle = ((bounds.south + bounds.north) / 2.0).to_radians();
        let width_m = (bounds.east - bounds.west) * METRES_PER_DEGREE_LONGITUDE_AT_EQUATOR * libm::cos(middle);
        let height_m = (bounds.north - bounds.south) * METRES_PER_DEGREE_LATITUDE;
        Self { bounds, width_px, height_px, width_m, height_m }
    }

    /// Metres per pixel to the east.
    pub(crate) fn spacing_x(&self) -> f64 {
        self.width_m / self.width_px as f64
    }

    /// Metres per pixel to the south.
    pub(crate) fn spacing_y(&self) -> f64 {
        self.height_m / self.height_px as f64
    }

    /// Where the centre of a pixel lies; fractions are between centres.
    pub(crate) fn pixel_centre(&self, column: f64, row: f64) -> Point {
        Point { x: (column + 0.5) * self.spacing_x(), y: (row + 0.5) * self.spacing_y() }
    }

    pub(crate) fn point_of(&self, position: Position) -> Point {
        let bounds = &self.bounds;
        Point {
            x: (position.longitude_deg - bounds.west) / (bounds.east - bounds.west) * self.width_m,
            y: (bounds.north - position.latitude_deg) / (bounds.north - bounds.south) * self.height_m,
        }
    }

    pub(crate) fn position_of(&self, point: Point) -> Position {
        let bounds = &self.bounds;
        Position {
            longitude_deg: bounds.west + point.x / self.width_m * (bounds.east - bounds.west),
            latitude_deg: bounds.north - point.y / self.height_m * (bounds.north - bounds.south),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: BoundingBox = BoundingBox { west: 103.0, south: 1.0, east: 103.2, north: 1.1 };

    #[test]
    fn degrees_and_metres_go_back_and_forth() {
        let frame = Frame::new(BOUNDS, 200, 100);
        let position = Position::new(103.05, 1.02);
        let back = frame.position_of(frame.point_of(position));
        assert!((back.longitude_deg - position.longitude_deg).abs() < 1e-9);
        assert!((back.latitude_deg - position.latitude_deg).abs() < 1e-9);
    }

    #[test]
    fn headings_are_clockwise_from_north() {
        let here = Point { x: 0.0, y: 0.0 };
        assert!((here.heading_to(Point { x: 1.0, y: 0.0 }) - 90.0).abs() < 1e-9);
        assert!((here.heading_to(Point { x: 0.0, y: 1.0 }) - 180.0).abs() < 1e-9);
        assert!((heading_difference(350.0, 20.0) - 30.0).abs() < 1e-9);
        assert!((here.ahead(270.0, 5.0).x + 5.0).abs() < 1e-9);
    }
}
