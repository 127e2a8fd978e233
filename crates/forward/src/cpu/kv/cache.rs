//! The bytes of keys and values on the CPU.

use kernels::{Kernels, KvType};
use model::ModelSpec;
use store::{Buffer, Ledger, ReadStats, SpillFile, SpilledPart, StoreError};

use super::layout::{LayerPart, Layout};
use super::memory::PageMemory;
use super::spill::{KvSpill, Place, Spill, written};
use crate::cpu::tensor::CpuTensor;
use crate::kv::page::{KvRow, PageId};
use crate::kv::pages::KvPages;
use crate::kv::sequences::Sequences;
use crate::placement::Placement;

/// Keys and values of all layers in pages, `[pages, layers, keys and values]`. Where pages spill, those that a pass writes
/// are in memory from [`KvPages::begin`] on.
pub struct KvCache {
    kernels: &'static Kernels,
    kv_type: KvType,
    layers: Vec<LayerPart>,
    memory: PageMemory,
    spill: Option<Spill>,
    /// A page that is looked at where it has no place in memory.
    shown: Buffer<u8>,
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
        let start = self.part.keys.0;
        self.part.rows(head, 0, n).map(|range| &bytes[range.start - start..range.end - start])
    }
}

impl KvCache {
    /// Errors: the budget does not hold it, or there can be no file for what spills.
    pub(crate) fn new(
        spec: &ModelSpec,
        kernels: &'static Kernels,
        kv_type: KvType,
        n_pages: usize,
        spill: Option<&KvSpill>,
        ledger: &Ledger,
    ) -> Result<KvCache, StoreError> {
        let layout = Layout::new(spec, kv_type);
        let page_bytes = layout.page_bytes;
        let n_in_memory = spill.map_or(n_pages, |spill| spill.pages_in_memory);
        let bytes = Buffer::zeroed(ledger, "KV cache", n_in_memory * page_bytes)?;
        let spill = match spill {
            Some(KvSpill { folder, pages_in_memory }) => {
                let n_records = Spill::n_records(n_pages, *pages_in_memory);
                let file = SpillFile::create(folder, &layout.part_lens(), n_records, ledger)?;
                Some(Spill::new(n_pages, *pages_in_memory, n_records, file))
            }
            None => None,
        };
        let shown = Buffer::zeroed(ledger, "KV cache", if spill.is_some() { page_bytes } else { 0 })?;
        let memory = PageMemory::new(bytes, page_bytes, layout.parts);
        Ok(KvCache { kernels, kv_type, layers: layout.layers, memory, spill, shown })
    }

    /// Waits for what a layer has in the file, and shows the layer. Layers are asked for in order, each once a pass.
    ///
    /// Errors: a read failed.
    pub(crate) fn layer(&mut self, layer: usize) -> Result<LayerKv<'_>, StoreError> {
        self.spill.as_mut().map_or(Ok(()), |spill| spill.file.arrive(layer))?;
        Ok(LayerKv {
            kv_type: self.kv_type,
            layer,
            part: &self.layers[layer],
            memory: &self.memory,
            spilled: self.spill.as_ref().map(|spill| (spill.places(), spill.file.part())),
        })
    }

    /// Releases what the layer that arrived last has in the file.
    pub(crate) fn release(&mut self) {
        if let Some(spill) = &mut self.spill {
            spill.file.release();
        }
    }

    /// Where in memory a page is, if it is there.
    fn slot(&self, page: PageId) -> Option<u32> {
        match self.spill.as_ref().map(|spill| spill.place(page)) {
            None => Some(page.0),
            Some(Place::Memory(slot)) => Some(slot),
            Some(Place::File(_) | Place::Nowhere) => None,
        }
    }

    /// Where in memory a page is that the last pass wrote.
    fn written_slot(&self, page: PageId) -> u32 {
        self.slot(page).expect("pages that a pass writes are in memory")
    }

    /// Stores one token's keys and values of a layer.
    fn store(&mut self, layer: usize, place: KvRow, keys: &[f32], values: &[f32]) {
        let slot = self.written_slot(place.page);
        let (layer, page) = (&self.layers[layer], self.memory.page_mut(slot));
        for head in 0..layer.n_heads {
            for (range, x) in layer.rows(head, place.row, 1).into_iter().zip([keys, values]) {
                let width = x.len() / layer.n_heads;
                self.kernels.store_kv(self.kv_type, &x[head * width..(head + 1) * width], &mut page[range]);
            }
        }
    }
}

impl KvPages for KvCache {
    type Tensor = CpuTensor;

    fn page_bytes(&self) -> usize {
        self.memory.page_bytes()
    }

    fn begin(&mut self, placement: &Placement, sequences: &Sequences) -> Result<(), StoreError> {
        let whole = 0..self.memory.page_bytes();
        let Some(spill) = &mut self.spill else {
            let copies = placement.copies.iter();
            copies.for_each(|&(from, to)| self.memory.copy((from.0, whole.clone()), (to.0, 0)));
            return Ok(());
        };
        spill.bring(&written(placement), sequences, &mut self.memory)?;
        for &(from, to) in &placement.copies {
            let Place::Memory(to) = spill.place(to) else { unreachable!("{to:?} is written by this pass") };
            match spill.place(from) {
                Place::Memory(from) => self.memory.copy((from, whole.clone()), (to, 0)),
                Place::File(record) => spill.read(record, self.memory.page_mut(to))?,
                Place::Nowhere => unreachable!("{from:?} was never written"),
            }
        }
        spill.want(placement)
    }

    fn append(&mut self, layer: usize, placement: &Placement, k: &CpuTensor, v: &CpuTensor) {
        for (r, row) in placement.rows.iter().enumerate() {
            self.store(layer, placement.place(row), k.row(r), v.row(r));
        }
    }

    fn copy_rows(&mut self, pairs: &[(KvRow, KvRow)]) {
        for (from, to) in pairs {
            let (source, target) = (self.written_slot(from.page), self.written_slot(to.page));
            for layer in &self.layers {
                for head in 0..layer.n_heads {
                    let ranges = layer.rows(head, from.row, 1).into_iter().zip(layer.rows(head, to.row, 1));
                    ranges.for_each(|(from, to)| self.memory.copy((source, from), (target, to.start)));
                }
            }
        }
    }

    fn page(&mut self, page: PageId) -> Result<&[u8], StoreError> {
        match (self.slot(page), &mut self.spill) {
            (None, Some(spill)) => {
                spill.show(page, self.shown.values_mut())?;
                Ok(self.shown.values())
            }
            (slot, _) => Ok(self.memory.page(slot.unwrap_or(page.0))),
        }
    }

    fn page_mut(&mut self, page: PageId, sequences: &Sequences) -> Result<&mut [u8], StoreError> {
        if let Some(spill) = &mut self.spill {
            spill.bring(&[(page, false)], sequences, &mut self.memory)?;
        }
        let slot = self.written_slot(page);
        Ok(self.memory.page_mut(slot))
    }

    fn stats(&self) -> ReadStats {
        self.spill.as_ref().map_or_else(ReadStats::default, |spill| spill.file.stats())
    }
}
