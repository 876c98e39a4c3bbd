//! The harbours there are: extent, coastline, shipping lanes, anchorages.
//!
//! The coastlines are drawn by hand to a few hundred metres: enough to mask land clutter and to recognise a place,
//! not for navigation. Must not know scenes or vessels.

mod table;

use crate::geo::{BoundingBox, Position};

/// A harbour and its approaches.
#[derive(Debug)]
pub struct Region {
    /// What a request says.
    pub id: &'static str,
    /// What a page shows.
    pub name: &'static str,
    /// What a scene covers.
    pub bounds: BoundingBox,
    /// Closed outlines of land; the last point joins the first. They may reach beyond the bounds.
    pub land: &'static [&'static [Position]],
    /// Where vessels under way are likely.
    pub lanes: &'static [Lane],
    /// Where vessels lie at anchor.
    pub anchorages: &'static [Anchorage],
}

/// A shipping lane, sailed from its first point to its last.
#[derive(Debug)]
pub struct Lane {
    /// The middle of the lane.
    pub course: &'static [Position],
    /// How far to each side it reaches, metres.
    pub half_width_m: f64,
}

/// A round anchorage.
#[derive(Debug)]
pub struct Anchorage {
    /// Its middle.
    pub centre: Position,
    /// How far it reaches, metres.
    pub radius_m: f64,
}

/// Every region, the default one first.
pub fn regions() -> &'static [Region] {
    table::REGIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_is_drawn_completely() {
        for region in regions() {
            let BoundingBox { west, south, east, north } = region.bounds;
            assert!(west < east && south < north, "{}", region.id);
            assert!(region.land.iter().all(|outline| outline.len() >= 3), "{}", region.id);
            assert!(region.lanes.iter().all(|lane| lane.course.len() >= 2), "{}", region.id);
            for anchorage in region.anchorages {
                let Position { longitude_deg, latitude_deg } = anchorage.centre;
                assert!((west..east).contains(&longitude_deg), "{}", region.id);
                assert!((south..north).contains(&latitude_deg), "{}", region.id);
            }
        }
    }

    #[test]
    fn identifiers_are_unique() {
        let mut ids: Vec<_> = regions().iter().map(|region| region.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), regions().len());
    }
}
