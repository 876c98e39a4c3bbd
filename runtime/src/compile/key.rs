//! What compiled code is known by: the component's bytes and everything of the engine that shapes code.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};
use wasmtime::Engine;

/// Bytes of a SHA-256 digest.
pub(super) const DIGEST_BYTES: usize = 32;

/// All settings of an engine that its code depends on, and the engine's version, as a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EngineFingerprint([u8; DIGEST_BYTES]);

impl EngineFingerprint {
    pub(super) fn of(engine: &Engine) -> Self {
        let mut hasher = DigestHasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self(hasher.0.finalize().into())
    }
}

/// Hashes without losing bits: the engine speaks to a [`Hasher`], whose own result has 64.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// What one piece of compiled code is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ComponentKey {
    component: [u8; DIGEST_BYTES],
    engine: EngineFingerprint,
}

impl ComponentKey {
    pub(super) fn new(component: &[u8], engine: EngineFingerprint) -> Self {
        Self { component: Sha256::digest(component).into(), engine }
    }

    /// SHA-256 of the component, in hexadecimal.
    pub(super) fn digest(&self) -> String {
        hex::encode(self.component)
    }

    /// The key as a file's header has it.
    pub(super) fn to_bytes(self) -> [u8; 2 * DIGEST_BYTES] {
        let mut bytes = [0; 2 * DIGEST_BYTES];
        let (component, engine) = bytes.split_at_mut(DIGEST_BYTES);
        component.copy_from_slice(&self.component);
        engine.copy_from_slice(&self.engine.0);
        bytes
    }

    /// The name of its file, without the extension. The header of the file has the whole key.
    pub(super) fn file_stem(&self) -> String {
        let engine = hex::encode(self.engine.0);
        format!("{}-{}", self.digest(), engine.get(..16).unwrap_or_default())
    }
}
