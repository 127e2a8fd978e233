//! Memory pressure as Linux shows it.
//!
//! All files are opened once. A look takes 21 µs, and 10 more for each control group with a limit, of which 7 are its
//! `memory.stat` (medians of 2,000 on Linux 6.18, an AMD EPYC core of a virtual machine). The counts of swapped pages
//! in `/proc/vmstat` would take 18 more and say less than `VmSwap`.

use std::path::Path;

use nix::sys::resource::{UsageWho, getrusage};

use super::decision::{Observation, distance_to_floor};
use crate::memory::group::{Groups, unified_folders};
use crate::memory::reread::{Reread, value};
use crate::memory::room::Room;

pub(super) struct System {
    machine: Option<Reread>,
    groups: Groups,
    pressure: Option<Reread>,
    process: Option<Reread>,
}

impl System {
    pub(super) fn new() -> System {
        System::below(Path::new("/"))
    }

    /// The system whose files lie below `root`.
    fn below(root: &Path) -> System {
        System {
            machine: Reread::open(&root.join("proc/meminfo")),
            groups: Groups::open(root),
            pressure: open_pressure(root),
            process: Reread::open(&root.join("proc/self/status")),
        }
    }

    pub(super) fn look(&self) -> Observation {
        Observation {
            room: self.tightest_room(),
            stalled_percent: self.pressure.as_ref().and_then(|file| file.look(some_avg10)),
            swapped_bytes: self.process.as_ref().and_then(|file| file.look(|text| kib(text, "VmSwap:"))),
            major_faults: major_faults(),
            steps_asked: 0,
        }
    }

    /// The room that is nearest to its floor, which need not be the smallest: 200 MiB left are a lot in a group of 2 GiB and
    /// little in a machine of 64.
    fn tightest_room(&self) -> Option<Room> {
        let machine = self.machine.as_ref().and_then(|file| file.look(machine_room));
        self.groups.rooms().chain(machine).min_by_key(distance_to_floor)
    }
}

fn machine_room(meminfo: &str) -> Option<Room> {
    Some(Room { available: kib(meminfo, "MemAvailable:")?, total: kib(meminfo, "MemTotal:")? })
}

fn kib(text: &str, name: &str) -> Option<u64> {
    Some(value(text, name)? * 1024)
}

/// The pressure file of the nearest group around the process that has one, else that of the machine.
///
/// Groups of version 2 count the time that their processes wait for memory whatever limits it, be it version 1.
fn open_pressure(root: &Path) -> Option<Reread> {
    let groups = unified_folders(root);
    let files = groups.iter().map(|folder| folder.join("memory.pressure"));
    files.chain([root.join("proc/pressure/memory")]).find_map(|path| Reread::open(&path))
}

/// The share of the last ten seconds, in percent, in which some process waited for memory.
fn some_avg10(text: &str) -> Option<f32> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split(' ').find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

/// Page faults of the process that waited for a drive. The system call takes a fraction of the time of `/proc/self/stat`.
fn major_faults() -> Option<u64> {
    u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.major_page_faults()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn pressure(avg10: &str) -> String {
        format!("some avg10={avg10} avg60=1.00 avg300=2.00 total=3\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n")
    }

    #[test]
    fn a_look_gathers_what_the_files_say_now() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let meminfo = "MemTotal:       24684084 kB\nMemFree:  1 kB\nMemAvailable:   1048576 kB\nSwapFree: 9999999 kB\n";
        write(root, "proc/meminfo", meminfo);
        write(root, "proc/self/status", "Name:\tx\nVmHWM:\t  77 kB\nVmSwap:\t       4 kB\n");
        write(root, "proc/pressure/memory", &pressure("12.34"));
        let system = System::below(root);
        let seen = system.look();
        assert_eq!(seen.room, Some(Room { available: 1 << 30, total: 24_684_084 * 1024 }));
        assert_eq!((seen.stalled_percent, seen.swapped_bytes), (Some(12.34), Some(4096)));
        assert!(seen.major_faults.is_some());

        write(root, "proc/self/status", "VmSwap:\t       8 kB\n");
        write(root, "proc/pressure/memory", &pressure("0.00"));
        let seen = system.look();
        assert_eq!((seen.stalled_percent, seen.swapped_bytes), (Some(0.0), Some(8192)));
    }

    #[test]
    fn the_room_nearest_to_its_floor_is_told_and_not_the_smallest() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "proc/meminfo", "MemTotal: 67108864 kB\nMemAvailable: 256000 kB\n");
        write(root, "proc/self/cgroup", "0::/\n");
        write(root, "sys/fs/cgroup/memory.max", &(2048 * MIB).to_string());
        write(root, "sys/fs/cgroup/memory.current", &(1848 * MIB).to_string());
        let system = System::below(root);
        assert_eq!(system.look().room, Some(Room { available: 250 * MIB, total: 65536 * MIB }));
        write(root, "sys/fs/cgroup/memory.current", &(2028 * MIB).to_string());
        assert_eq!(system.look().room, Some(Room { available: 20 * MIB, total: 2048 * MIB }));
    }

    #[test]
    fn the_pressure_of_the_own_group_comes_before_that_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "proc/pressure/memory", &pressure("50.00"));
        write(root, "proc/self/cgroup", "0::/a/b\n");
        write(root, "sys/fs/cgroup/a/memory.pressure", &pressure("1.00"));
        assert_eq!(System::below(root).look().stalled_percent, Some(1.0));
        write(root, "sys/fs/cgroup/a/b/memory.pressure", &pressure("2.00"));
        assert_eq!(System::below(root).look().stalled_percent, Some(2.0));
        write(root, "proc/self/cgroup", "4:memory:/a/b\n");
        assert_eq!(System::below(root).look().stalled_percent, Some(50.0));
    }

    #[test]
    fn a_system_that_tells_nothing_is_under_no_pressure() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "proc/pressure/memory", "some\n");
        write(root, "proc/meminfo", "MemTotal: x kB\n");
        let seen = System::below(root).look();
        assert_eq!((seen.room, seen.stalled_percent, seen.swapped_bytes), (None, None, None));
    }
}
