//! What the CPU backend takes of a budget.

use kernels::KvType;
use model::ModelSpec;
use store::SpillFile;

use super::attend::AttendScratch;
use super::kv::layout::Layout;
use super::kv::spill::Spill;
use super::matmul::MatmulScratch;
use crate::footprint::Footprint;

/// How a CPU backend will be set up.
#[derive(Clone, Copy, Debug)]
pub struct CpuFootprint {
    /// Threads.
    pub threads: usize,
    /// How keys and values are stored.
    pub kv_type: KvType,
}

impl Footprint for CpuFootprint {
    fn page_bytes(&self, spec: &ModelSpec) -> u64 {
        Layout::new(spec, self.kv_type).page_bytes as u64
    }

    fn kv_bytes(&self, spec: &ModelSpec, n_pages: usize, pages_in_memory: usize) -> u64 {
        let layout = Layout::new(spec, self.kv_type);
        if pages_in_memory >= n_pages {
            return (n_pages * layout.page_bytes) as u64;
        }
        let n_records = Spill::n_records(n_pages, pages_in_memory);
        ((pages_in_memory + 1) * layout.page_bytes) as u64 + SpillFile::buffer_bytes(&layout.part_lens(), n_records)
    }

    fn buffer_bytes(&self, spec: &ModelSpec, ctx: usize, rows: usize) -> u64 {
        AttendScratch::bytes(spec, self.threads, ctx) + MatmulScratch::bytes(spec, self.threads, rows)
    }
}
