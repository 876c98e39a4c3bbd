//! What an image's manifest says: which of its layers is the component, or which of its manifests is for WebAssembly.
//! It is given bytes that are already bounded, and fetches nothing.
//!
//! Published: OCI image specification 1.1; the artifact layout of the CNCF's WebAssembly working group; and the layouts
//! that came before it.

use roadstead_config::Sha256Digest;
use serde::Deserialize;

use super::PullError;
use crate::fault::one_line;

/// A manifest of one image, of the OCI and of Docker.
pub(super) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const IMAGE_DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// An index of several, of the OCI and of Docker.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const INDEX_DOCKER: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// What is asked for.
pub(super) const ACCEPTED: [&str; 4] = [IMAGE, INDEX, IMAGE_DOCKER, INDEX_DOCKER];

/// The layer of a component.
pub(super) const WASM_LAYER: &str = "application/wasm";
/// The configuration beside it.
pub(super) const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// What layers were called before.
const WASM_LAYERS: [&str; 3] =
    [WASM_LAYER, "application/vnd.wasm.content.layer.v1+wasm", "application/vnd.module.wasm.content.layer.v1+wasm"];

/// Layers of an image, manifests of an index.
const ENTRIES_MAX: usize = 256;
/// Kinds of content that an error names.
const KINDS_SHOWN: usize = 3;

/// The component of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) digest: Sha256Digest,
    pub(super) bytes: u64,
}

/// What a manifest leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Component(Layer),
    /// The manifest for WebAssembly in an index.
    Another(Sha256Digest),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// Reads a manifest, which the registry sent as `content_type`.
pub(super) fn read(bytes: &[u8], content_type: &str) -> Result<Found, PullError> {
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|_| PullError::Manifest("it is no JSON of a known form"))?;
    if manifest.schema_version != 2 {
        return Err(PullError::Manifest("its schemaVersion is not 2"));
    }
    if manifest.media_type.as_deref().is_some_and(|own| own != content_type && ACCEPTED.contains(&content_type)) {
        return Err(PullError::Manifest("it says another media type than the registry"));
    }
    match (&manifest.layers, &manifest.manifests) {
        // Two readers could take it for two things.
        (Some(_), Some(_)) => Err(PullError::Manifest("it has layers and manifests at once")),
        (Some(layers), None) => component(&manifest, layers).map(Found::Component),
        (None, Some(manifests)) => for_wasm(manifests).map(Found::Another),
        (None, None) => Err(PullError::Manifest("it has neither layers nor manifests")),
    }
}

fn component(manifest: &Manifest, layers: &[Descriptor]) -> Result<Layer, PullError> {
    if layers.len() > ENTRIES_MAX {
        return Err(PullError::Manifest("it has too many layers"));
    }
    let mut wasm = layers.iter().filter(|layer| WASM_LAYERS.contains(&layer.media_type.as_str()));
    let Some(layer) = wasm.next() else { return Err(no_wasm(manifest, layers)) };
    if wasm.next().is_some() {
        return Err(PullError::Manifest("it has several WebAssembly layers, and nothing says which one to run"));
    }
    Ok(Layer { digest: digest(layer)?, bytes: layer.size })
}

/// What is there instead of a component, by the names of its kinds.
fn no_wasm(manifest: &Manifest, layers: &[Descriptor]) -> PullError {
    let of_config = manifest.config.iter().map(|config| config.media_type.as_str());
    let kinds = layers.iter().map(|layer| layer.media_type.as_str());
    let kinds = manifest.artifact_type.as_deref().into_iter().chain(kinds).chain(of_config);
    let mut shown: Vec<&str> = Vec::new();
    for kind in kinds {
        if shown.len() < KINDS_SHOWN && !shown.contains(&kind) {
            shown.push(kind);
        }
    }
    PullError::NotWasm(one_line(format_args!("{}", shown.join(", "))))
}

