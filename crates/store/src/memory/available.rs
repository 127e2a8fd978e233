//! How much memory is available to this process.

use sysinfo::{MemoryRefreshKind, System};

use crate::memory::room::Room;

/// Bytes that the process can still use without pushing the system into swap.
///
/// The least of what the system calls available and what each memory control group around the process has left (Linux).
/// Page cache that a group would give up counts as left.
pub fn available_memory() -> u64 {
    let groups = group_rooms().into_iter().map(|room| room.available);
    groups.fold(machine_room().available, u64::min)
}

fn machine_room() -> Room {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    Room { available: system.available_memory(), total: system.total_memory() }
}

#[cfg(target_os = "linux")]
fn group_rooms() -> Vec<Room> {
    let groups = crate::memory::group::Groups::open(std::path::Path::new("/"));
    groups.rooms().collect()
}

#[cfg(not(target_os = "linux"))]
fn group_rooms() -> Vec<Room> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_some_and_below_the_machine() {
        let (available, machine) = (available_memory(), machine_room());
        assert!(available > 0 && available <= machine.total);
    }
}
