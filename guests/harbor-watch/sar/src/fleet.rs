//! The vessels that are really there: where, how long, how fast, and whether they say so over AIS.
//! Must not know images or detections.

use crate::geo::{Frame, Point, Position};
use crate::random::{Purpose, Stream};
use crate::region::Region;
use crate::request::DetectRequest;
use crate::scene::SeaMask;

/// Water that every vessel keeps to land and to the edge of the scene, metres.
const CLEARANCE_M: f64 = 260.0;
/// Water between two vessels, on top of their half lengths, metres.
const SEPARATION_M: f64 = 280.0;
/// Tries to place one vessel before it is given up.
const PLACEMENT_TRIES_MAX: usize = 60;
/// Vessels per 100 square kilometres of water at density 0, and what density 1 adds.
const VESSELS_PER_100_KM2: (f64, f64) = (4.0, 36.0);
/// Most vessels a density may ask for.
const VESSELS_MAX: f64 = 200.0;

/// One vessel of the scene.
#[derive(Clone, Debug)]
pub(crate) struct Vessel {
    pub(crate) point: Point,
    pub(crate) heading_deg: f64,
    pub(crate) length_m: f64,
    pub(crate) beam_m: f64,
    pub(crate) speed_knots: f64,
    /// Mean backscatter of the hull, relative to the sea.
    pub(crate) backscatter: f64,
    /// Whether it transmits AIS.
    pub(crate) broadcasts: bool,
}

/// A kind of vessel: length and speed from least to greatest, beam as a share of the length, how common it is, and
/// how often one of them is dark.
struct Kind {
    length_m: (f64, f64),
    beam_share: f64,
    speed_knots: (f64, f64),
    share: f64,
    dark: f64,
}

const KINDS: [Kind; 4] = [
    Kind { length_m: (190.0, 366.0), beam_share: 0.14, speed_knots: (8.0, 18.0), share: 0.30, dark: 0.06 },
    Kind { length_m: (120.0, 240.0), beam_share: 0.16, speed_knots: (6.0, 14.0), share: 0.35, dark: 0.15 },
    Kind { length_m: (70.0, 130.0), beam_share: 0.17, speed_knots: (4.0, 12.0), share: 0.20, dark: 0.25 },
    Kind { length_m: (40.0, 80.0), beam_share: 0.24, speed_knots: (3.0, 11.0), share: 0.15, dark: 0.45 },
];

/// Places the vessels that `request` asks for. Fewer come out where the water does not hold as many.
pub(crate) fn launch(request: &DetectRequest, frame: &Frame, mask: &SeaMask) -> Vec<Vessel> {
    let mut stream = Stream::new(request.seed, Purpose::Fleet);
    let wanted = if request.targets > 0 { request.targets } else { from_density(request.density, mask.area_km2()) };
    let mut fleet: Vec<Vessel> = Vec::with_capacity(wanted);
    for _ in 0..wanted {
        let kind = draw_kind(&mut stream);
        let placed = (0..PLACEMENT_TRIES_MAX).find_map(|_| {
            let vessel = draw(request.region, frame, kind, &mut stream)?;
            (mask.is_clear(vessel.point, CLEARANCE_M) && keeps_apart(&vessel, &fleet)).then_some(vessel)
        });
        fleet.extend(placed);
    }
    fleet
}

fn from_density(density: f64, sea_km2: f64) -> usize {
    let (least, more) = VESSELS_PER_100_KM2;
    libm::round(sea_km2 / 100.0 * (least + more * density)).clamp(1.0, VESSELS_MAX) as usize
}

fn draw_kind(stream: &mut Stream) -> &'static Kind {
    let mut left = stream.unit();
    let [first, ..] = &KINDS;
    for kind in &KINDS {
        left -= kind.share;
        if left < 0.0 {
            return kind;
        }
    }
    first
}

fn keeps_apart(vessel: &Vessel, fleet: &[Vessel]) -> bool {
    fleet
        .iter()
        .all(|other| vessel.point.distance(other.point) > (vessel.length_m + other.length_m) / 2.0 + SEPARATION_M)
}

/// A vessel of `kind` under way in a lane, at anchor, or somewhere.
fn draw(region: &Region, frame: &Frame, kind: &Kind, stream: &mut Stream) -> Option<Vessel> {
    let length_m = stream.between(kind.length_m.0, kind.length_m.1);
    let speed = stream.between(kind.speed_knots.0, kind.speed_knots.1);
    let backscatter = stream.between(10.0, 75.0) * libm::sqrt(length_m / 100.0);
    let broadcasts = !stream.chance(kind.dark);
    let manner = stream.unit();
    let (point, heading_deg, speed_knots) = if manner < 0.50 {
        let (point, heading_deg) = in_lane(region, frame, stream)?;
        (point, heading_deg, speed)
    } else if manner < 0.85 {
        let anchorage = stream.pick(region.anchorages)?;
        let middle = frame.point_of(anchorage.centre);
        let radius = anchorage.radius_m * libm::sqrt(stream.unit());
        let point = middle.ahead(stream.between(0.0, 360.0), radius);
        // At anchor all lie to the same tide, more or less.
        (point, crate::geo::normal_heading(215.0 + stream.normal(14.0)), stream.between(0.0, 0.3))
    } else {
        (anywhere(frame, stream), stream.between(0.0, 360.0), speed)
    };
    Some(Vessel {
        point,
        heading_deg,
        length_m,
        beam_m: length_m * kind.beam_share,
        speed_knots,
        backscatter,
        broadcasts,
    })
}

/// A point of the scene, land or sea.
pub(crate) fn anywhere(frame: &Frame, stream: &mut Stream) -> Point {
    Point { x: stream.between(0.0, frame.width_m), y: stream.between(0.0, frame.height_m) }
}

/// A point in one of the lanes, and the heading of who sails there.
pub(crate) fn in_lane(region: &Region, frame: &Frame, stream: &mut Stream) -> Option<(Point, f64)> {
    let lane = stream.pick(region.lanes)?;
    let leg = stream.below(lane.course.len().saturating_sub(1));
    let from = frame.point_of(*lane.course.get(leg)?);
    let to: &Position = lane.course.get(leg + 1)?;
    let heading = from.heading_to(frame.point_of(*to));
    let along = from.distance(frame.point_of(*to)) * stream.unit();
    let aside = stream.between(-lane.half_width_m, lane.half_width_m);
    let point = from.ahead(heading, along).ahead(heading + 90.0, aside);
    Some((point, crate::geo::normal_heading(heading + stream.normal(4.0))))
}
