//! Systems that do not show memory pressure.

use super::decision::Observation;

pub(super) struct System;

impl System {
    pub(super) fn new() -> System {
        System
    }

    /// Always an empty observation.
    pub(super) fn look(&self) -> Observation {
        Observation::default()
    }
}
