//! What is not whole, not ours or not secret is not used.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
};

use super::*;
use crate::{compile::key::EngineFingerprint, engine::compiler_engine};

const CODE: &[u8] = &[7; 5_000];

fn key(component: &str) -> ComponentKey {
    let engine = compiler_engine(&Limits::default()).unwrap();
    ComponentKey::new(component.as_bytes(), EngineFingerprint::of(&engine))
}

fn artifact(code: &[u8]) -> Artifact {
    Artifact::from_child(code.to_vec())
}

struct Stage {
    folder: tempfile::TempDir,
    path: PathBuf,
    key: ComponentKey,
}

/// A cache with one component in it.
fn stage() -> (Stage, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/demand");
    let cache = Cache::open(&path, &Limits::default()).unwrap();
    let key = key("one");
    cache.write(&key, &artifact(CODE)).unwrap();
    (Stage { folder, path, key }, cache)
}

impl Stage {
    fn file(&self) -> PathBuf {
        self.path.join(file_name(&self.key))
    }

    fn open(&self) -> Result<Cache, CacheError> {
        Cache::open(&self.path, &Limits::default())
    }
}

fn found(cache: &Cache, key: &ComponentKey) -> Option<Vec<u8>> {
    cache.read(key).unwrap().map(|artifact| artifact.as_bytes().to_vec())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_was_written_is_read_after_a_restart_by_this_user_alone() {
    let (stage, cache) = stage();
    assert_eq!(found(&cache, &stage.key).unwrap(), CODE);
    assert_eq!(found(&stage.open().unwrap(), &stage.key).unwrap(), CODE);
    assert!(found(&cache, &key("another")).is_none());
    assert_eq!((mode(&stage.path), mode(&stage.file()), mode(&stage.path.join(SECRET_FILE))), (0o700, 0o600, 0o600));
    assert_eq!(fs::read_dir(&stage.path).unwrap().count(), 2, "nothing unfinished stays");
}

#[test]
fn no_flipped_bit_is_accepted() {
    let (stage, cache) = stage();
    let whole = fs::read(stage.file()).unwrap();
    let header = (0..entry::HEADER_BYTES).map(|at| (at, at % 8));
    for (at, bit) in header.chain((0..whole.len()).step_by(97).map(|at| (at, at % 7))) {
        let mut changed = whole.clone();
        changed[at] ^= 1 << bit;
        fs::write(stage.file(), &changed).unwrap();
        assert!(cache.read(&stage.key).is_err(), "bit {bit} of byte {at}");
    }
}

#[test]
fn no_other_length_is_accepted() {
    let (stage, cache) = stage();
    let whole = fs::read(stage.file()).unwrap();
    let longer = [&whole[..], b"x"].concat();
    let cuts = (0..whole.len()).step_by(97).chain([entry::HEADER_BYTES, whole.len() - 1]);
    for changed in cuts.map(|len| &whole[..len]).chain([&longer[..]]) {
        fs::write(stage.file(), changed).unwrap();
        assert!(cache.read(&stage.key).is_err(), "{} bytes", changed.len());
    }
}

#[test]
fn a_file_of_another_secret_or_another_component_is_not_accepted() {
    let (first, cache) = stage();
    let (second, other_cache) = stage();
    fs::copy(second.file(), first.file()).unwrap();
    assert!(matches!(cache.read(&first.key), Err(EntryError::Authentication)));
    let other = key("two");
    fs::copy(second.file(), second.path.join(file_name(&other))).unwrap();
    assert!(matches!(other_cache.read(&other), Err(EntryError::Key)));
}

#[test]
fn a_file_that_others_could_have_written_is_not_read() {
    let (stage, cache) = stage();
    fs::set_permissions(stage.file(), fs::Permissions::from_mode(0o620)).unwrap();
    assert!(matches!(cache.read(&stage.key), Err(EntryError::Io(_))));
    fs::rename(stage.file(), stage.path.join("elsewhere")).unwrap();
    symlink(stage.path.join("elsewhere"), stage.file()).unwrap();
    assert!(matches!(cache.read(&stage.key), Err(EntryError::Io(_))));
    // Writing puts a file in its place.
    cache.write(&stage.key, &artifact(CODE)).unwrap();
    assert_eq!(found(&cache, &stage.key).unwrap(), CODE);
}

#[test]
fn a_directory_that_is_not_private_is_refused() {
    let (stage, _) = stage();
    fs::set_permissions(&stage.path, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(stage.open(), Err(CacheError::Mode { mode: 0o750, .. })));
    fs::set_permissions(&stage.path, fs::Permissions::from_mode(0o700)).unwrap();
    let link = stage.folder.path().join("link");
    symlink(&stage.path, &link).unwrap();
    assert!(matches!(Cache::open(&link, &Limits::default()), Err(CacheError::Io { .. })));
    // Only the superuser can give a directory away.
    if chown(&stage.path, Some(65_534), None).is_ok() {
        assert!(matches!(stage.open(), Err(CacheError::Owner { owner: 65_534, .. })));
    }
}

#[test]
fn a_damaged_secret_is_refused() {
    let (stage, _) = stage();
    fs::write(stage.path.join(SECRET_FILE), "short").unwrap();
    assert!(matches!(stage.open(), Err(CacheError::Secret { found: 5, .. })));
    fs::write(stage.path.join(SECRET_FILE), [0; 40]).unwrap();
    assert!(stage.open().is_err());
}

#[test]
fn writing_where_nothing_can_be_written_is_an_error() {
    let (stage, cache) = stage();
    fs::set_permissions(&stage.path, fs::Permissions::from_mode(0o500)).unwrap();
    let written = cache.write(&key("two"), &artifact(CODE));
    // The superuser may write all the same.
    assert_eq!(written.is_ok(), rustix::process::geteuid().is_root());
    fs::remove_dir_all(&stage.path).unwrap();
    assert!(cache.write(&key("three"), &artifact(CODE)).is_err());
    assert!(found(&cache, &stage.key).is_none());
}

#[test]
fn many_may_write_and_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let keys: Vec<ComponentKey> = ["a", "b", "c"].map(key).to_vec();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let cache = Cache::open(&path, &Limits::default()).unwrap();
                for round in 0..20 {
                    let key = &keys[round % keys.len()];
                    cache.write(key, &artifact(CODE)).unwrap();
                    assert_eq!(found(&cache, key).unwrap(), CODE);
                }
            });
        }
    });
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1 + keys.len());
}

