//! The request: JSON in, valid values out. Must not know the pipeline behind it.

use serde::Deserialize;

use crate::region::{Region, regions};

/// Least and greatest width and height of a scene, pixels.
const SIDE_PX: (u64, u64) = (64, 4096);
/// Most vessels that may be asked for.
const TARGETS_MAX: u64 = 200;

/// A request whose every value is within bounds.
///
/// The JSON fields, all optional: `region` ("singapore"), `sar_width` and `sar_height` (512, 64 to 4096 pixels),
/// `num_targets` (0 = chosen from the density; at most 200), `seed` (42), `density` (0.5, 0 to 1), `force_cpu` (false).
/// Further fields are let through, so that newer clients can talk to this version.
#[derive(Clone, Debug)]
pub struct DetectRequest {
    pub(crate) region: &'static Region,
    pub(crate) width_px: usize,
    pub(crate) height_px: usize,
    pub(crate) targets: usize,
    pub(crate) seed: u64,
    pub(crate) density: f64,
    pub(crate) force_cpu: bool,
}

/// Why a request was refused. The text is for the client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not JSON, or a field of the wrong type.
    #[error("the request is not the JSON object expected: {0}")]
    Json(String),
    /// There is no such region.
    #[error("unknown region {found:?}: choose one of {known}")]
    UnknownRegion {
        /// What was asked for.
        found: String,
        /// The identifiers there are, separated by commas.
        known: String,
    },
    /// A number outside its bounds.
    #[error("{field} is {found}: allowed is {least} to {greatest}")]
    OutOfBounds {
        /// The JSON field.
        field: &'static str,
        /// Its value.
        found: String,
        /// The least that is allowed.
        least: u64,
        /// The greatest that is allowed.
        greatest: u64,
    },
}

#[derive(Deserialize)]
#[serde(default)]
struct Fields {
    region: String,
    sar_width: u64,
    sar_height: u64,
    num_targets: u64,
    seed: u64,
    density: f64,
    force_cpu: bool,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            region: "singapore".to_owned(),
            sar_width: 512,
            sar_height: 512,
            num_targets: 0,
            seed: 42,
            density: 0.5,
            force_cpu: false,
        }
    }
}

impl DetectRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// [`RequestError`], with a text that names the field, what was found and what is allowed.
    pub fn from_json(json: &[u8]) -> Result<Self, RequestError> {
        let fields: Fields = serde_json::from_slice(json).map_err(|error| RequestError::Json(error.to_string()))?;
        let region = regions().iter().find(|region| region.id == fields.region);
        let region = region.ok_or_else(|| RequestError::UnknownRegion {
            found: fields.region.chars().take(64).collect(),
            known: regions().iter().map(|region| region.id).collect::<Vec<_>>().join(", "),
        })?;
        if !(0.0..=1.0).contains(&fields.density) {
            let found = fields.density.to_string();
            return Err(RequestError::OutOfBounds { field: "density", found, least: 0, greatest: 1 });
        }
        Ok(Self {
            region,
            width_px: bounded("sar_width", fields.sar_width, SIDE_PX)?,
            height_px: bounded("sar_height", fields.sar_height, SIDE_PX)?,
            targets: bounded("num_targets", fields.num_targets, (0, TARGETS_MAX))?,
            seed: fields.seed,
            density: fields.density,
            force_cpu: fields.force_cpu,
        })
    }

    /// A name of the scene that is asked for: the same for requests that mean the same scene, whoever detects in it. Letters,
    /// digits, '-' and '.' alone.
    pub fn key(&self) -> String {
        let Self { region, width_px, height_px, targets, seed, density, .. } = self;
        format!("{}-{width_px}x{height_px}-t{targets}-d{density}-s{seed}", region.id)
    }

    /// Whether the client rules out every detector but the one on the processor.
    pub fn force_cpu(&self) -> bool {
        self.force_cpu
    }
}

fn bounded(field: &'static str, value: u64, (least, greatest): (u64, u64)) -> Result<usize, RequestError> {
    let refused = || RequestError::OutOfBounds { field, found: value.to_string(), least, greatest };
    if !(least..=greatest).contains(&value) {
        return Err(refused());
    }
    usize::try_from(value).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        DetectRequest::from_json(json.as_bytes()).expect_err("must be refused").to_string()
    }

    #[test]
    fn an_empty_object_means_the_defaults() {
        let request = DetectRequest::from_json(b"{}").unwrap();
        assert_eq!((request.region.id, request.width_px, request.height_px), ("singapore", 512, 512));
        assert_eq!((request.targets, request.seed, request.force_cpu()), (0, 42, false));
    }

    #[test]
    fn the_published_request_is_taken() {
        let json = br#"{"region":"singapore","sar_width":512,"sar_height":512,"num_targets":0,"seed":42,"density":0.5,"force_cpu":true}"#;
        assert!(DetectRequest::from_json(json).unwrap().force_cpu());
    }

    #[test]
    fn a_key_names_a_scene() {
        let key = |json: &str| DetectRequest::from_json(json.as_bytes()).unwrap().key();
        assert_eq!(key("{}"), "singapore-512x512-t0-d0.5-s42");
        assert_eq!(key(r#"{"force_cpu":true}"#), key("{}"));
        let odd = key(r#"{"region":"los-angeles","density":1e-7,"num_targets":3,"seed":18446744073709551615}"#);
        assert_eq!(odd, "los-angeles-512x512-t3-d0.0000001-s18446744073709551615");
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_name() {
        let text = refusal(r#"{"region":"atlantis"}"#);
        assert!(text.starts_with(r#"unknown region "atlantis": choose one of singapore, "#), "{text}");
        assert_eq!(refusal(r#"{"sar_width":63}"#), "sar_width is 63: allowed is 64 to 4096");
        assert_eq!(refusal(r#"{"sar_height":4097}"#), "sar_height is 4097: allowed is 64 to 4096");
        assert_eq!(refusal(r#"{"num_targets":201}"#), "num_targets is 201: allowed is 0 to 200");
        assert_eq!(refusal(r#"{"density":1.5}"#), "density is 1.5: allowed is 0 to 1");
        assert_eq!(refusal(r#"{"density":-0.1}"#), "density is -0.1: allowed is 0 to 1");
        assert!(refusal(r#"{"sar_width":-5}"#).contains("-5"));
        assert!(refusal(r#"{"seed":"x"}"#).starts_with("the request is not the JSON object expected: "));
        assert!(refusal("").starts_with("the request is not the JSON object expected: "));
        assert!(refusal("[1]").starts_with("the request is not the JSON object expected: "));
    }
}