/// The manifest of an index that is for WebAssembly: by its platform, by what kind of artifact it is, or because there
/// is no other.
fn for_wasm(manifests: &[Descriptor]) -> Result<Sha256Digest, PullError> {
    if manifests.len() > ENTRIES_MAX {
        return Err(PullError::Manifest("its index has too many manifests"));
    }
    let platform = |entry: &&Descriptor, os: &[&str]| {
        entry.platform.as_ref().is_some_and(|platform| platform.architecture == "wasm" && os.contains(&&*platform.os))
    };
    let kind = |entry: &&Descriptor| {
        entry.artifact_type.as_deref().is_some_and(|kind| kind == WASM_LAYER || kind == WASM_CONFIG)
    };
    let only = || match manifests {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    };
    let found = manifests
        .iter()
        .find(|entry| platform(entry, &["wasip2"]))
        .or_else(|| manifests.iter().find(|entry| platform(entry, &["wasi", "wasip1"])))
        .or_else(|| manifests.iter().find(kind))
        .or_else(only);
    match found {
        Some(entry) => digest(entry),
        None => Err(PullError::NotWasm("an index without a manifest for WebAssembly (platform wasip2/wasm)".into())),
    }
}

fn digest(descriptor: &Descriptor) -> Result<Sha256Digest, PullError> {
    descriptor.digest.parse().map_err(|_| PullError::Manifest("it names a digest that is not sha256"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn digest_of(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    fn layer(kind: &str, digit: char) -> Value {
        json!({ "mediaType": kind, "digest": digest_of(digit), "size": 7 })
    }

    fn found(manifest: &Value) -> Result<Found, PullError> {
        read(manifest.to_string().as_bytes(), IMAGE)
    }

    #[test]
    fn every_published_layout_is_read() {
        for kind in WASM_LAYERS {
            let manifest = json!({ "schemaVersion": 2, "layers": [layer("text/plain", 'a'), layer(kind, 'b')] });
            let wanted = Layer { digest: digest_of('b').parse().unwrap(), bytes: 7 };
            assert_eq!(found(&manifest).unwrap(), Found::Component(wanted), "{kind}");
        }
    }

    #[test]
    fn an_index_leads_to_webassembly() {
        let entry = |os: &str, architecture: &str, digit| {
            let mut entry = layer(IMAGE, digit);
            entry["platform"] = json!({ "os": os, "architecture": architecture });
            entry
        };
        let index = |manifests: Vec<Value>| {
            let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
            read(index.to_string().as_bytes(), INDEX)
        };
        let another = |digit| Found::Another(digest_of(digit).parse().unwrap());
        let several = vec![entry("linux", "amd64", 'a'), entry("wasi", "wasm", 'b'), entry("wasip2", "wasm", 'c')];
        assert_eq!(index(several).unwrap(), another('c'));
        let mut artifact = layer(IMAGE, 'd');
        artifact["artifactType"] = WASM_CONFIG.into();
        assert_eq!(index(vec![entry("linux", "amd64", 'a'), artifact]).unwrap(), another('d'));
        assert_eq!(index(vec![layer(IMAGE, 'e')]).unwrap(), another('e'));
        assert!(matches!(index(vec![entry("linux", "amd64", 'a')]), Err(PullError::NotWasm(_))));
        assert!(matches!(index(vec![]), Err(PullError::NotWasm(_))));
        let many = |count| index(std::iter::repeat_n(entry("wasip2", "wasm", 'c'), count).collect());
        assert!(many(ENTRIES_MAX).is_ok());
        assert!(matches!(many(ENTRIES_MAX + 1), Err(PullError::Manifest(_))));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let wasm = || layer(WASM_LAYER, 'a');
        for manifest in [
            json!({ "schemaVersion": 2, "layers": [wasm()], "manifests": [wasm()] }),
            json!({ "schemaVersion": 2, "layers": [wasm(), wasm()] }),
            json!({ "schemaVersion": 2, "mediaType": INDEX, "layers": [wasm()] }),
            json!({ "schemaVersion": 1, "layers": [wasm()] }),
            json!({ "schemaVersion": 2 }),
            json!({ "schemaVersion": 2, "layers": vec![wasm(); ENTRIES_MAX + 1] }),
            json!({ "schemaVersion": 2, "layers": [{ "mediaType": WASM_LAYER, "digest": "md5:1", "size": 1 }] }),
            json!({ "schemaVersion": 2, "layers": [{ "mediaType": WASM_LAYER, "digest": digest_of('a'), "size": -1 }] }),
        ] {
            assert!(matches!(found(&manifest), Err(PullError::Manifest(_))), "{manifest}");
        }
        let deep = format!("{{\"schemaVersion\": 2, \"x\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(matches!(read(deep.as_bytes(), IMAGE), Err(PullError::Manifest(_))));
        let other = json!({ "schemaVersion": 2, "layers": [layer("application/x\u{1b}[31m", 'a')] });
        let text = found(&other).unwrap_err().to_string();
        assert!(text.contains("application/x\\u{1b}[31m"), "{text}");
    }
}
