//! The bytes of keys and values on the CPU.

use std::ops::Range;

use kernels::{Kernels, KvType};
use model::ModelSpec;
use store::{Buffer, Ledger, ReadStats, SpillFile, SpilledPart, StoreError};

use super::spill::{Place, Spill, written};
use super::{KvSpill, PAGE_TOKENS, PageId, Sequences};
use crate::Placement;

/// Where a layer's keys and values lie in a page: `[heads, PAGE_TOKENS, row bytes]` each, so that what a head attends to is
/// one run of memory.
struct LayerPart {
    n_heads: usize,
    /// Offset in the page, and bytes of a row.
    keys: (usize, usize),
    values: (usize, usize),
}

/// Keys and values of all layers in pages, `[pages, layers, keys and values]`. Memory that was never written is not yet
/// taken from the system. Where pages spill, those that a pass writes are in memory from [`KvCache::begin`] on.
pub(crate) struct KvCache {
    kv_type: KvType,
    layers: Vec<LayerPart>,
    memory: PageMemory,
    spill: Option<Spill>,
    /// A page that is looked at where it has no place in memory.
    shown: Buffer<u8>,
}

/// Places for pages in memory.
pub(super) struct PageMemory {
    bytes: Buffer<u8>,
    page_bytes: usize,
    /// What each layer has of a page.
    parts: Vec<Range<usize>>,
}

impl PageMemory {
    pub(super) fn part(&self, slot: u32, layer: usize) -> &[u8] {
        &self.page(slot)[self.parts[layer].clone()]
    }

    pub(super) fn page(&self, slot: u32) -> &[u8] {
        &self.bytes.values()[slot as usize * self.page_bytes..][..self.page_bytes]
    }

    pub(super) fn page_mut(&mut self, slot: u32) -> &mut [u8] {
        &mut self.bytes.values_mut()[slot as usize * self.page_bytes..][..self.page_bytes]
    }
}

/// A layer's keys and values, where attention finds them.
#[derive(Clone, Copy)]
pub(crate) struct LayerKv<'a> {
    kv_type: KvType,
    layer: usize,
    part: &'a LayerPart,
    memory: &'a PageMemory,
    /// Where pages are, if they spill, and what the pass wants of those in the file.
    spilled: Option<(&'a [Place], SpilledPart<'a>)>,
}

impl LayerKv<'_> {
    pub(crate) fn kv_type(&self) -> KvType {
        self.kv_type
    }

    /// A head's keys and its values in the first `n` rows of a page.
    pub(crate) fn tiles(&self, head: usize, page: PageId, n: usize) -> [&[u8]; 2] {
        let in_memory = |slot: u32| self.memory.part(slot, self.layer);
        let bytes = match self.spilled {
            // What is gone is not looked at; any memory will do.
            _ if page == PageId::GONE => in_memory(0),
            None => in_memory(page.0),
            Some((places, part)) => match places[page.0 as usize] {
                Place::Memory(slot) => in_memory(slot),
                Place::File(record) => part.record(record),
                Place::Nowhere => unreachable!("{page:?} was never written"),
            },
        };
        [self.part.keys, self.part.values].map(|(offset, row_bytes)| {
            let at = offset - self.part.keys.0 + head * PAGE_TOKENS * row_bytes;
            &bytes[at..at + n * row_bytes]
        })
    }
}

impl KvCache {
    /// Errors: the budget does not hold it, or there can be no file for what spills.
    pub(crate) fn new(
        spec: &ModelSpec,
        kv_type: KvType,
        n_pages: usize,
        spill: Option<&KvSpill>,
        ledger: &Ledger,
    ) -> Result<KvCache, StoreError> {
        let Layout { layers, parts, page_bytes } = Layout::new(spec, kv_type);
        let n_in_memory = spill.map_or(n_pages, |spill| spill.pages_in_memory);
        let bytes = Buffer::zeroed(ledger, "KV cache", n_in_memory * page_bytes)?;
        let spill = match spill {
            Some(KvSpill { folder, pages_in_memory }) => {
                let n_records = Spill::n_records(n_pages, *pages_in_memory);
                let file = SpillFile::create(folder, &lens(&parts), n_records, ledger)?;
                Some(Spill::new(n_pages, *pages_in_memory, n_records, file))
            }
            None => None,
        };
        let shown = Buffer::zeroed(ledger, "KV cache", if spill.is_some() { page_bytes } else { 0 })?;
        Ok(KvCache { kv_type, layers, memory: PageMemory { bytes, page_bytes, parts }, spill, shown })
    }

    /// Bytes of a page.
    pub(crate) fn page_bytes(spec: &ModelSpec, kv_type: KvType) -> usize {
        Layout::new(spec, kv_type).page_bytes
    }

    /// Bytes in memory of a cache of `n_pages` of which so many are there at once.
    pub(crate) fn bytes(spec: &ModelSpec, kv_type: KvType, n_pages: usize, pages_in_memory: usize) -> u64 {
        let Layout { parts, page_bytes, .. } = Layout::new(spec, kv_type);
        if pages_in_memory >= n_pages {
            return (n_pages * page_bytes) as u64;
        }
        let n_records = Spill::n_records(n_pages, pages_in_memory);
        ((pages_in_memory + 1) * page_bytes) as u64 + SpillFile::buffer_bytes(&lens(&parts), n_records)
    }

