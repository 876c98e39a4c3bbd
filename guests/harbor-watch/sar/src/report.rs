//! The answer: a GeoJSON FeatureCollection of detections, with `stats` and the AIS tracks as further members.
//! Must not know how anything in it was worked out.

use serde::Serialize;

/// The whole answer. Serialises the same for equal values: there is no time of day in it.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// West, south, east, north: degrees.
    pub(crate) bbox: [f64; 4],
    /// One point a detected vessel, the brightest first.
    pub features: Vec<Feature<Detection>>,
    /// One line a transmitter.
    pub(crate) ais_tracks: Vec<Feature<TrackProperties>>,
    /// Figures of the run.
    pub stats: Stats,
}

impl Report {
    /// The answer as JSON.
    ///
    /// # Errors
    /// None for the values the pipeline makes; what the serialiser says otherwise.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// A GeoJSON feature.
#[derive(Debug, Serialize)]
pub struct Feature<P> {
    #[serde(rename = "type")]
    kind: &'static str,
    geometry: Geometry,
    /// What there is to know about it.
    pub properties: P,
}

impl<P> Feature<P> {
    pub(crate) fn new(geometry: Geometry, properties: P) -> Self {
        Self { kind: "Feature", geometry, properties }
    }
}

/// A place, as longitude and latitude in degrees.
#[derive(Debug, Serialize)]
#[serde(tag = "type", content = "coordinates")]
pub(crate) enum Geometry {
    Point([f64; 2]),
    LineString(Vec<[f64; 2]>),
}

/// A detected vessel.
#[derive(Debug, Serialize)]
pub struct Detection {
    /// Number in this answer, from 1.
    pub id: usize,
    /// 0 to 1, from how far the peak is over the threshold.
    pub confidence: f64,
    /// No AIS transmitter explains it.
    pub dark: bool,
    /// Identity of the transmitter that explains it.
    pub mmsi: Option<u32>,
    /// Its name.
    pub name: Option<String>,
    /// Degrees clockwise from north; none for a shape without direction.
    pub heading_deg: Option<f64>,
    /// The heading may as well be the opposite one: the image alone cannot tell.
    pub heading_ambiguous: bool,
    /// Estimated from the image.
    pub length_m: f64,
    /// What the transmitter says.
    pub speed_knots: Option<f64>,
    /// Distance to the transmitter's last report.
    pub ais_distance_m: Option<f64>,
    /// Peak over local clutter, decibels.
    pub peak_to_clutter_db: f64,
    /// Size in the image.
    pub area_px: usize,
}

/// A transmitter's track.
#[derive(Debug, Serialize)]
pub(crate) struct TrackProperties {
    pub(crate) mmsi: u32,
    pub(crate) name: String,
    pub(crate) course_deg: f64,
    pub(crate) speed_knots: f64,
    pub(crate) length_m: f64,
    /// The radar sees a vessel there.
    pub(crate) has_return: bool,
    /// Seconds relative to the scene, one for each position.
    pub(crate) times_s: Vec<f64>,
}

/// Figures of a run.
#[derive(Debug, Serialize)]
pub struct Stats {
    /// The region's identifier.
    pub region: &'static str,
    /// The seed that reproduces the answer.
    pub seed: u64,
    /// Pixels in a row.
    pub scene_width: usize,
    /// Rows.
    pub scene_height: usize,
    /// Metres per pixel to the east.
    pub pixel_spacing_x_m: f64,
    /// Metres per pixel to the north.
    pub pixel_spacing_y_m: f64,
    /// Water in the scene, square kilometres.
    pub sea_area_km2: f64,
    /// Who computed the detector: "CPU".
    pub compute_backend: &'static str,
    /// Looks averaged into each pixel.
    pub looks: u32,
    /// What the threshold was chosen for, per pixel of pure sea.
    pub false_alarm_probability: f64,
    /// Times the clutter that a pixel has to reach.
    pub threshold: f64,
    /// Half widths of the windows that were guarded and averaged, pixels: columns, rows.
    pub guard_half_px: [usize; 2],
    /// See `guard_half_px`.
    pub training_half_px: [usize; 2],
    /// Vessels that are really in the scene.
    pub targets_generated: usize,
    /// Of these, how many were detected.
    pub targets_detected: usize,
    /// Detections: the length of `features`.
    pub detections: usize,
    /// Detections where there is no vessel.
    pub false_alarms: usize,
    /// Detections that an AIS transmitter explains.
    pub matched: usize,
    /// Detections that none explains.
    pub dark: usize,
    /// AIS transmitters heard.
    pub ais_tracks: usize,
    /// Of these, how many have no vessel on the radar.
    pub ais_without_return: usize,
}
