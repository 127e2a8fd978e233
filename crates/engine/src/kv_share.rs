//! How much of the KV cache is in memory, where the rest goes to a file.

use forward::{Footprint, PAGE_TOKENS};
use model::ModelSpec;

use crate::options::{EngineOptions, MAX_ROWS};

/// The pages of a KV cache and those of them that memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvShare {
    pub(crate) n_pages: usize,
    pub(crate) pages_in_memory: usize,
    /// Memory, with what it takes to read the others.
    pub(crate) bytes: u64,
    /// Keys and values at full context that memory does not hold.
    pub(crate) spilled_bytes: u64,
}

impl KvShare {
    /// All pages in memory.
    pub(crate) fn all(spec: &ModelSpec, options: &EngineOptions, ctx: usize) -> KvShare {
        let n_pages = options.n_pages(spec, ctx);
        KvShare::of(spec, options, n_pages, n_pages)
    }

    /// As many pages in memory as so many bytes hold, but no fewer than what a pass writes.
    pub(crate) fn within(spec: &ModelSpec, options: &EngineOptions, ctx: usize, bytes: u64) -> KvShare {
        let all = KvShare::all(spec, options, ctx);
        let share = |pages: usize| KvShare::of(spec, options, all.n_pages, pages);
        // A sequence's tokens may begin and end inside a page.
        let least = MAX_ROWS / PAGE_TOKENS + 2 * options.max_sequences;
        let (mut low, mut high) = (least.min(all.n_pages), all.n_pages);
        // Small caches take less memory than reading them would.
        if all.bytes <= bytes.max(share(low).bytes) {
            return all;
        }
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if share(middle).bytes <= bytes {
                low = middle;
            } else {
                high = middle;
            }
        }
        share(low)
    }

    fn of(spec: &ModelSpec, options: &EngineOptions, n_pages: usize, pages_in_memory: usize) -> KvShare {
        let backend = options.footprint();
        KvShare {
            n_pages,
            pages_in_memory,
            bytes: backend.kv_bytes(spec, n_pages, pages_in_memory),
            spilled_bytes: (n_pages - pages_in_memory) as u64 * backend.page_bytes(spec),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use testkit::TinySpec;

    use super::*;

    #[test]
    fn the_share_grows_with_its_bytes_and_stays_within_them() {
        let path = testkit::temp_model(&TinySpec::from_line("llama layers=9").build().gguf_bytes());
        let spec = ModelSpec::from_gguf(&model::gguf::Gguf::open(&path).unwrap()).unwrap();
        let options = EngineOptions { mmap_kv: Some(PathBuf::new()), max_sequences: 3, ..EngineOptions::default() };
        let within = |bytes| KvShare::within(&spec, &options, 10_000, bytes);
        let (least, all) = (within(0), KvShare::all(&spec, &options, 10_000));
        assert_eq!(least.pages_in_memory, 14);
        let mut last = least;
        for i in 1..200 {
            let bytes = least.bytes + (all.bytes - least.bytes) * i / 200;
            let share = within(bytes);
            assert!(share.bytes <= bytes && share.pages_in_memory >= last.pages_in_memory, "{share:?}");
            assert!(share.n_pages == all.n_pages && share.spilled_bytes > 0);
            last = share;
        }
        assert_eq!(within(all.bytes), all);
        assert_eq!((all.pages_in_memory, all.spilled_bytes), (all.n_pages, 0));
        // Where a pass may write all pages there is nothing to spill.
        assert_eq!(KvShare::within(&spec, &options, 200, 0), KvShare::all(&spec, &options, 200));
    }
}
