//! `GET /api/regions`: what the page needs to draw a harbour before anything is detected. Must not know detections.

use guest_http::Response;
use harbor_watch_sar::{Position, Region, regions};
use serde_json::{Value, json};

pub(crate) fn list() -> Response {
    let all: Vec<Value> = regions().iter().map(region).collect();
    Response::new(200, "application/json", json!({ "regions": all }).to_string())
        .header("cache-control", "public, max-age=3600")
}

fn region(region: &Region) -> Value {
    let bounds = region.bounds;
    json!({
        "id": region.id,
        "name": region.name,
        "bbox": [bounds.west, bounds.south, bounds.east, bounds.north],
        "land": region.land.iter().map(|outline| line(outline)).collect::<Vec<_>>(),
        "lanes": region.lanes.iter().map(|lane| line(lane.course)).collect::<Vec<_>>(),
    })
}

fn line(positions: &[Position]) -> Vec<[f64; 2]> {
    positions.iter().map(|position| [position.longitude_deg, position.latitude_deg]).collect()
}
