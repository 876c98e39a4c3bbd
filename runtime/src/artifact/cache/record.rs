//! What a reference stood for, as one file: a code of authentication, and JSON. Its name depends on the credentials with
//! which it was asked for, so that nobody gets from the cache what the registry would refuse him. No files here.

use std::io;

use hmac::{Hmac, Mac};
use rand::TryRngCore;
use roadstead_config::{RegistryCredentials, Sha256Digest};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::super::{fetch::Resolved, manifest::Layer};

/// Bytes of a directory's secret.
pub(super) const SECRET_BYTES: usize = 32;
/// Size of a record.
pub(super) const RECORD_BYTES_MAX: u64 = 4_096;
/// Bytes of a code of authentication.
const CODE_BYTES: usize = 32;

/// What records are authenticated with.
pub(super) type Secret = [u8; SECRET_BYTES];

/// The name of a record.
pub(in crate::artifact) struct RecordKey(String);

/// What a reference stood for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::artifact) struct Record(pub(in crate::artifact) Resolved);

#[derive(Serialize, Deserialize)]
struct Written {
    manifest: String,
    component: String,
    bytes: u64,
}

impl RecordKey {
    pub(super) fn new(secret: &Secret, image: &str, credentials: Option<&RegistryCredentials>) -> Self {
        let who = credentials.map(|who| format!("{}:{}", who.username(), who.password())).unwrap_or_default();
        let parts = [image.as_bytes(), &[0, u8::from(credentials.is_some())], who.as_bytes()];
        Self(hex::encode(code(secret, &parts)))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

/// A secret for a new directory.
pub(super) fn new_secret() -> io::Result<Secret> {
    let mut secret = [0; SECRET_BYTES];
    rand::rngs::OsRng.try_fill_bytes(&mut secret).map_err(io::Error::other)?;
    Ok(secret)
}

/// The file of a record.
pub(super) fn seal(secret: &Secret, key: &RecordKey, Record(resolved): &Record) -> io::Result<Vec<u8>> {
    let written = Written {
        manifest: resolved.digest.to_string(),
        component: resolved.layer.digest.to_string(),
        bytes: resolved.layer.bytes,
    };
    let json = serde_json::to_vec(&written)?;
    Ok([&code(secret, &[key.0.as_bytes(), &[0], &json]), json.as_slice()].concat())
}

/// The record in a file, if it is the one that was written under this name.
pub(super) fn open(secret: &Secret, key: &RecordKey, file: &[u8]) -> Option<Record> {
    let (found, json) = file.split_first_chunk::<CODE_BYTES>()?;
    mac(secret, &[key.0.as_bytes(), &[0], json])?.verify_slice(found).ok()?;
    let written: Written = serde_json::from_slice(json).ok()?;
    let digest = |text: &str| text.parse::<Sha256Digest>().ok();
    let layer = Layer { digest: digest(&written.component)?, bytes: written.bytes };
    Some(Record(Resolved { digest: digest(&written.manifest)?, layer }))
}

fn code(secret: &Secret, parts: &[&[u8]]) -> [u8; CODE_BYTES] {
    mac(secret, parts).map(|mac| mac.finalize().into_bytes().into()).unwrap_or_default()
}

fn mac(secret: &Secret, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac)
}
