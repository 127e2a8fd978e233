//! Memory for one slab's bytes: whole pages, so that direct reads may land in it.
//!
//! A direct read moves whole blocks of the file, so a slab lies somewhere inside its slot: [`Slot::fill_for`] says which
//! bytes to read where, and [`Slot::slab`] is the slab among them.

use memmap2::MmapMut;

use crate::StoreError;

/// What direct reads are aligned to: a page, and a multiple of every drive's block that we know of.
pub(crate) const ALIGNMENT: usize = 4096;

/// Room for the bytes of a slab and for the rest of the blocks at its ends.
#[derive(Debug)]
pub(crate) struct Slot {
    bytes: MmapMut,
    start: usize,
    len: usize,
}

/// A read of whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Where in the file, a multiple of [`ALIGNMENT`].
    pub(crate) offset: u64,
    /// How many bytes, a multiple of [`ALIGNMENT`].
    pub(crate) len: usize,
    /// How many of them have to arrive; the file may end before the last block does.
    pub(crate) needed: usize,
}

/// Bytes of a slot for a slab of `len` bytes, wherever it lies.
pub(crate) fn slot_bytes(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT) + ALIGNMENT
}

impl Slot {
    /// A slot for slabs of up to `len` bytes. The system gives it memory when it is first written.
    ///
    /// Errors: the system has no more address space.
    pub(crate) fn new(len: usize) -> Result<Slot, StoreError> {
        let bytes = MmapMut::map_anon(slot_bytes(len)).map_err(|source| StoreError::Memory { len, source })?;
        Ok(Slot { bytes, start: 0, len: 0 })
    }

    /// Prepares the slot for a slab of `len` bytes at `offset` in the file and says what to read into [`Slot::target`].
    ///
    /// Panics if the slot is too small for it.
    pub(crate) fn fill_for(&mut self, offset: u64, len: usize) -> Span {
        let aligned = offset - offset % ALIGNMENT as u64;
        self.start = usize::try_from(offset - aligned).expect("less than a block");
        self.len = len;
        let span =
            Span { offset: aligned, len: (self.start + len).next_multiple_of(ALIGNMENT), needed: self.start + len };
        assert!(span.len <= self.bytes.len(), "a slab of {len} bytes in a slot of {}", self.bytes.len());
        span
    }

    /// Where the bytes of a span go.
    pub(crate) fn target(&mut self, span: Span) -> &mut [u8] {
        &mut self.bytes[..span.len]
    }

    /// The slab's bytes, once its span has been read.
    pub(crate) fn slab(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_whole_blocks_around_the_slab() {
        let mut slot = Slot::new(5000).unwrap();
        let span = slot.fill_for(4096 + 100, 5000);
        assert_eq!(span, Span { offset: 4096, len: 8192, needed: 5100 });
        slot.target(span)[100] = 7;
        slot.target(span)[5099] = 9;
        assert_eq!((slot.slab().len(), slot.slab()[0], slot.slab()[4999]), (5000, 7, 9));
        assert_eq!(slot.target(span).as_ptr() as usize % ALIGNMENT, 0);
    }

    #[test]
    fn a_slot_takes_its_largest_slab_at_every_offset() {
        for len in [1, 4096, 4097, 10_000] {
            for offset in [0, 1, 4095, 4096, 12_345] {
                let mut slot = Slot::new(len).unwrap();
                let span = slot.fill_for(offset, len);
                assert!(span.offset <= offset && span.offset + span.needed as u64 == offset + len as u64);
            }
        }
    }
}
