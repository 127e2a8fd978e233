//! Bytes under a memory budget: which weights stay in memory, and how the others get there.
//!
//! [`SlabTable`] cuts every weight matrix into slabs, runs of whole rows. [`plan()`] decides from their sizes and a
//! [`Budget`] what stays in memory and what is read in every pass. [`WeightStore`] hands out a [`SlabGuard`] for a slab that
//! the forward pass needs, reading it first if it must; the slab stays in memory at least until its guard is dropped.
//!
//! Deliberately absent: arithmetic on weights, and any knowledge of layers beyond the order in which a pass needs them.

mod buffer;
mod cache;
mod error;
#[cfg(test)]
mod fake_disk;
mod io;
mod ledger;
mod lists;
mod memory;
mod model_files;
mod order;
mod plan;
mod pressure;
mod probe;
mod prompt_cache;
mod read_ahead;
pub mod size;
mod slab;
mod slot;
mod spill;
mod stats;
mod weight_store;

pub use buffer::Buffer;
pub use error::StoreError;
pub use io::{IoMode, forget_file, warn_if_in_memory};
pub use ledger::{Ledger, Reservation};
pub use memory::{available_memory, peak_memory};
pub use plan::{Budget, CachePolicy, PlanError, PlanOptions, Residency, ResidencyPlan, plan};
pub use prompt_cache::{Arrival, CacheIdentity, PromptFiles, PromptFilesOptions, Saving};
pub use slab::{SlabId, SlabSpec, SlabTable};
pub use spill::{SpillFile, SpilledPart};
pub use stats::ReadStats;
pub use weight_store::{SlabGuard, StoreOptions, WeightStore};
