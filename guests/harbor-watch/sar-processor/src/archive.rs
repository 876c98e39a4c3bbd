//! What the worker keeps, and what it is set to, where it was built with the feature `archive`: the detections of each scene
//! under its key in a bucket, a small image of it in a container. Must not know messages; nobody waits for it.

use harbor_watch_sar::{Observation, Quicklook, Settings};
use wasip2::io::streams::{OutputStream, StreamError};

use super::LOG_CONTEXT;
use super::wasi::blobstore::{blobstore, container::Container, types::OutgoingValue};
use super::wasi::config::store as config;
use super::wasi::keyvalue::store::{self, Bucket, Error};
use super::wasi::logging::logging::{Level, log};

/// The bucket and the container; the gateway reads both.
const DETECTIONS: &str = "detections";
const SCENES: &str = "scenes";
/// The setting from which the detector's threshold follows.
const FALSE_ALARM_PROBABILITY: &str = "false-alarm-probability";
/// Longest side of an image that is kept, pixels.
const SIDE_PX_MAX: usize = 256;
/// Keys that make room for others when the bucket is full, those that were not changed for longest.
const KEYS_MAKING_ROOM: usize = 100;

/// The settings as they are now. One that is no good is said so in the log, and is as if it were not there.
pub(crate) fn settings() -> Settings {
    let default = Settings::default();
    match config::get(FALSE_ALARM_PROBABILITY) {
        Ok(None) => default,
        Ok(Some(text)) => default.with_false_alarm_probability(&text).unwrap_or_else(|error| {
            let shown: String = text.chars().take(32).collect();
            log(Level::Warn, LOG_CONTEXT, &format!("{FALSE_ALARM_PROBABILITY} is {shown:?}: {error}"));
            default
        }),
        Err(error) => {
            log(Level::Warn, LOG_CONTEXT, &format!("settings cannot be read: {error:?}"));
            default
        }
    }
}

/// Keeps the detections, and the scene where there is none under this key yet. What cannot be kept is said in the log.
pub(crate) fn keep(key: &str, observation: &Observation, json: &[u8]) {
    if let Err(reason) = keep_detections(key, json) {
        log(Level::Warn, LOG_CONTEXT, &format!("the detections of {key} are not kept: {reason}"));
    }
    if let Err(reason) = keep_scene(key, observation) {
        log(Level::Warn, LOG_CONTEXT, &format!("the scene {key} is not kept: {reason}"));
    }
}

fn keep_detections(key: &str, json: &[u8]) -> Result<(), String> {
    let bucket = store::open(DETECTIONS).map_err(reason)?;
    if bucket.set(key, json).is_ok() {
        return Ok(());
    }
    make_room(&bucket)?;
    bucket.set(key, json).map_err(reason)
}

/// Forgets some of the oldest detections.
fn make_room(bucket: &Bucket) -> Result<(), String> {
    let oldest = bucket.list_keys(None).map_err(reason)?;
    oldest.keys.iter().take(KEYS_MAKING_ROOM).try_for_each(|key| bucket.delete(key).map_err(reason))
}

fn reason(error: Error) -> String {
    match error {
        Error::NoSuchStore => "there is no such bucket".to_owned(),
        Error::AccessDenied => "the bucket may not be used".to_owned(),
        Error::Other(reason) => reason,
    }
}

fn keep_scene(key: &str, observation: &Observation) -> Result<(), String> {
    let container = match blobstore::get_container(SCENES) {
        Ok(container) => container,
        // Another instance may be faster.
        Err(_) => blobstore::create_container(SCENES).or_else(|_| blobstore::get_container(SCENES))?,
    };
    // A key stands for one scene.
    if container.has_object(key)? {
        return Ok(());
    }
    let image = png(&observation.scene.quicklook(SIDE_PX_MAX))?;
    if write(&container, key, &image).is_ok() {
        return Ok(());
    }
    // Full, most likely: scenes that are asked for again are kept again.
    container.clear()?;
    write(&container, key, &image)
}

fn png(look: &Quicklook) -> Result<Vec<u8>, String> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(|error| error.to_string());
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side(look.width_px)?, side(look.height_px)?);
    encoder.set_color(png::ColorType::Grayscale);
    // Speckle is noise, of which filters make nothing smaller.
    encoder.set_compression(png::Compression::Fastest);
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
    writer.write_image_data(&look.grey).map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn write(container: &Container, name: &str, bytes: &[u8]) -> Result<(), String> {
    let value = OutgoingValue::new_outgoing_value();
    let body = value.outgoing_value_write_body().map_err(|()| "the object has no stream".to_owned())?;
    container.write_data(name, &value)?;
    write_all(&body, bytes).map_err(|error| match error {
        StreamError::Closed => "the object was closed".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    })?;
    drop(body);
    OutgoingValue::finish(value)
}

/// As much at once as the stream takes.
fn write_all(body: &OutputStream, mut rest: &[u8]) -> Result<(), StreamError> {
    while !rest.is_empty() {
        let room = body.check_write()?;
        if room == 0 {
            body.subscribe().block();
            continue;
        }
        let (now, later) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        body.write(now)?;
        rest = later;
    }
    body.blocking_flush()
}