#[test]
fn the_least_recently_used_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let size = (CODE.len() + entry::HEADER_BYTES) as u64;
    let by_bytes = Limits { component_cache_bytes_max: 2 * size, ..Limits::default() };
    let by_count = Limits { component_cache_files_max: 2, ..Limits::default() };
    for (name, limits) in [("bytes", by_bytes), ("count", by_count)] {
        let path = folder.path().join(name);
        let cache = Cache::open(&path, &limits).unwrap();
        let [a, b, c] = ["a", "b", "c"].map(key);
        let aged = |key: &ComponentKey, age: u64| {
            let file = fs::File::options().write(true).open(path.join(file_name(key))).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        };
        cache.write(&a, &artifact(CODE)).unwrap();
        cache.write(&b, &artifact(CODE)).unwrap();
        aged(&a, 500);
        aged(&b, 300);
        assert!(found(&cache, &a).is_some(), "reading makes it the most recently used");
        fs::write(path.join("unfinished-1"), "x").unwrap();
        fs::write(path.join("unfinished-2"), "x").unwrap();
        fs::File::options()
            .write(true)
            .open(path.join("unfinished-1"))
            .unwrap()
            .set_modified(SystemTime::now() - 2 * UNFINISHED_AGE)
            .unwrap();
        cache.write(&c, &artifact(CODE)).unwrap();
        assert_eq!([&a, &b, &c].map(|key| found(&cache, key).is_some()), [true, false, true], "{name}");
        assert!(!path.join("unfinished-1").exists() && path.join("unfinished-2").exists());
    }
}
