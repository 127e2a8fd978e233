//! Peak memory of this process.

/// Most memory that the process has held at once, in bytes.
pub fn peak_memory() -> u64 {
    high_water_mark().unwrap_or_else(|| {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
        // macOS counts in bytes.
        usage.map_or(0, |u| u64::try_from(u.max_rss()).unwrap_or(0))
    })
}

/// Linux's mark for this program. That of `getrusage` survives `exec` there, and so begins at the peak of the process that
/// started the program.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_grows_with_what_is_touched() {
        let before = peak_memory();
        let block = vec![1u8; 64 << 20];
        assert!(peak_memory() >= before.max(64 << 20), "{}", block.len());
    }
}
