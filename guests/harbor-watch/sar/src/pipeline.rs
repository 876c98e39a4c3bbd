//! The steps in order: frame, sea, vessels, image, detector, clusters, AIS, answer. Must not do any of them itself.

use crate::ais::{self, Track};
use crate::cluster::{self, Blob};
use crate::detector::{CfarParameters, Detector, DetectorError, Image, Window, threshold_for};
use crate::fleet::{self, Vessel};
use crate::geo::{Frame, Point, heading_difference, normal_heading};
use crate::matching;
use crate::report::{Detection, Feature, Geometry, Report, Stats, TrackProperties};
use crate::request::DetectRequest;
use crate::scene::{self, LOOKS, Scene, SeaMask};
use crate::settings::Settings;

/// Half the longest vessel: what the guard window has to hold, metres.
const GUARD_M: f64 = 190.0;
/// Width of the ring of clutter around the guard window, metres.
const RING_M: f64 = 260.0;
/// Farthest that a detection may be from the AIS report that explains it, metres, before the pixel's own size.
const AIS_GATE_M: f64 = 150.0;

/// What came of a request: the answer, and the scene that it is about.
pub struct Observation {
    /// The answer.
    pub report: Report,
    /// The scene.
    pub scene: Scene,
}

/// Runs the whole pipeline for one request, as it is set by default.
///
/// # Errors
/// What the detector says when it fails; nothing else can.
pub fn run(request: &DetectRequest, detector: &dyn Detector) -> Result<Report, DetectorError> {
    observe(request, &Settings::default(), detector).map(|observation| observation.report)
}

/// The same with settings of one's own, and with the scene.
///
/// # Errors
/// What the detector says when it fails; nothing else can.
pub fn observe(
    request: &DetectRequest,
    settings: &Settings,
    detector: &dyn Detector,
) -> Result<Observation, DetectorError> {
    let frame = Frame::new(request.region.bounds, request.width_px, request.height_px);
    let mask = SeaMask::new(request.region, frame);
    let vessels = fleet::launch(request, &frame, &mask);
    let intensity = scene::intensity(&frame, &mask, &vessels, request.seed);
    let image =
        Image { width_px: frame.width_px, height_px: frame.height_px, intensity: &intensity, sea: mask.flags() };
    let parameters = parameters(&frame, settings);
    let ratios = detector.ratios(&image, &parameters)?;
    let blobs = cluster::blobs(&ratios, &frame);
    let tracks = ais::listen(&vessels, request.region, &frame, &mask, request.seed);
    let partners = explain(&blobs, &tracks, &frame);
    let found = found(&blobs, &vessels, &frame);
    let matched = partners.iter().flatten().count();
    let stats = Stats {
        region: request.region.id,
        seed: request.seed,
        scene_width: frame.width_px,
        scene_height: frame.height_px,
        pixel_spacing_x_m: rounded(frame.spacing_x(), 2),
        pixel_spacing_y_m: rounded(frame.spacing_y(), 2),
        sea_area_km2: rounded(mask.area_km2(), 1),
        compute_backend: detector.backend(),
        looks: LOOKS,
        false_alarm_probability: settings.false_alarm_probability(),
        threshold: rounded(f64::from(parameters.threshold), 3),
        guard_half_px: [parameters.guard.columns, parameters.guard.rows],
        training_half_px: [parameters.training.columns, parameters.training.rows],
        targets_generated: vessels.len(),
        targets_detected: found,
        detections: blobs.len(),
        false_alarms: blobs.len() - found,
        matched,
        dark: blobs.len() - matched,
        ais_tracks: tracks.len(),
        ais_without_return: tracks.len() - matched,
    };
    let report = report(&frame, &blobs, &tracks, &partners, &parameters, stats);
    Ok(Observation { report, scene: Scene::new(frame.width_px, frame.height_px, intensity) })
}

fn parameters(frame: &Frame, settings: &Settings) -> CfarParameters {
    let half = |metres: f64, spacing: f64| libm::ceil(metres / spacing) as usize + 1;
    let window =
        |metres: f64| Window { columns: half(metres, frame.spacing_x()), rows: half(metres, frame.spacing_y()) };
    CfarParameters {
        guard: window(GUARD_M),
        training: window(GUARD_M + RING_M),
        threshold: threshold_for(settings.false_alarm_probability(), LOOKS) as f32,
        training_px_min: 8,
    }
}

