//! From a reference to bytes: the manifest, whose digest the tag stands for from then on, and the one layer that it
//! names. Every byte is counted and hashed as it comes, and what does not fit is given up at once. Keeps nothing.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use roadstead_config::Sha256Digest;
use sha2::{Digest, Sha256};

use super::{
    PullError,
    manifest::{self, Found, Layer},
    options::ProgressSink,
    retry::{LastError, Tries},
    session::{Ask, Session},
    wire::Reply,
};

/// Size of a manifest.
const MANIFEST_BYTES_MAX: u64 = 1_048_576;

/// What a reference stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Of the manifest, or of the index in which it is.
    pub(super) digest: Sha256Digest,
    pub(super) layer: Layer,
}

/// Finds the component's layer of a tag or a digest (`wanted`).
pub(super) async fn resolve(
    session: &mut Session,
    name: &str,
    wanted: Option<Sha256Digest>,
    last: &LastError,
) -> Result<Resolved, PullError> {
    let (digest, found) = one_manifest(session, name, wanted, last).await?;
    let layer = match found {
        Found::Component(layer) => layer,
        Found::Another(inner) => match one_manifest(session, &inner.to_string(), Some(inner), last).await?.1 {
            Found::Component(layer) => layer,
            Found::Another(_) => return Err(PullError::Manifest("its index leads to another index")),
        },
    };
    Ok(Resolved { digest, layer })
}

async fn one_manifest(
    session: &mut Session,
    name: &str,
    wanted: Option<Sha256Digest>,
    last: &LastError,
) -> Result<(Sha256Digest, Found), PullError> {
    let mut tries = Tries::new(last);
    loop {
        match try_manifest(session, name, wanted).await {
            Ok(found) => return Ok(found),
            Err(error) => tries.after(error).await?,
        }
    }
}

async fn try_manifest(
    session: &mut Session,
    name: &str,
    wanted: Option<Sha256Digest>,
) -> Result<(Sha256Digest, Found), PullError> {
    let mut ask = Ask::get(session.url(&format!("manifests/{name}"))?);
    for kind in manifest::ACCEPTED {
        ask.headers.append(header::ACCEPT, HeaderValue::from_static(kind));
    }
    let reply = session.ask(ask, false).await?;
    let host = session.host();
    refuse_encoding(&reply.headers, &host, "manifest")?;
    let content_type = text_of(&reply.headers, "content-type");
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
    let told: Option<Sha256Digest> = text_of(&reply.headers, "docker-content-digest").parse().ok();
    let body = reply.body.whole("manifest", MANIFEST_BYTES_MAX).await?;
    let found = digest_of(&body);
    for wanted in [wanted, told].into_iter().flatten() {
        if wanted != found {
            return Err(PullError::WrongDigest { host, what: "manifest", wanted, found });
        }
    }
    Ok((found, manifest::read(&body, &content_type)?))
}

/// Fetches a layer whole, and no byte more.
pub(super) async fn blob(
    session: &mut Session,
    layer: Layer,
    progress: &ProgressSink<'_>,
    last: &LastError,
) -> Result<Bytes, PullError> {
    let mut tries = Tries::new(last);
    loop {
        match try_blob(session, layer, progress).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => tries.after(error).await?,
        }
    }
}

async fn try_blob(session: &mut Session, layer: Layer, progress: &ProgressSink<'_>) -> Result<Bytes, PullError> {
    const WHAT: &str = "component";
    let Layer { digest, bytes: wanted } = layer;
    let ask = Ask::get(session.url(&format!("blobs/{digest}"))?);
    let Reply { headers, mut body, .. } = session.ask(ask, false).await?;
    let host = session.host();
    refuse_encoding(&headers, &host, WHAT)?;
    let told = text_of(&headers, "content-length").parse().ok();
    if let Some(found) = told.filter(|told| *told != wanted) {
        return Err(PullError::WrongLength { host, what: WHAT, wanted, found });
    }
    let mut bytes = Vec::new();
    let mut hash = Sha256::new();
    loop {
        let piece = match body.next().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            // The connection ended before the length that its own head names.
            Err(PullError::Connection { source, .. }) if source.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        };
        let found = (bytes.len() + piece.len()) as u64;
        if found > wanted {
            return Err(PullError::WrongLength { host, what: WHAT, wanted, found });
        }
        hash.update(&piece);
        bytes.extend_from_slice(&piece);
        progress.received(found, wanted);
    }
    if (bytes.len() as u64) < wanted {
        return Err(PullError::Truncated { host, what: WHAT, wanted, found: bytes.len() as u64 });
    }
    let found = Sha256Digest::from_bytes(hash.finalize().into());
    if found != digest {
        return Err(PullError::WrongDigest { host, what: WHAT, wanted: digest, found });
    }
    Ok(bytes.into())
}

/// The digest of some content.
pub fn digest_of(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::from_bytes(Sha256::digest(bytes).into())
}

fn refuse_encoding(headers: &HeaderMap, host: &str, what: &'static str) -> Result<(), PullError> {
    match text_of(headers, "content-encoding") {
        "" | "identity" => Ok(()),
        _ => Err(PullError::Encoded { host: host.to_owned(), what }),
    }
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map(|value| value.to_str().unwrap_or("unreadable")).unwrap_or_default()
}
