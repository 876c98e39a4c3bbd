//! The cache by itself: what it keeps, what it does not believe, and what it removes.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use super::{super::fetch::Resolved, *};

struct Stage {
    folder: tempfile::TempDir,
    cache: ImageCache,
}

fn stage(change: impl FnOnce(&mut Limits)) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    change(&mut limits);
    let cache = ImageCache::open(&folder.path().join("images"), &limits).unwrap();
    Stage { folder, cache }
}

fn layer(bytes: &[u8]) -> Layer {
    Layer { digest: digest_of(bytes), bytes: bytes.len() as u64 }
}

impl Stage {
    fn file(&self, layer: &Layer) -> PathBuf {
        self.folder.path().join("images/components").join(layer.digest.hex())
    }

    fn keep(&self, bytes: &[u8]) -> Layer {
        let layer = layer(bytes);
        drop(self.cache.write(&layer, bytes).unwrap());
        layer
    }

    /// Makes a component as old as nobody's.
    fn age(&self, layer: &Layer, by: Duration) {
        let file = fs::File::options().append(true).open(self.file(layer)).unwrap();
        file.set_modified(SystemTime::now() - by).unwrap();
    }
}

#[test]
fn a_damaged_component_is_removed() {
    let stage = stage(|_| {});
    let kept = stage.keep(b"component");
    assert_eq!(&stage.cache.read(&kept).unwrap().unwrap().0[..], b"component");
    for damage in [&b"COMPONENT"[..], b"", b"compo", b"component and more"] {
        fs::write(stage.file(&kept), damage).unwrap();
        assert!(stage.cache.read(&kept).unwrap().is_none());
        assert!(!stage.file(&kept).exists());
        stage.keep(b"component");
    }
}

#[test]
fn a_reference_is_remembered_for_who_asked() {
    let stage = stage(|_| {});
    let (anna, berta) =
        (RegistryCredentials::new("anna", "x").unwrap(), RegistryCredentials::new("berta", "x").unwrap());
    let record = Record(Resolved { digest: digest_of(b"manifest"), layer: layer(b"component") });
    let key = |who| stage.cache.key("ghcr.io/a:1", who);
    stage.cache.remember(&key(Some(&anna)), &record).unwrap();
    assert_eq!(stage.cache.recall(&key(Some(&anna))).unwrap(), Some(record));
    assert_eq!(stage.cache.recall(&key(Some(&berta))).unwrap(), None);
    assert_eq!(stage.cache.recall(&key(None)).unwrap(), None);
    assert_eq!(stage.cache.recall(&stage.cache.key("ghcr.io/a:2", Some(&anna))).unwrap(), None);
}

#[test]
fn a_changed_record_is_removed() {
    let stage = stage(|_| {});
    let record = Record(Resolved { digest: digest_of(b"manifest"), layer: layer(b"component") });
    let (key, other) = (stage.cache.key("ghcr.io/a:1", None), stage.cache.key("ghcr.io/b:1", None));
    stage.cache.remember(&key, &record).unwrap();
    let folder = stage.folder.path().join("images/references");
    let contents = fs::read(folder.join(key.name())).unwrap();
    // The record of another reference, under this name.
    fs::write(folder.join(other.name()), &contents).unwrap();
    fs::set_permissions(folder.join(other.name()), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(stage.cache.recall(&other).unwrap(), None);
    assert!(!folder.join(other.name()).exists());
    for byte in [0, contents.len() - 2] {
        let mut changed = contents.clone();
        changed[byte] ^= 1;
        fs::write(folder.join(key.name()), changed).unwrap();
        assert_eq!(stage.cache.recall(&key).unwrap(), None);
    }
    assert!(contents.len() as u64 <= record::RECORD_BYTES_MAX);
}

/// `artifact_cache_bytes_max`, by components of four bytes.
#[test]
fn beyond_its_size_the_cache_forgets_what_was_used_longest_ago() {
    let stage = stage(|limits| limits.artifact_cache_bytes_max = 8);
    let (first, second) = (stage.keep(b"1111"), stage.keep(b"2222"));
    stage.age(&first, Duration::from_secs(20));
    stage.age(&second, Duration::from_secs(10));
    // Read, it is the most recently used.
    drop(stage.cache.read(&first).unwrap().unwrap());
    stage.keep(b"3333");
    assert!(stage.file(&first).exists() && !stage.file(&second).exists());
}

#[test]
fn the_cache_has_so_many_files() {
    let stage = stage(|limits| limits.artifact_cache_files_max = 1);
    let first = stage.keep(b"1111");
    stage.age(&first, Duration::from_secs(20));
    let second = stage.keep(b"2222");
    assert!(!stage.file(&first).exists() && stage.file(&second).exists());
}

#[test]
fn what_is_in_use_stays_and_what_nobody_used_goes() {
    let stage = stage(|limits| limits.artifact_cache_bytes_max = 0);
    // A host of its own on the same directory.
    let other = ImageCache::open(&stage.folder.path().join("images"), &Limits::default()).unwrap();
    let used = layer(b"used");
    let lease = other.write(&used, b"used").unwrap().unwrap();
    stage.age(&used, Duration::from_secs(1_000));
    assert_eq!(stage.cache.clean(Some(Duration::from_secs(1))).unwrap(), Cleaned::default());
    assert!(stage.file(&used).exists());
    drop(lease);
    assert_eq!(stage.cache.clean(None).unwrap(), Cleaned { removed: 1, bytes: 4 });
    assert!(stage.cache.read(&used).unwrap().is_none());

    let old = layer(b"old");
    drop(other.write(&old, b"old").unwrap());
    stage.age(&old, Duration::from_secs(100));
    assert_eq!(other.clean(Some(Duration::from_secs(200))).unwrap().removed, 0);
    assert_eq!(other.clean(Some(Duration::from_secs(50))).unwrap().removed, 1);
}

#[test]
fn a_component_that_is_larger_than_one_may_be_is_not_read() {
    let stage = stage(|limits| limits.component_bytes_max = 4);
    let large = stage.keep(b"12345");
    assert!(stage.cache.read(&large).unwrap().is_none());
}
