//! One cache file as bytes: mark and version, key, length, code of authentication, code. No files here.

use std::io;

use hmac::{Hmac, Mac};
use rand::TryRngCore;
use sha2::Sha256;

use super::super::{
    key::{ComponentKey, DIGEST_BYTES},
    load::Artifact,
};

/// Mark and version of the form.
const MARK: [u8; 8] = *b"RSTDCC01";
const KEY_BYTES: usize = 2 * DIGEST_BYTES;
const LENGTH_BYTES: usize = 8;
const CODE_BYTES: usize = 32;
/// What is authenticated of the header: all but the code of authentication itself.
const SIGNED_BYTES: usize = MARK.len() + KEY_BYTES + LENGTH_BYTES;
/// Bytes before the code.
pub(super) const HEADER_BYTES: usize = SIGNED_BYTES + CODE_BYTES;
/// Bytes of a directory's secret.
pub(super) const SECRET_BYTES: usize = 32;

/// Why a cache file is not used.
#[derive(Debug, thiserror::Error)]
pub(in crate::compile) enum EntryError {
    #[error("the cache file cannot be read")]
    Io(#[from] io::Error),
    #[error("the cache file is cut short")]
    Short,
    #[error("the cache file has another form than this version writes")]
    Form,
    #[error("the cache file is of another component or another engine")]
    Key,
    #[error("the cache file has not the length that it names")]
    Length,
    #[error("the cache file was changed, or was written with another secret")]
    Authentication,
}

/// A secret for a new directory.
pub(super) fn new_secret() -> io::Result<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    rand::rngs::OsRng.try_fill_bytes(&mut secret).map_err(io::Error::other)?;
    Ok(secret)
}

/// The header of a file with this code.
pub(super) fn header(artifact: &Artifact, key: &ComponentKey, secret: &[u8; SECRET_BYTES]) -> io::Result<Vec<u8>> {
    let code = artifact.as_bytes();
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend(MARK);
    header.extend(key.to_bytes());
    header.extend((code.len() as u64).to_le_bytes());
    let authentication = mac(&header, code, secret).ok_or_else(|| io::Error::other("no code of authentication"))?;
    header.extend(authentication.finalize().into_bytes());
    Ok(header)
}

/// Checks a whole file and takes the code out of it.
pub(super) fn open(mut file: Vec<u8>, key: &ComponentKey, secret: &[u8; SECRET_BYTES]) -> Result<Artifact, EntryError> {
    let (signed, rest) = file.split_at_checked(SIGNED_BYTES).ok_or(EntryError::Short)?;
    let (authentication, code) = rest.split_at_checked(CODE_BYTES).ok_or(EntryError::Short)?;
    let (mark, named) = signed.split_at_checked(MARK.len()).ok_or(EntryError::Short)?;
    let (named_key, length) = named.split_at_checked(KEY_BYTES).ok_or(EntryError::Short)?;
    if mark != MARK {
        return Err(EntryError::Form);
    }
    if named_key != key.to_bytes() {
        return Err(EntryError::Key);
    }
    if length != (code.len() as u64).to_le_bytes() {
        return Err(EntryError::Length);
    }
    // Compared in constant time.
    let expected = mac(signed, code, secret).ok_or(EntryError::Authentication)?;
    expected.verify_slice(authentication).map_err(|_| EntryError::Authentication)?;
    file.drain(..HEADER_BYTES);
    Ok(Artifact::authenticated(file))
}

fn mac(signed: &[u8], code: &[u8], secret: &[u8; SECRET_BYTES]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(signed);
    mac.update(code);
    Some(mac)
}
