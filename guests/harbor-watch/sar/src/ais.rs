//! Synthetic AIS: what the vessels say of themselves, and tracks of vessels that are not there.
//! Must not know images or detections.

use crate::fleet::{Vessel, anywhere, in_lane};
use crate::geo::{Frame, Point, normal_heading};
use crate::random::{Purpose, Stream};
use crate::region::Region;
use crate::scene::SeaMask;

/// Reports in a track, the newest at the time of the scene.
const REPORTS: u32 = 6;
/// Seconds between two reports.
const REPORT_INTERVAL_S: f64 = 60.0;
/// Standard deviation of a reported position, metres.
const POSITION_ERROR_M: f64 = 12.0;
const METRES_PER_SECOND_PER_KNOT: f64 = 0.514_444;
/// Tracks without a vessel, as a share of the tracks with one.
const GHOST_SHARE: f64 = 0.08;

/// One transmitter's reports.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    pub(crate) mmsi: u32,
    pub(crate) name: String,
    pub(crate) course_deg: f64,
    pub(crate) speed_knots: f64,
    pub(crate) length_m: f64,
    /// Seconds before the scene (0 or negative) and place, the oldest first.
    pub(crate) reports: Vec<(f64, Point)>,
}

impl Track {
    /// Where the transmitter says it was when the scene was taken.
    pub(crate) fn last_point(&self) -> Option<Point> {
        self.reports.last().map(|(_, point)| *point)
    }
}

/// The tracks of every vessel that transmits, then those of nobody.
pub(crate) fn listen(vessels: &[Vessel], region: &Region, frame: &Frame, mask: &SeaMask, seed: u64) -> Vec<Track> {
    let mut stream = Stream::new(seed, Purpose::Ais);
    let mut tracks: Vec<Track> = Vec::new();
    for vessel in vessels.iter().filter(|vessel| vessel.broadcasts) {
        let says = Says {
            point: vessel.point,
            course_deg: vessel.heading_deg,
            speed_knots: vessel.speed_knots,
            length_m: vessel.length_m,
        };
        let track = track(&says, tracks.len(), &mut stream);
        tracks.push(track);
    }
    let ghosts = libm::ceil(tracks.len() as f64 * GHOST_SHARE) as usize;
    for _ in 0..ghosts {
        if let Some(says) = ghost(vessels, region, frame, mask, &mut stream) {
            let track = track(&says, tracks.len(), &mut stream);
            tracks.push(track);
        }
    }
    tracks
}

/// What a transmitter says of itself.
struct Says {
    point: Point,
    course_deg: f64,
    speed_knots: f64,
    length_m: f64,
}

/// Somewhere on the water, well away from every vessel.
fn ghost(vessels: &[Vessel], region: &Region, frame: &Frame, mask: &SeaMask, stream: &mut Stream) -> Option<Says> {
    (0..40).find_map(|_| {
        let heading = stream.between(0.0, 360.0);
        let (point, course_deg) =
            if stream.chance(0.5) { in_lane(region, frame, stream)? } else { (anywhere(frame, stream), heading) };
        let alone = vessels.iter().all(|vessel| vessel.point.distance(point) > 900.0);
        let (speed_knots, length_m) = (stream.between(4.0, 14.0), stream.between(60.0, 220.0));
        (alone && mask.is_clear(point, 200.0)).then_some(Says { point, course_deg, speed_knots, length_m })
    })
}

fn track(says: &Says, index: usize, stream: &mut Stream) -> Track {
    let speed = says.speed_knots * METRES_PER_SECOND_PER_KNOT;
    let reports = (0..REPORTS)
        .rev()
        .map(|ago| {
            let seconds = f64::from(ago) * REPORT_INTERVAL_S;
            let behind = says.point.ahead(says.course_deg + 180.0, speed * seconds);
            let error = (stream.normal(POSITION_ERROR_M), stream.normal(POSITION_ERROR_M));
            (0.0 - seconds, Point { x: behind.x + error.0, y: behind.y + error.1 })
        })
        .collect();
    Track {
        mmsi: mmsi(index, stream),
        name: name(stream),
        course_deg: normal_heading(says.course_deg + stream.normal(1.5)),
        speed_knots: says.speed_knots,
        length_m: libm::round(says.length_m),
        reports,
    }
}

/// Country codes of flags that are common at sea.
const COUNTRIES: [u32; 10] = [563, 244, 236, 338, 440, 351, 636, 538, 477, 229];

/// A nine-digit identity: country, three random digits, and the index, which makes it unique in the scene.
fn mmsi(index: usize, stream: &mut Stream) -> u32 {
    let country = stream.pick(&COUNTRIES).copied().unwrap_or(636);
    let middle = u32::try_from(stream.below(1000)).unwrap_or(0);
    country * 1_000_000 + middle * 1_000 + u32::try_from(index % 1000).unwrap_or(0)
}

const FIRST: [&str; 16] = [
    "AMBER", "BALTIC", "CORAL", "DELTA", "EASTERN", "FAIR", "GOLDEN", "HARBOUR", "IVORY", "JADE", "NORTHERN", "OCEAN",
    "PACIFIC", "SILVER", "SOUTHERN", "WESTERN",
];
const SECOND: [&str; 16] = [
    "ALBATROSS",
    "BREEZE",
    "CURRENT",
    "DAWN",
    "FORTUNE",
    "GANNET",
    "HERON",
    "HORIZON",
    "LANTERN",
    "MERIDIAN",
    "PETREL",
    "PILOT",
    "SPIRIT",
    "TERN",
    "TRADER",
    "VOYAGER",
];

fn name(stream: &mut Stream) -> String {
    let first = stream.pick(&FIRST).copied().unwrap_or_default();
    let second = stream.pick(&SECOND).copied().unwrap_or_default();
    format!("{first} {second}")
}
