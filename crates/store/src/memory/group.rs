//! Memory control groups of Linux, both versions: which ones limit this process, and what each has left.
//!
//! [`Groups`] keeps the files of every group from the process's up to the topmost that is visible, which in a container is
//! the container's, wherever that is on the host. The files are only read.

use std::path::{Path, PathBuf};

use crate::memory::reread::{Reread, value};
use crate::memory::room::Room;

/// Version 1 writes "no limit" as a number of about 2^63; no machine has as much as this.
const NO_LIMIT: u64 = 1 << 60;

/// Names of the files and values of a hierarchy.
struct Names {
    /// The lowest of these limits the group.
    limits: &'static [&'static str],
    usage: &'static str,
    inactive_file: &'static str,
    active_file: &'static str,
}

/// Without `total_`, version 1 omits the groups below.
const VERSION_1: Names = Names {
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    inactive_file: "total_inactive_file",
    active_file: "total_active_file",
};

/// Above `memory.high` a group is not killed but slowed down until it is useless, so that is a limit as well.
const VERSION_2: Names = Names {
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    inactive_file: "inactive_file",
    active_file: "active_file",
};

/// The memory control groups around a process.
pub(crate) struct Groups {
    groups: Vec<Group>,
}

struct Group {
    names: &'static Names,
    limits: Vec<Reread>,
    usage: Reread,
    stat: Option<Reread>,
}

impl Groups {
    /// The groups of this process according to the files below `root`, which is `/` outside tests.
    ///
    /// If the process is moved to another group later, this does not notice.
    pub(crate) fn open(root: &Path) -> Groups {
        let membership = membership(root);
        let folders = membership.lines().flat_map(|line| memory_folders(root, line));
        Groups { groups: folders.filter_map(|(folder, names)| Group::open(&folder, names)).collect() }
    }

    /// What every group with a limit has left now, from the process's upwards.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = Room> {
        self.groups.iter().filter_map(Group::room)
    }
}

impl Group {
    fn open(folder: &Path, names: &'static Names) -> Option<Group> {
        let limits: Vec<Reread> = names.limits.iter().filter_map(|name| Reread::open(&folder.join(name))).collect();
        let usage = Reread::open(&folder.join(names.usage))?;
        let stat = Reread::open(&folder.join("memory.stat"));
        (!limits.is_empty()).then_some(Group { names, limits, usage, stat })
    }

    fn room(&self) -> Option<Room> {
        let limit = self.limits.iter().filter_map(Reread::number).min().filter(|limit| *limit < NO_LIMIT)?;
        let used = self.usage.number()?.saturating_sub(self.reclaimable());
        Some(Room { available: limit.saturating_sub(used), total: limit })
    }

    /// Bytes of page cache that count as used and that the group gives up before it swaps or is killed.
    ///
    /// Files on the inactive list were read once and go first, so they count in full. Those on the active list are in
    /// use: dropping them all would make programs wait for their code, so half of them counts. The kernel's
    /// `MemAvailable` reserves half of the cache at most. Files in tmpfs are on neither list.
    fn reclaimable(&self) -> u64 {
        let found = self.stat.as_ref().and_then(|stat| {
            stat.look(|text| Some(value(text, self.names.inactive_file)? + value(text, self.names.active_file)? / 2))
        });
        found.unwrap_or(0)
    }
}

/// The folders of the version 2 hierarchy from the process's group upwards, whichever controllers it has.
pub(crate) fn unified_folders(root: &Path) -> Vec<PathBuf> {
    let membership = membership(root);
    let path = membership.lines().find_map(|line| line.strip_prefix("0::"));
    path.map(|path| upwards(&unified_mount(root), path).collect()).unwrap_or_default()
}

fn membership(root: &Path) -> String {
    std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default()
}

/// A line of `/proc/self/cgroup` is `id:controllers:path`; version 2 has no controllers.
fn memory_folders(root: &Path, line: &str) -> Vec<(PathBuf, &'static Names)> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return Vec::new() };
    let (mount, names) = match controllers {
        "" => (unified_mount(root), &VERSION_2),
        c if c.split(',').any(|c| c == "memory") => (root.join("sys/fs/cgroup/memory"), &VERSION_1),
        _ => return Vec::new(),
    };
    upwards(&mount, path).map(|folder| (folder, names)).collect()
}

