//! Harbor Watch's detection pipeline: from a request to a GeoJSON answer, with nothing but arithmetic in between.
//!
//! A seeded synthetic SAR (synthetic-aperture radar) scene of a harbour goes through a CA-CFAR detector; what it finds
//! is clustered into vessels and compared with synthetic AIS tracks. A vessel that the radar sees and AIS does not is
//! called dark. It exists apart from the components so that it can be tested natively and read on its own. It must not
//! know WASI, messages, HTTP, the time of day or any randomness but the seed: the same request gives the same bytes,
//! natively and as WebAssembly.
//!
//! ```
//! let request = harbor_watch_sar::DetectRequest::from_json(br#"{"region":"gibraltar","seed":7}"#)?;
//! let report = harbor_watch_sar::run(&request, &harbor_watch_sar::CpuDetector)?;
//! assert_eq!(report.features.len(), report.stats.detections);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ais;
mod cluster;
mod detector;
mod fleet;
mod geo;
mod matching;
mod pipeline;
mod random;
mod region;
mod report;
mod request;
mod scene;
mod settings;

pub use detector::{
    Candidate, CfarParameters, CpuDetector, Detector, DetectorError, Found, HALF_WINDOW_MAX, Image, LAND, Tile,
    TileDevice, TileLimits, TiledDetector, Window,
};
pub use geo::{BoundingBox, Position};
pub use pipeline::{Observation, observe, run};
pub use region::{Anchorage, Lane, Region, regions};
pub use report::{Report, Stats};
pub use request::{DetectRequest, RequestError};
pub use scene::{Quicklook, Scene};
pub use settings::{Settings, SettingsError};
