//! What the store read, and how long the pass waited for it.

use std::time::Duration;

/// Counts since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Bytes read from the file.
    pub bytes_read: u64,
    /// Time during which the pass waited for reads.
    pub stall: Duration,
    /// Time during which the drive worked on at least one read.
    pub busy: Duration,
    /// Slabs that were kept in memory when the pass asked for them.
    pub hits: u64,
    /// Slabs that had been read ahead when the pass asked for them.
    pub prefetch_hits: u64,
    /// Slabs that the pass had to wait for.
    pub misses: u64,
    /// Slabs that had to go for others although they were to be kept.
    pub evictions: u64,
    /// Bytes of slabs that are kept in memory now.
    pub pinned_bytes: u64,
    /// Bytes of memory that were given up because the system ran short.
    pub given_up_bytes: u64,
}

impl ReadStats {
    /// The same, with what was read of keys and values besides, at the same time and by the same pass.
    pub fn with_kv(self, kv: &ReadStats) -> ReadStats {
        ReadStats {
            bytes_read: self.bytes_read + kv.bytes_read,
            stall: self.stall + kv.stall,
            busy: self.busy + kv.busy,
            ..self
        }
    }

    /// What has been added since `earlier`; `pinned_bytes` is what is kept now.
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
