//! `GET /api/detections`, `/api/detections/KEY` and `/api/scenes/KEY`: what the worker has kept. Must not know what a key is
//! made of.

use guest_http::Response;
use serde_json::json;

use super::wasi::blobstore::{blobstore, types::IncomingValue};
use super::wasi::keyvalue::store::{self, Bucket, Error};
use super::wasi::logging::logging::{Level, log};
use super::{LOG_CONTEXT, problem};

/// The bucket and the container; the worker writes both.
const DETECTIONS: &str = "detections";
const SCENES: &str = "scenes";

/// What is at `path`, if it is one of these.
pub(crate) fn at(path: &str) -> Option<impl FnOnce() -> Response + use<'_>> {
    let (kind, key) = match path.strip_prefix("/api/")?.split_once('/') {
        None if path == "/api/detections" => (Kind::Keys, ""),
        Some(("detections", key)) => (Kind::Detections, key),
        Some(("scenes", key)) => (Kind::Scene, key),
        _ => return None,
    };
    Some(move || answer(kind, key))
}

#[derive(Clone, Copy)]
enum Kind {
    Keys,
    Detections,
    Scene,
}

fn answer(kind: Kind, key: &str) -> Response {
    let answer = match kind {
        Kind::Keys => keys(),
        Kind::Detections => detections(key),
        Kind::Scene => scene(key),
    };
    answer.unwrap_or_else(|reason| {
        log(Level::Warn, LOG_CONTEXT, &reason);
        problem(502, &reason)
    })
}

/// The first thousand keys or so, as many as the host gives at once.
fn keys() -> Result<Response, String> {
    let page = bucket()?.list_keys(None).map_err(reason)?;
    let body = json!({ "detections": page.keys, "complete": page.cursor.is_none() }).to_string();
    Ok(Response::new(200, "application/json", body).header("cache-control", "no-store"))
}

fn detections(key: &str) -> Result<Response, String> {
    Ok(match bucket()?.get(key).map_err(reason)? {
        Some(json) => Response::new(200, "application/geo+json", json).header("cache-control", "no-store"),
        None => problem(404, "nothing was detected under this key, or it was long ago"),
    })
}

fn scene(key: &str) -> Result<Response, String> {
    let nothing = || problem(404, "no scene is kept under this key");
    // The container is made with its first scene.
    let Ok(container) = blobstore::get_container(SCENES) else { return Ok(nothing()) };
    if !container.has_object(key)? {
        return Ok(nothing());
    }
    let image = IncomingValue::incoming_value_consume_sync(container.get_data(key, 0, u64::MAX)?)?;
    Ok(Response::new(200, "image/png", image).header("cache-control", "public, max-age=3600"))
}

fn bucket() -> Result<Bucket, String> {
    store::open(DETECTIONS).map_err(reason)
}

fn reason(error: Error) -> String {
    match error {
        Error::NoSuchStore => "there is no such bucket".to_owned(),
        Error::AccessDenied => "the bucket may not be used".to_owned(),
        Error::Other(reason) => reason,
    }
}
