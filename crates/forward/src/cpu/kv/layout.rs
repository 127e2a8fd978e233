//! What is in a page.

use std::ops::Range;

use kernels::KvType;
use model::ModelSpec;

use crate::kv::page::PAGE_TOKENS;

/// Where the keys and values of an attention step lie in a page: `[heads, PAGE_TOKENS, row bytes]` each, so that what a head
/// attends to is one run of memory.
pub(super) struct LayerPart {
    pub(super) n_heads: usize,
    /// Offset in the page, and bytes of a row.
    pub(super) keys: (usize, usize),
    pub(super) values: (usize, usize),
}

/// The parts of a page.
pub(in crate::cpu) struct Layout {
    pub(super) layers: Vec<LayerPart>,
    /// Of each layer.
    pub(super) parts: Vec<Range<usize>>,
    pub(in crate::cpu) page_bytes: usize,
}

impl Layout {
    pub(in crate::cpu) fn new(spec: &ModelSpec, kv_type: KvType) -> Layout {
        let mut layout = Layout { layers: Vec::new(), parts: Vec::new(), page_bytes: 0 };
        for a in spec.attentions() {
            let start = layout.page_bytes;
            let mut part = |dim: usize| {
                let (offset, row_bytes) = (layout.page_bytes, kv_type.row_bytes(dim));
                layout.page_bytes += a.n_kv_heads * PAGE_TOKENS * row_bytes;
                (offset, row_bytes)
            };
            let (keys, values) = (part(a.head_dim), part(a.value_dim));
            layout.layers.push(LayerPart { n_heads: a.n_kv_heads, keys, values });
            layout.parts.push(start..layout.page_bytes);
        }
        layout
    }

    /// Bytes of each layer's part.
    pub(in crate::cpu) fn part_lens(&self) -> Vec<usize> {
        self.parts.iter().map(Range::len).collect()
    }
}

impl LayerPart {
    /// The first `n` rows of a head, of keys and of values, where `offset` is that of the layer's part.
    pub(super) fn rows(&self, head: usize, first: usize, n: usize) -> [Range<usize>; 2] {
        [self.keys, self.values].map(|(offset, row_bytes)| {
            let at = offset + (head * PAGE_TOKENS + first) * row_bytes;
            at..at + n * row_bytes
        })
    }
}