/// The mount point of version 2: beside the hierarchies of version 1, or in their place.
fn unified_mount(root: &Path) -> PathBuf {
    let (hybrid, alone) = (root.join("sys/fs/cgroup/unified"), root.join("sys/fs/cgroup"));
    let is_mount = |folder: &Path| folder.join("cgroup.controllers").exists();
    if is_mount(&hybrid) && !is_mount(&alone) { hybrid } else { alone }
}

/// The folders from that of `path` up to `mount`, whose limits apply as well.
///
/// In a container `path` may be that on the host, of which nothing or only the end is below the mount, or leave the mount
/// with `..`. The mount is then the container's group. The folders need not exist.
fn upwards(mount: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
    let climbs = path.split('/').any(|part| part == "..");
    let inside = if climbs { "" } else { path.trim_matches('/') };
    let own = if inside.is_empty() { mount.to_path_buf() } else { mount.join(inside) };
    let n_above = own.components().count() - mount.components().count();
    let folders: Vec<PathBuf> = own.ancestors().take(n_above + 1).map(Path::to_path_buf).collect();
    folders.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A folder of files that stand for those of the running system.
    struct Tree {
        folder: tempfile::TempDir,
    }

    impl Tree {
        fn of(membership: &str) -> Tree {
            let tree = Tree { folder: tempfile::tempdir().unwrap() };
            tree.with("proc/self/cgroup", membership)
        }

        fn with(self, path: &str, text: &str) -> Tree {
            let path = self.folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            self
        }

        fn version_1(self, group: &str, [limit, usage, inactive, active]: [u64; 4]) -> Tree {
            let group = format!("sys/fs/cgroup/memory{group}");
            let stat =
                format!("cache 9\ninactive_file 0\ntotal_inactive_file {inactive}\ntotal_active_file {active}\n");
            self.with(&format!("{group}/memory.limit_in_bytes"), &format!("{limit}\n"))
                .with(&format!("{group}/memory.usage_in_bytes"), &format!("{usage}\n"))
                .with(&format!("{group}/memory.stat"), &stat)
        }

        fn version_2(self, mount: &str, [limit, high]: [&str; 2], [usage, inactive, active]: [u64; 3]) -> Tree {
            self.with(&format!("{mount}/memory.max"), &format!("{limit}\n"))
                .with(&format!("{mount}/memory.high"), &format!("{high}\n"))
                .with(&format!("{mount}/memory.current"), &format!("{usage}\n"))
                .with(&format!("{mount}/memory.stat"), &format!("inactive_file {inactive}\nactive_file {active}\n"))
        }

        fn rooms(&self) -> Vec<(u64, u64)> {
            Groups::open(self.folder.path()).rooms().map(|room| (room.available, room.total)).collect()
        }
    }

    #[test]
    fn page_cache_that_can_go_is_left() {
        let tree = Tree::of("4:memory:/a\n").version_1("/a", [300 * MIB, 290 * MIB, 100 * MIB, 40 * MIB]);
        assert_eq!(tree.rooms(), [(130 * MIB, 300 * MIB)]);
        let usage = [290 * MIB, 100 * MIB, 40 * MIB];
        let tree = Tree::of("0::/a\n").version_2("sys/fs/cgroup/a", ["314572800", "max"], usage);
        assert_eq!(tree.rooms(), [(130 * MIB, 300 * MIB)]);
    }

    #[test]
    fn a_group_over_its_limit_has_nothing_left_and_cache_beyond_its_usage_adds_nothing() {
        let over = Tree::of("4:memory:/a\n").version_1("/a", [MIB, 3 * MIB, 0, 0]);
        assert_eq!(over.rooms(), [(0, MIB)]);
        let stale = Tree::of("4:memory:/a\n").version_1("/a", [8 * MIB, MIB, 5 * MIB, 0]);
        assert_eq!(stale.rooms(), [(8 * MIB, 8 * MIB)]);
    }

    #[test]
    fn every_ancestor_counts_and_no_limit_is_none() {
        let none = 0x7fff_ffff_ffff_f000;
        let tree = Tree::of("12:cpu,cpuacct:/x\n4:memory:/a/b/c\n0::/\n")
            .version_1("", [none, 900 * MIB, 0, 0])
            .version_1("/a", [400 * MIB, 350 * MIB, 0, 0])
            .version_1("/a/b", [500 * MIB, 100 * MIB, 0, 0])
            .version_1("/a/b/c", [none, 100 * MIB, 0, 0])
            .version_1("/x", [MIB, 0, 0, 0]);
        assert_eq!(tree.rooms(), [(400 * MIB, 500 * MIB), (50 * MIB, 400 * MIB)]);
    }

    #[test]
    fn the_lower_of_high_and_max_binds() {
        let tree = Tree::of("0::/a\n").version_2("sys/fs/cgroup/a", ["max", "1048576"], [0, 0, 0]);
        assert_eq!(tree.rooms(), [(MIB, MIB)]);
        let tree = Tree::of("0::/a\n").version_2("sys/fs/cgroup/a", ["1048576", "2097152"], [0, 0, 0]);
        assert_eq!(tree.rooms(), [(MIB, MIB)]);
        let tree = Tree::of("0::/a\n").version_2("sys/fs/cgroup/a", ["max", "max"], [0, 0, 0]);
        assert_eq!(tree.rooms(), []);
    }

    #[test]
    fn in_a_container_the_mount_is_the_group() {
        for path in ["/", "/docker/0123", "/../../docker/0123", "/kube/pod (deleted)"] {
            let one = Tree::of(&format!("4:memory:{path}\n")).version_1("", [64 * MIB, 60 * MIB, 0, 0]);
            assert_eq!(one.rooms(), [(4 * MIB, 64 * MIB)], "{path}");
            let two = Tree::of(&format!("0::{path}\n")).version_2("sys/fs/cgroup", ["67108864", "max"], [0, 0, 0]);
            assert_eq!(two.rooms(), [(64 * MIB, 64 * MIB)], "{path}");
        }
    }

    #[test]
    fn beside_version_1_the_second_is_mounted_deeper_and_may_have_the_memory() {
        let tree = Tree::of("4:cpu:/\n0::/a\n").with("sys/fs/cgroup/unified/cgroup.controllers", "memory\n").version_2(
            "sys/fs/cgroup/unified/a",
            ["1048576", "max"],
            [0, 0, 0],
        );
        assert_eq!(tree.rooms(), [(MIB, MIB)]);
        let folders = unified_folders(tree.folder.path());
        let mount = tree.folder.path().join("sys/fs/cgroup/unified");
        assert_eq!(folders, [mount.join("a"), mount]);
    }

    #[test]
    fn without_statistics_all_that_is_used_counts() {
        let tree =
            Tree::of("0::/\n").with("sys/fs/cgroup/memory.max", "1000").with("sys/fs/cgroup/memory.current", "600");
        assert_eq!(tree.rooms(), [(400, 1000)]);
    }

    #[test]
    fn nothing_and_nonsense_bind_nobody() {
        assert_eq!(Tree::of("").rooms(), []);
        assert_eq!(Tree::of("memory\n4:memory\n:::\n").rooms(), []);
        assert_eq!(Groups::open(Path::new("/nowhere")).rooms().count(), 0);
        let words =
            Tree::of("0::/\n").with("sys/fs/cgroup/memory.max", "many").with("sys/fs/cgroup/memory.current", "");
        assert_eq!(words.rooms(), []);
    }

    #[test]
    fn a_limit_that_is_set_later_is_seen() {
        let tree = Tree::of("0::/\n").version_2("sys/fs/cgroup", ["max", "max"], [0, 0, 0]);
        let groups = Groups::open(tree.folder.path());
        assert_eq!(groups.rooms().count(), 0);
        let tree = tree.with("sys/fs/cgroup/memory.max", "5000");
        assert_eq!(groups.rooms().next(), Some(Room { available: 5000, total: 5000 }));
        drop(tree);
    }
}
