//! What the control group of the process may have of memory, and has: version 2, and version 1 where that is what there
//! is (<https://docs.kernel.org/admin-guide/cgroup-v2.html>).

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A limit from here on is none: version 1 writes the largest number of pages that there is.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// The group that bounds the memory of the process: its own or one above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemoryGroup {
    pub(super) limit_bytes: u64,
    current: PathBuf,
    statistics: PathBuf,
    /// The names of the file cache, which the kernel takes back before it kills anybody.
    file_cache: [&'static str; 2],
}

impl MemoryGroup {
    /// The group with the smallest limit; `None` where nothing is limited or nothing can be read.
    pub(super) fn find() -> Option<Self> {
        let told = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::find_under(Path::new("/sys/fs/cgroup"), &told)
    }

    /// `told` has a line `0::PATH`, or `NUMBER:memory:PATH` for version 1. In a container the path may be one of
    /// outside, which is not there; the root then is the container's own group.
    fn find_under(root: &Path, told: &str) -> Option<Self> {
        let mut groups = Vec::new();
        for line in told.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let (root, group): (_, fn(&Path) -> Option<Self>) = match controllers {
                "" => (root.to_owned(), Self::version_2),
                _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), Self::version_1),
                _ => continue,
            };
            let own = root.join(path.trim_start_matches('/'));
            groups.extend(own.ancestors().take_while(|folder| folder.starts_with(&root)).filter_map(group));
        }
        groups.into_iter().min_by_key(|group| group.limit_bytes)
    }

    fn version_2(folder: &Path) -> Option<Self> {
        Some(Self {
            limit_bytes: limit(&folder.join("memory.max"))?,
            current: folder.join("memory.current"),
            statistics: folder.join("memory.stat"),
            file_cache: ["inactive_file", "active_file"],
        })
    }

    fn version_1(folder: &Path) -> Option<Self> {
        Some(Self {
            limit_bytes: limit(&folder.join("memory.limit_in_bytes"))?,
            current: folder.join("memory.usage_in_bytes"),
            statistics: folder.join("memory.stat"),
            file_cache: ["total_inactive_file", "total_active_file"],
        })
    }

    /// What the group has, without its file cache where it is at least `mark`: telling that apart costs more.
    pub(super) fn used_bytes(&self, mark: u64) -> Option<u64> {
        let current = number(&self.current)?;
        if current < mark {
            return Some(current);
        }
        let statistics = fs::read_to_string(&self.statistics).unwrap_or_default();
        let fields = statistics.lines().filter_map(|line| line.split_once(' '));
        let of_cache = fields.filter(|(name, _)| self.file_cache.contains(name));
        let cache = of_cache.filter_map(|(_, bytes)| bytes.parse::<u64>().ok()).fold(0, u64::saturating_add);
        Some(current.saturating_sub(cache))
    }
}

fn limit(file: &Path) -> Option<u64> {
    number(file).filter(|limit| *limit < NO_LIMIT_BYTES)
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    #[test]
    fn the_narrowest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        write(&root.path().join("pods/one"), &[("memory.max", "2000\n")]);
        write(&root.path().join("pods"), &[("memory.max", "1000\n"), ("memory.current", "900\n")]);
        write(root.path(), &[("memory.max", "max\n")]);
        write(&root.path().join("pods"), &[("memory.stat", "anon 700\ninactive_file 150\nactive_file 50\n")]);
        let group = MemoryGroup::find_under(root.path(), "1:cpu:/x\n0::/pods/one\n").unwrap();
        assert_eq!(group.limit_bytes, 1000);
        assert_eq!((group.used_bytes(901), group.used_bytes(900)), (Some(900), Some(700)));
        assert_eq!(MemoryGroup::find_under(root.path(), "0::/\n"), None);
    }

    #[test]
    fn the_path_may_be_one_of_outside() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &[("memory.max", "1000\n"), ("memory.current", "10\n")]);
        assert_eq!(MemoryGroup::find_under(root.path(), "0::/not/here\n").unwrap().limit_bytes, 1000);
    }

    #[test]
    fn version_1_is_read() {
        let root = tempfile::tempdir().unwrap();
        let none = "9223372036854771712\n";
        write(&root.path().join("memory"), &[("memory.limit_in_bytes", none), ("memory.usage_in_bytes", "1\n")]);
        assert_eq!(MemoryGroup::find_under(root.path(), "4:memory:/a\n"), None);
        let own = root.path().join("memory/a");
        write(&own, &[("memory.limit_in_bytes", "1000\n"), ("memory.usage_in_bytes", "800\n")]);
        write(&own, &[("memory.stat", "inactive_file 1\ntotal_inactive_file 300\n")]);
        let group = MemoryGroup::find_under(root.path(), "4:blkio,memory:/a\n").unwrap();
        assert_eq!((group.limit_bytes, group.used_bytes(800)), (1000, Some(500)));
    }

    #[test]
    fn what_cannot_be_read_limits_nothing() {
        assert_eq!(MemoryGroup::find_under(Path::new("/nowhere"), "0::/\n2:memory:/\nnonsense\n"), None);
    }
}