    /// Begins a pass: brings the pages that it writes into memory, copies those that it must not write, and begins to read
    /// the others that are in the file.
    ///
    /// Errors: the file cannot be written or read. No token has gone then, but the copies are not made.
    pub(crate) fn begin(&mut self, placement: &Placement, sequences: &Sequences) -> Result<(), StoreError> {
        let Some(spill) = &mut self.spill else {
            let copies = placement.copies.iter();
            copies.for_each(|&(from, to)| copy_page(&mut self.memory, from.0, to.0));
            return Ok(());
        };
        spill.bring(&written(placement), sequences, &mut self.memory)?;
        for &(from, to) in &placement.copies {
            let Place::Memory(to) = spill.place(to) else { unreachable!("{to:?} is written by this pass") };
            match spill.place(from) {
                Place::Memory(from) => copy_page(&mut self.memory, from, to),
                Place::File(record) => spill.read(record, self.memory.page_mut(to))?,
                Place::Nowhere => unreachable!("{from:?} was never written"),
            }
        }
        spill.want(placement)
    }

    /// Stores one token's keys and values as row `row` of a page.
    pub(crate) fn store(&mut self, kernels: &Kernels, layer: usize, (page, row): (PageId, usize), [k, v]: [&[f32]; 2]) {
        let slot = self.slot(page).expect("pages that a pass writes are in memory");
        let layer = &self.layers[layer];
        let page = self.memory.page_mut(slot);
        for ((offset, row_bytes), x) in [(layer.keys, k), (layer.values, v)] {
            for (head, x) in x.chunks_exact(x.len() / layer.n_heads).enumerate() {
                let at = offset + (head * PAGE_TOKENS + row) * row_bytes;
                kernels.store_kv(self.kv_type, x, &mut page[at..at + row_bytes]);
            }
        }
    }

    /// Waits for what a layer has in the file. Layers are asked for in order, each once a pass.
    ///
    /// Errors: a read failed.
    pub(crate) fn arrive(&mut self, layer: usize) -> Result<(), StoreError> {
        self.spill.as_mut().map_or(Ok(()), |spill| spill.file.arrive(layer))
    }

    /// The layer that arrived last.
    pub(crate) fn layer(&self, layer: usize) -> LayerKv<'_> {
        LayerKv {
            kv_type: self.kv_type,
            layer,
            part: &self.layers[layer],
            memory: &self.memory,
            spilled: self.spill.as_ref().map(|spill| (spill.places(), spill.file.part())),
        }
    }

    /// Gives up what the layer that arrived last has in the file.
    pub(crate) fn release(&mut self) {
        if let Some(spill) = &mut self.spill {
            spill.file.release();
        }
    }

    pub(crate) fn bytes_of_page(&self) -> usize {
        self.memory.page_bytes
    }

    /// The bytes of a page, wherever it is.
    ///
    /// Errors: a read failed.
    pub(crate) fn page(&mut self, page: PageId) -> Result<&[u8], StoreError> {
        match (self.slot(page), &mut self.spill) {
            (None, Some(spill)) => {
                spill.show(page, self.shown.values_mut())?;
                Ok(self.shown.values())
            }
            (slot, _) => Ok(self.memory.page(slot.unwrap_or(page.0))),
        }
    }

    /// The bytes of a page that is about to be written whole.
    ///
    /// Errors: another cannot be written to the file to make room.
    pub(crate) fn page_mut(&mut self, page: PageId, sequences: &Sequences) -> Result<&mut [u8], StoreError> {
        if let Some(spill) = &mut self.spill {
            spill.bring(&[(page, false)], sequences, &mut self.memory)?;
        }
        let slot = self.slot(page).expect("it has just been brought");
        Ok(self.memory.page_mut(slot))
    }

    /// What was read of the file, and how long passes waited for it.
    pub(crate) fn stats(&self) -> ReadStats {
        self.spill.as_ref().map_or_else(ReadStats::default, |spill| spill.file.stats())
    }

    /// Where in memory a page is, if it is there.
    fn slot(&self, page: PageId) -> Option<u32> {
        match self.spill.as_ref().map(|spill| spill.place(page)) {
            None => Some(page.0),
            Some(Place::Memory(slot)) => Some(slot),
            Some(Place::File(_) | Place::Nowhere) => None,
        }
    }
}

fn copy_page(memory: &mut PageMemory, from: u32, to: u32) {
    let [from, to] = [from, to].map(|slot| slot as usize * memory.page_bytes);
    memory.bytes.values_mut().copy_within(from..from + memory.page_bytes, to);
}

/// What is in a page.
struct Layout {
    layers: Vec<LayerPart>,
    /// Of each layer.
    parts: Vec<Range<usize>>,
    page_bytes: usize,
}

impl Layout {
    fn new(spec: &ModelSpec, kv_type: KvType) -> Layout {
        let mut layout = Layout { layers: Vec::new(), parts: Vec::new(), page_bytes: 0 };
        for a in spec.layers.iter().map(|layer| &layer.attention) {
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
}

fn lens(parts: &[Range<usize>]) -> Vec<usize> {
    parts.iter().map(Range::len).collect()
}
