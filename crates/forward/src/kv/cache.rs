//! The bytes of keys and values on the CPU.

use kernels::{Kernels, KvType};
use model::ModelSpec;
use store::{Buffer, Ledger, StoreError};

use super::{PAGE_TOKENS, PageId};

/// Where a layer's keys and values lie in a page: `[heads, PAGE_TOKENS, row bytes]` each, so that what a head attends to is
/// one run of memory.
struct LayerPart {
    n_heads: usize,
    /// Offset in the page, and bytes of a row.
    keys: (usize, usize),
    values: (usize, usize),
}

/// Keys and values of all layers in pages, `[pages, layers, keys and values]`. Memory that was never written is not yet
/// taken from the system.
pub(crate) struct KvCache {
    kv_type: KvType,
    layers: Vec<LayerPart>,
    page_bytes: usize,
    bytes: Buffer<u8>,
}

impl KvCache {
    /// Errors: the budget does not hold it.
    pub(crate) fn new(
        spec: &ModelSpec,
        kv_type: KvType,
        n_pages: usize,
        ledger: &Ledger,
    ) -> Result<KvCache, StoreError> {
        let (layers, page_bytes) = layout(spec, kv_type);
        let bytes = Buffer::zeroed(ledger, "KV cache", n_pages * page_bytes)?;
        Ok(KvCache { kv_type, layers, page_bytes, bytes })
    }

    /// Bytes of a page.
    pub(crate) fn page_bytes(spec: &ModelSpec, kv_type: KvType) -> usize {
        layout(spec, kv_type).1
    }

    pub(crate) fn kv_type(&self) -> KvType {
        self.kv_type
    }

    /// Stores one token's keys and values as row `row` of a page.
    pub(crate) fn store(&mut self, kernels: &Kernels, layer: usize, (page, row): (PageId, usize), [k, v]: [&[f32]; 2]) {
        let layer = &self.layers[layer];
        let page = &mut self.bytes.values_mut()[page.0 as usize * self.page_bytes..][..self.page_bytes];
        for ((offset, row_bytes), x) in [(layer.keys, k), (layer.values, v)] {
            for (head, x) in x.chunks_exact(x.len() / layer.n_heads).enumerate() {
                let at = offset + (head * PAGE_TOKENS + row) * row_bytes;
                kernels.store_kv(self.kv_type, x, &mut page[at..at + row_bytes]);
            }
        }
    }

    /// A head's keys and its values in the first `n` rows of a page.
    pub(crate) fn tiles(&self, layer: usize, head: usize, page: PageId, n: usize) -> [&[u8]; 2] {
        let layer = &self.layers[layer];
        // What is gone is not looked at; any memory will do.
        let page = if page == PageId::GONE { PageId(0) } else { page };
        let page = &self.bytes.values()[page.0 as usize * self.page_bytes..][..self.page_bytes];
        [layer.keys, layer.values].map(|(offset, row_bytes)| {
            let at = offset + head * PAGE_TOKENS * row_bytes;
            &page[at..at + n * row_bytes]
        })
    }

    pub(crate) fn bytes_of_page(&self) -> usize {
        self.page_bytes
    }

    pub(crate) fn page_mut(&mut self, page: PageId) -> &mut [u8] {
        &mut self.bytes.values_mut()[page.0 as usize * self.page_bytes..][..self.page_bytes]
    }

    /// Copies a page over another.
    pub(crate) fn copy_page(&mut self, from: PageId, to: PageId) {
        let [from, to] = [from, to].map(|page| page.0 as usize * self.page_bytes);
        self.bytes.values_mut().copy_within(from..from + self.page_bytes, to);
    }
}

/// The parts of a page and its length.
fn layout(spec: &ModelSpec, kv_type: KvType) -> (Vec<LayerPart>, usize) {
    let mut at = 0;
    let layer = |layer: &model::Layer| {
        let a = &layer.attention;
        let mut part = |dim: usize| {
            let row_bytes = kv_type.row_bytes(dim);
            let offset = at;
            at += a.n_kv_heads * PAGE_TOKENS * row_bytes;
            (offset, row_bytes)
        };
        LayerPart { n_heads: a.n_kv_heads, keys: part(a.head_dim), values: part(a.value_dim) }
    };
    let layers = spec.layers.iter().map(layer).collect();
    (layers, at)
}
