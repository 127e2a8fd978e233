//! Memory pressure as macOS shows it: a level.
//!
//! The system's notifications of memory pressure depend on the same level. It already weighs the compressor and swap, and
//! the figures behind it mean little by themselves.

use sysctl::{Ctl, Sysctl};

use super::decision::Observation;

pub(super) struct System {
    level: Option<Ctl>,
}

impl System {
    pub(super) fn new() -> System {
        System { level: Ctl::new("kern.memorystatus_vm_pressure_level").ok() }
    }

    pub(super) fn look(&self) -> Observation {
        let level = self.level.as_ref().and_then(|level| level.value_string().ok());
        Observation { steps_asked: steps_at(level.as_deref()), ..Observation::default() }
    }
}

/// Levels are those of `DISPATCH_MEMORYPRESSURE_*`: 1 is normal, 2 a warning, 4 critical.
fn steps_at(level: Option<&str>) -> u64 {
    match level {
        Some("2") => 1,
        Some("4") => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_asks_for_one_step_and_a_critical_level_for_two() {
        assert_eq!(["1", "2", "4", "", "[None]"].map(|level| steps_at(Some(level))), [0, 1, 2, 0, 0]);
        assert_eq!(steps_at(None), 0);
    }
}
