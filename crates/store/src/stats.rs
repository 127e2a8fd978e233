//! How much the store has read, and how long passes waited for it.

use std::time::Duration;

/// Counts since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Bytes read from the file.
    pub bytes_read: u64,
    /// Time that passes waited for reads.
    pub stall: Duration,
    /// Time during which the drive worked on at least one read.
    pub busy: Duration,
    /// Slabs that a pass found in memory because they had stayed there after use.
    pub hits: u64,
    /// Slabs that a pass found in memory because they had been read ahead.
    pub prefetch_hits: u64,
    /// Slabs that a pass had to wait for.
    pub misses: u64,
    /// Slabs that had stayed in memory after use and were evicted for others.
    pub evictions: u64,
    /// Bytes of slabs that are in memory after use now.
    pub pinned_bytes: u64,
    /// Bytes of memory that were given up under memory pressure.
    pub given_up_bytes: u64,
}

impl ReadStats {
    /// These counts plus those of reads of keys and values for the same passes.
    pub fn with_kv(self, kv: &ReadStats) -> ReadStats {
        ReadStats {
            bytes_read: self.bytes_read + kv.bytes_read,
            stall: self.stall + kv.stall,
            busy: self.busy + kv.busy,
            ..self
        }
    }

    /// The difference from `earlier`; `pinned_bytes` is the present value.
    pub fn since(&self, earlier: &ReadStats) -> ReadStats {
        ReadStats {
            bytes_read: self.bytes_read - earlier.bytes_read,
            stall: self.stall - earlier.stall,
            busy: self.busy - earlier.busy,
            hits: self.hits - earlier.hits,
            prefetch_hits: self.prefetch_hits - earlier.prefetch_hits,
            misses: self.misses - earlier.misses,
            evictions: self.evictions - earlier.evictions,
            pinned_bytes: self.pinned_bytes,
            given_up_bytes: self.given_up_bytes - earlier.given_up_bytes,
        }
    }
}
