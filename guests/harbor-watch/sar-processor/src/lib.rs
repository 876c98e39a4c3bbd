//! Harbor Watch's worker: a detection request comes as a message, the answer leaves as a message.
//!
//! It exists to put the pipeline of `harbor-watch-sar` behind `wasmcloud:messaging/handler`. It must not know HTTP, who
//! asks, or how the pipeline works. Any instance may take any message: all that one keeps for itself is its device, where it
//! was built with the feature `gpu`. With the feature `archive` it keeps for others what it found.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

#[cfg(feature = "archive")]
mod archive;
#[cfg(feature = "gpu")]
mod gpu;

use harbor_watch_sar::{CpuDetector, DetectRequest, DetectorError, Observation, RequestError, Settings, observe};

/// The bindings of one of the worlds: where the interfaces lie is the same for all.
macro_rules! bindings {
    ($world:tt, with: $with:tt) => {
        wit_bindgen::generate!({
            path: [
                "../../../wit/wasi-logging",
                "../../../wit/wasi-webgpu",
                "../../../wit/wasmcloud-messaging",
                "../../../wit/wasi-config",
                "../../../wit/wasi-keyvalue",
                "../../../wit/wasi-blobstore",
                "wit",
            ],
            world: $world,
            with: $with,
            generate_all,
        });
    };
}

#[cfg(not(feature = "archive"))]
bindings!("roadstead:harbor-watch-sar-processor/sar-processor", with: {});

#[cfg(all(feature = "archive", not(feature = "gpu")))]
bindings!(
    "roadstead:harbor-watch-sar-processor/sar-processor-archive",
    with: { "wasi:io/streams@0.2.0": wasip2::io::streams }
);

#[cfg(feature = "gpu")]
bindings!(
    "roadstead:harbor-watch-sar-processor/sar-processor-gpu",
    with: { "wasi:io/streams@0.2.0": wasip2::io::streams }
);

use exports::wasmcloud::messaging::handler::{BrokerMessage, Guest};
use wasi::logging::logging::{Level, log};
use wasmcloud::messaging::consumer;

/// The part of the component that speaks in the log.
const LOG_CONTEXT: &str = "sar-processor";

struct SarProcessor;

impl Guest for SarProcessor {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        let Some(reply_to) = message.reply_to else {
            log(Level::Warn, LOG_CONTEXT, "a request without reply-to: nobody waits for the answer, nothing was done");
            return Ok(());
        };
        let answer = answer(&message.body).inspect_err(|reason| log(Level::Error, LOG_CONTEXT, reason))?;
        consumer::publish(&BrokerMessage { subject: reply_to, body: answer.json.clone(), reply_to: None })?;
        // After the answer: whoever asked does not wait for it.
        answer.keep();
        Ok(())
    }
}

export!(SarProcessor);

/// The reply to a request, and what came of it unless the request was wrong.
struct Answer {
    json: Vec<u8>,
    found: Option<(DetectRequest, Observation)>,
}

impl Answer {
    #[cfg(feature = "archive")]
    fn keep(&self) {
        if let Some((request, observation)) = &self.found {
            archive::keep(&request.key(), observation, &self.json);
        }
    }

    #[cfg(not(feature = "archive"))]
    fn keep(&self) {
        let _ = &self.found;
    }
}

#[cfg(feature = "archive")]
use archive::settings;

#[cfg(not(feature = "archive"))]
fn settings() -> Settings {
    Settings::default()
}

/// The reply to a request: the GeoJSON, or `{"error": ...}` when the request itself is wrong. Our own failures are the
/// `Err`, so that the host tells the one who waits.
fn answer(json: &[u8]) -> Result<Answer, String> {
    let request = match DetectRequest::from_json(json) {
        Ok(request) => request,
        Err(error) => return refusal(&error).map(|json| Answer { json, found: None }),
    };
    let observation = detect(&request, &settings()).map_err(|error: DetectorError| error.to_string())?;
    let stats = &observation.report.stats;
    let line = format!(
        "{} seed {}: {} detections, {} dark, {} of {} vessels found on {}",
        stats.region,
        stats.seed,
        stats.detections,
        stats.dark,
        stats.targets_detected,
        stats.targets_generated,
        stats.compute_backend
    );
    log(Level::Info, LOG_CONTEXT, &line);
    let json = observation.report.to_json().map_err(|error| error.to_string())?;
    Ok(Answer { json, found: Some((request, observation)) })
}

fn refusal(error: &RequestError) -> Result<Vec<u8>, String> {
    log(Level::Debug, LOG_CONTEXT, &format!("refused: {error}"));
    serde_json::to_vec(&serde_json::json!({ "error": error.to_string() })).map_err(|error| error.to_string())
}

/// Runs the pipeline on the processor.
#[cfg(not(feature = "gpu"))]
fn detect(request: &DetectRequest, settings: &Settings) -> Result<Observation, DetectorError> {
    observe(request, settings, &CpuDetector)
}

/// Runs the pipeline on the GPU, unless the client rules it out. A GPU that fails is an error: an answer that took the
/// slow way unasked would hide it.
#[cfg(feature = "gpu")]
fn detect(request: &DetectRequest, settings: &Settings) -> Result<Observation, DetectorError> {
    use harbor_watch_sar::TiledDetector;

    thread_local! {
        static GPU: TiledDetector<gpu::WebGpu> = TiledDetector::new(gpu::WebGpu::default());
    }
    if request.force_cpu() {
        observe(request, settings, &CpuDetector)
    } else {
        GPU.with(|gpu| observe(request, settings, gpu))
    }
}
