//! How many threads are worth starting: one for each fast core that this process may use.
//!
//! Two threads on one core share its arithmetic, and a slow core is given as many rows as a fast one has time for, so both
//! add little and cost the power and the caches of others. Linux says in files which logical processors make up a core and
//! how fast each is; macOS counts its fast cores itself.

/// Threads for passes, as far as this process may use the machine: one for each of its fast physical cores.
///
/// Never more than affinity and control groups allow at once.
pub fn auto_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    fast_cores().map_or(allowed, |cores| cores.clamp(1, allowed))
}

#[cfg(target_os = "linux")]
fn fast_cores() -> Option<usize> {
    linux::fast_cores(|path| std::fs::read_to_string(path).ok())
}

#[cfg(target_os = "macos")]
fn fast_cores() -> Option<usize> {
    use sysctl::{Ctl, Sysctl};
    // The first is there on machines with cores of different speeds, and counts the fastest.
    let names = ["hw.perflevel0.physicalcpu", "hw.physicalcpu"];
    names.into_iter().find_map(|name| Ctl::new(name).ok()?.value_string().ok()?.trim().parse().ok())
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn fast_cores() -> Option<usize> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;

    /// More processors than any system has; longer lists are not believed.
    const MAX_CPUS: usize = 1 << 16;

    /// Physical cores that this process may run on and that are not of a slow kind; nothing where the system does not say.
    ///
    /// `read` returns a file's text, where there is such a file.
    pub(super) fn fast_cores(read: impl Fn(&str) -> Option<String>) -> Option<usize> {
        let status = read("/proc/self/status")?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).and_then(parse_list)?;
        let fast = fast_of(&allowed, &read);
        let core = |cpu: usize| {
            let file = |name| read(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/{name}"));
            // Older systems have only the second name.
            let siblings = file("core_cpus_list").or_else(|| file("thread_siblings_list"))?;
            parse_list(&siblings)?.first().copied()
        };
        let cores: Option<BTreeSet<usize>> = fast.iter().map(|cpu| core(*cpu)).collect();
        cores.map(|cores| cores.len()).filter(|n| *n > 0)
    }

    /// Of these processors, those that are fast; all of them if they are of one kind.
    fn fast_of(allowed: &BTreeSet<usize>, read: &impl Fn(&str) -> Option<String>) -> BTreeSet<usize> {
        // Intel's hybrid processors name their fast cores.
        if let Some(fast) = read("/sys/devices/cpu_core/cpus").as_deref().and_then(parse_list) {
            let both: BTreeSet<usize> = allowed.intersection(&fast).copied().collect();
            return if both.is_empty() { allowed.clone() } else { both };
        }
        // Elsewhere a capacity is measured, 1024 for the fastest. The slow cores of phones and boards have a third of it,
        // while the middle ones have about 0.8.
        let capacity =
            |cpu: &usize| read(&format!("/sys/devices/system/cpu/cpu{cpu}/cpu_capacity"))?.trim().parse().ok();
        let capacities: Option<Vec<(usize, u64)>> = allowed.iter().map(|cpu| Some((*cpu, capacity(cpu)?))).collect();
        let Some(capacities) = capacities else { return allowed.clone() };
        let most = capacities.iter().map(|(_, capacity)| *capacity).max().unwrap_or(0);
        capacities.into_iter().filter(|(_, capacity)| *capacity >= most / 2).map(|(cpu, _)| cpu).collect()
    }

    /// Numbers and ranges with commas between, as in `0-3,8`; nothing if it is anything else.
    fn parse_list(text: &str) -> Option<BTreeSet<usize>> {
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            if last >= MAX_CPUS {
                return None;
            }
            cpus.extend(first..=last);
        }
        Some(cpus)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// A machine's files: what the process may run on, the siblings of each processor and its capacity.
        fn count(allowed: &str, siblings: &[&str], capacities: &[u32], fast: Option<&str>) -> Option<usize> {
            fast_cores(|path| {
                if path == "/proc/self/status" {
                    return Some(format!(
                        "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t{allowed}\nMems_allowed_list:\t0\n"
                    ));
                }
                if path == "/sys/devices/cpu_core/cpus" {
                    return fast.map(str::to_owned);
                }
                let (cpu, name) = path.strip_prefix("/sys/devices/system/cpu/cpu")?.split_once('/')?;
                let cpu: usize = cpu.parse().ok()?;
                match name {
                    "topology/core_cpus_list" => siblings.get(cpu).map(|list| format!("{list}\n")),
                    "cpu_capacity" => capacities.get(cpu).map(|capacity| format!("{capacity}\n")),
                    _ => None,
                }
            })
        }

        #[test]
        fn siblings_are_one_core() {
            // Four cores, numbered as Intel and AMD do it and as hosts of virtual machines do.
            let far = ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"];
            assert_eq!(count("0-7", &far, &[], None), Some(4));
            assert_eq!(count("0-1,4-5", &far, &[], None), Some(2));
            assert_eq!(count("1,5", &far, &[], None), Some(1));
            let near = ["0-1", "0-1", "2-3", "2-3"];
            assert_eq!(count("0-3", &near, &[1024; 4], None), Some(2));
            assert_eq!(count("0-1", &["0", "1"], &[1024; 2], None), Some(2));
        }

        #[test]
        fn slow_cores_are_left_out() {
            // A Core i5-1240P has four fast cores of two threads each and eight slow ones.
            let mut siblings = vec!["0-1", "0-1", "2-3", "2-3", "4-5", "4-5", "6-7", "6-7"];
            siblings.extend(["8", "9", "10", "11", "12", "13", "14", "15"]);
            assert_eq!(count("0-15", &siblings, &[], Some("0-7\n")), Some(4));
            // Held to the slow ones, it takes those.
            assert_eq!(count("8-15", &siblings, &[], Some("0-7\n")), Some(8));
            // An RK3588: four Cortex-A55, four Cortex-A76. A Snapdragon with three kinds.
            let single = ["0", "1", "2", "3", "4", "5", "6", "7"];
            assert_eq!(count("0-7", &single, &[414, 414, 414, 414, 1024, 1024, 1024, 1024], None), Some(4));
            assert_eq!(count("0-7", &single, &[325, 325, 325, 325, 828, 828, 828, 1024], None), Some(4));
            assert_eq!(count("0-3", &single, &[414, 414, 414, 414, 1024, 1024, 1024, 1024], None), Some(4));
        }

        #[test]
        fn what_the_system_does_not_say_is_not_guessed() {
            assert_eq!(fast_cores(|_| None), None);
            assert_eq!(count("0-3", &[], &[], None), None);
            assert_eq!(count("0-x", &["0"], &[], None), None);
            assert_eq!(count("0-99999999999", &["0"], &[], None), None);
            assert_eq!(parse_list("3-1,7"), Some(BTreeSet::from([7])));
        }

        #[test]
        fn this_machine_has_cores() {
            let cores = super::super::auto_threads();
            assert!((1..=std::thread::available_parallelism().unwrap().get()).contains(&cores), "{cores}");
        }
    }
}
