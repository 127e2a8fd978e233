//! Places for pages in memory.

use std::ops::Range;

use store::Buffer;

/// Memory that is cut into pages. What was never written is not yet taken from the system.
pub(super) struct PageMemory {
    bytes: Buffer<u8>,
    page_bytes: usize,
    /// What each layer has of a page.
    parts: Vec<Range<usize>>,
}

impl PageMemory {
    pub(super) fn new(bytes: Buffer<u8>, page_bytes: usize, parts: Vec<Range<usize>>) -> PageMemory {
        PageMemory { bytes, page_bytes, parts }
    }

    pub(super) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    pub(super) fn part(&self, slot: u32, layer: usize) -> &[u8] {
        &self.page(slot)[self.parts[layer].clone()]
    }

    pub(super) fn page(&self, slot: u32) -> &[u8] {
        &self.bytes.values()[slot as usize * self.page_bytes..][..self.page_bytes]
    }

    pub(super) fn page_mut(&mut self, slot: u32) -> &mut [u8] {
        &mut self.bytes.values_mut()[slot as usize * self.page_bytes..][..self.page_bytes]
    }

    /// Copies a range of one page to a range of another.
    pub(super) fn copy(&mut self, (from, source): (u32, Range<usize>), (to, target): (u32, usize)) {
        let [from, to] = [from, to].map(|slot| slot as usize * self.page_bytes);
        self.bytes.values_mut().copy_within(from + source.start..from + source.end, to + target);
    }
}
