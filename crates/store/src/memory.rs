//! How much memory this process may take: the system's word, and its control group's if that is smaller.

use sysinfo::{MemoryRefreshKind, System};

/// Bytes that the process can still take without pushing the system into swap.
///
/// The smaller of what the system calls available and what the process's memory control group has left (Linux).
pub fn available_memory() -> u64 {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let available = system.available_memory();
    cgroup_left().map_or(available, |left| left.min(available))
}

/// The most memory that the process has held at once, in bytes.
pub fn peak_memory() -> u64 {
    high_water_mark().unwrap_or_else(|| {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
        // macOS counts in bytes.
        usage.map_or(0, |u| u64::try_from(u.max_rss()).unwrap_or(0))
    })
}

/// Linux's own mark for this program. The one of `getrusage` outlives `exec` there, and so begins at the memory of
/// whoever started the program.
#[cfg(target_os = "linux")]
fn high_water_mark() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(not(target_os = "linux"))]
fn high_water_mark() -> Option<u64> {
    None
}

/// What the tightest memory control group above this process has left.
#[cfg(target_os = "linux")]
fn cgroup_left() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(group_left).min()
}

#[cfg(not(target_os = "linux"))]
fn cgroup_left() -> Option<u64> {
    None
}

/// A line of `/proc/self/cgroup` is `id:controllers:path`; version 2 has no controllers.
#[cfg(target_os = "linux")]
fn group_left(line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (root, limit, usage) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
        c if c.split(',').any(|c| c == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
        }
        _ => return None,
    };
    let number = |dir: &std::path::Path, file: &str| -> Option<u64> {
        std::fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
    };
    // A limit higher up binds as well. In a container the path may not exist below the mount; the root then counts.
    let inner = std::path::Path::new(root).join(path.trim_start_matches('/'));
    inner
        .ancestors()
        .take_while(|dir| dir.starts_with(root))
        .filter_map(|dir| Some(number(dir, limit)?.saturating_sub(number(dir, usage)?)))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_some_and_below_the_machine() {
        let mut system = System::new();
        system.refresh_memory();
        let available = available_memory();
        assert!(available > 0 && available <= system.total_memory());
    }

    #[test]
    fn peak_memory_grows_with_what_is_touched() {
        let before = peak_memory();
        let block = vec![1u8; 64 << 20];
        assert!(peak_memory() >= before.max(64 << 20), "{}", block.len());
    }
}