/// Which track explains which blob.
fn explain(blobs: &[Blob], tracks: &[Track], frame: &Frame) -> Vec<Option<usize>> {
    let seen: Vec<Point> = blobs.iter().map(|blob| blob.point).collect();
    // A track without a report is nowhere near anything.
    let nowhere = Point { x: f64::INFINITY, y: f64::INFINITY };
    let said: Vec<Point> = tracks.iter().map(|track| track.last_point().unwrap_or(nowhere)).collect();
    let gate = |_, track: usize| AIS_GATE_M + diagonal(frame) + tracks.get(track).map_or(0.0, |it| it.length_m / 4.0);
    matching::pair(&seen, &said, gate)
}

/// How many blobs are vessels that are really there.
fn found(blobs: &[Blob], vessels: &[Vessel], frame: &Frame) -> usize {
    let seen: Vec<Point> = blobs.iter().map(|blob| blob.point).collect();
    let real: Vec<Point> = vessels.iter().map(|vessel| vessel.point).collect();
    let gate = |_, vessel: usize| diagonal(frame) + vessels.get(vessel).map_or(0.0, |it| it.length_m / 2.0);
    matching::pair(&seen, &real, gate).iter().flatten().count()
}

fn diagonal(frame: &Frame) -> f64 {
    libm::hypot(frame.spacing_x(), frame.spacing_y())
}

fn report(
    frame: &Frame,
    blobs: &[Blob],
    tracks: &[Track],
    partners: &[Option<usize>],
    parameters: &CfarParameters,
    stats: Stats,
) -> Report {
    let features = blobs.iter().zip(partners).enumerate().map(|(index, (blob, partner))| {
        let track = partner.and_then(|partner| tracks.get(partner));
        let detection = detection(index + 1, blob, track, parameters.threshold);
        Feature::new(Geometry::Point(degrees(frame, blob.point)), detection)
    });
    let lines = tracks.iter().enumerate().map(|(index, track)| {
        let places = track.reports.iter().map(|(_, point)| degrees(frame, *point)).collect();
        Feature::new(Geometry::LineString(places), track_properties(track, partners.contains(&Some(index))))
    });
    let bounds = frame.bounds;
    Report {
        kind: "FeatureCollection",
        bbox: [bounds.west, bounds.south, bounds.east, bounds.north],
        features: features.collect(),
        ais_tracks: lines.collect(),
        stats,
    }
}

fn detection(id: usize, blob: &Blob, track: Option<&Track>, threshold: f32) -> Detection {
    let (heading, ambiguous) = heading(blob.axis_deg, track.map(|track| track.course_deg));
    let margin_db = 10.0 * libm::log10(f64::from(blob.peak / threshold));
    Detection {
        id,
        // Never certain.
        confidence: rounded(1.0 / (1.0 + libm::exp((4.0 - margin_db) / 4.0)), 3).min(0.999),
        dark: track.is_none(),
        mmsi: track.map(|track| track.mmsi),
        name: track.map(|track| track.name.clone()),
        heading_deg: heading.map(|heading| normal_heading(rounded(heading, 1))),
        heading_ambiguous: ambiguous,
        length_m: rounded(blob.length_m, 0),
        speed_knots: track.map(|track| rounded(track.speed_knots, 1)),
        ais_distance_m: track.and_then(Track::last_point).map(|point| rounded(point.distance(blob.point), 0)),
        peak_to_clutter_db: rounded(10.0 * libm::log10(f64::from(blob.peak)), 1),
        area_px: blob.pixels,
    }
}

/// The axis seen, turned the way AIS says; the course alone for a shape without an axis.
fn heading(axis_deg: Option<f64>, course_deg: Option<f64>) -> (Option<f64>, bool) {
    match (axis_deg, course_deg) {
        (Some(axis), Some(course)) if heading_difference(axis, course) > 90.0 => (Some(axis + 180.0), false),
        (Some(axis), Some(_)) => (Some(axis), false),
        (Some(axis), None) => (Some(axis), true),
        (None, course) => (course, false),
    }
}

fn track_properties(track: &Track, has_return: bool) -> TrackProperties {
    TrackProperties {
        mmsi: track.mmsi,
        name: track.name.clone(),
        course_deg: normal_heading(rounded(track.course_deg, 1)),
        speed_knots: rounded(track.speed_knots, 1),
        length_m: track.length_m,
        has_return,
        times_s: track.reports.iter().map(|(seconds, _)| *seconds).collect(),
    }
}

/// Longitude and latitude to a tenth of a metre.
fn degrees(frame: &Frame, point: Point) -> [f64; 2] {
    let position = frame.position_of(point);
    [rounded(position.longitude_deg, 6), rounded(position.latitude_deg, 6)]
}

fn rounded(value: f64, decimals: u8) -> f64 {
    let scale = libm::pow(10.0, f64::from(decimals));
    // Adding zero turns -0 into 0.
    libm::round(value * scale) / scale + 0.0
}
