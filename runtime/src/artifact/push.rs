//! A component to a registry, in the layout of the CNCF's WebAssembly working group: an OCI image manifest with one
//! layer `application/wasm`, and a configuration that names the component's interfaces.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use roadstead_config::{OciReference, Sha256Digest};
use serde_json::json;

use super::{
    ArtifactStore, PullError,
    fetch::digest_of,
    inspect::Inspected,
    manifest::{IMAGE, WASM_CONFIG, WASM_LAYER},
    session::{Ask, Session},
};

/// When every configuration says it was made: the same component has the same digest whenever it is sent.
const CREATED: &str = "1970-01-01T00:00:00Z";

impl ArtifactStore {
    /// Sends a component as `image`, which names a tag. Returns the digest of its manifest, which depends on the
    /// component alone.
    ///
    /// # Errors
    /// When it is no component, or the registry does not take it.
    pub async fn push(&self, image: &OciReference, component: Bytes) -> Result<Sha256Digest, PullError> {
        let tag = image.tag().ok_or(PullError::Manifest("a digest cannot be chosen; name a tag to send it to"))?;
        let inspected = Inspected::of(&component).map_err(PullError::NotWasm)?;
        let layer = digest_of(&component);
        let config = json!({
            "created": CREATED,
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [layer.to_string()],
            "component": { "exports": inspected.exports, "imports": inspected.imports },
        });
        let config = Bytes::from(config.to_string());
        let descriptor = |kind: &str, digest: Sha256Digest, bytes: &Bytes| json!({ "mediaType": kind, "digest": digest.to_string(), "size": bytes.len() });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "artifactType": WASM_LAYER,
            "config": descriptor(WASM_CONFIG, digest_of(&config), &config),
            "layers": [descriptor(WASM_LAYER, layer, &component)],
        });
        let manifest = Bytes::from(manifest.to_string());
        let mut session = self.session_to_write(image).await?;
        for blob in [config, component] {
            send_blob(&mut session, blob).await?;
        }
        let digest = digest_of(&manifest);
        let url = session.url(&format!("manifests/{tag}"))?;
        session.ask(Ask { method: Method::PUT, url, headers: content_type(IMAGE), body: manifest }, false).await?;
        Ok(digest)
    }
}

async fn send_blob(session: &mut Session, blob: Bytes) -> Result<(), PullError> {
    let digest = digest_of(&blob);
    let url = session.url(&format!("blobs/{digest}"))?;
    let look = Ask { method: Method::HEAD, ..Ask::get(url) };
    if session.ask(look, true).await?.status != StatusCode::NOT_FOUND {
        return Ok(());
    }
    let begin = Ask { method: Method::POST, ..Ask::get(session.url("blobs/uploads/")?) };
    let begun_at = begin.url.clone();
    let begun = session.ask(begin, false).await?;
    let host = session.host();
    let refuse = |why| PullError::Redirect { host: host.clone(), why };
    let location = begun.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let location = location.ok_or_else(|| refuse("it names no place to send to"))?;
    let mut url = session.upload_url(&begun_at, location).ok_or_else(|| refuse("the place to send to is no URL"))?;
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    let headers = content_type("application/octet-stream");
    session.ask(Ask { method: Method::PUT, url, headers, body: blob }, false).await?;
    Ok(())
}

fn content_type(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
}
