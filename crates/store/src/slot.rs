//! Memory for one slab's bytes: whole pages, so that direct reads may land in it.
//!
//! An [`Arena`] is one stretch of memory, which the system may give in huge pages; [`Arena::cut`] makes slots of it, once
//! and for all, so that no two slots share a byte. A slot is owned by whoever may touch its bytes: the cache, a read under
//! way, a guard. When a mapped file is the source, a slot is a window on it and has no memory of its own.
//!
//! A direct read moves whole blocks of the file, so a slab lies somewhere inside its slot: [`Slot::fill_for`] says which
//! bytes to read where, and [`Slot::slab`] is the slab among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::{MmapMut, MmapRaw};

use crate::error::StoreError;
use crate::io::mapping::Mapping;
use crate::io::span::{ALIGNMENT, Span};

/// One stretch of memory that slots are cut from.
#[derive(Debug)]
pub(crate) struct Arena {
    memory: MmapRaw,
    /// The kernel holds on to its pages, so that giving them back would part it from them.
    held: AtomicBool,
}

/// Room for the bytes of a slab and for the rest of the blocks at its ends.
#[derive(Debug)]
pub(crate) struct Slot {
    backing: Backing,
    /// Of the slab inside the backing.
    start: usize,
    len: usize,
}

#[derive(Debug)]
enum Backing {
    /// A part of an arena that belongs to this slot alone.
    Memory { arena: Arc<Arena>, at: usize, capacity: usize },
    /// Wherever the slab lies in one of the mapped files.
    Window { files: Arc<[Mapping]>, file: usize, at: usize },
}

/// Bytes of a slot for a slab of `len` bytes, wherever it lies.
pub(crate) fn slot_bytes(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT) + ALIGNMENT
}

impl Arena {
    /// Cuts memory into slots for slabs of up to these lengths, one after another.
    ///
    /// Errors: the system has no more address space.
    pub(crate) fn cut(lens: impl Iterator<Item = usize> + Clone) -> Result<Vec<Slot>, StoreError> {
        let len: usize = lens.clone().map(slot_bytes).sum();
        let memory = MmapMut::map_anon(len.max(1)).map_err(|source| StoreError::Memory { len, source })?;
        // Fewer, larger pages make reads and arithmetic cheaper; where there are none, small ones do.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        let arena = Arc::new(Arena { memory: memory.into(), held: AtomicBool::new(false) });
        let mut end = 0;
        let slot = |len| {
            let (at, capacity) = (end, slot_bytes(len));
            end += capacity;
            Slot { backing: Backing::Memory { arena: Arc::clone(&arena), at, capacity }, start: 0, len: 0 }
        };
        Ok(lens.map(slot).collect())
    }

    /// Where it begins and how long it is, for a reader that makes the kernel hold on to it. Its slots keep their memory
    /// from now on.
    #[cfg(target_os = "linux")]
    pub(crate) fn hold(&self) -> (*mut u8, usize) {
        self.held.store(true, Ordering::Relaxed);
        (self.memory.as_mut_ptr(), self.memory.len())
    }
}

impl Slot {
    /// A slot alone. Errors: the system has no more address space.
    pub(crate) fn new(len: usize) -> Result<Slot, StoreError> {
        Ok(Arena::cut(std::iter::once(len))?.pop().expect("one length makes one slot"))
    }

    /// A slot that shows slabs where they lie in mapped files.
    pub(crate) fn window(files: &Arc<[Mapping]>) -> Slot {
        Slot { backing: Backing::Window { files: Arc::clone(files), file: 0, at: 0 }, start: 0, len: 0 }
    }

    /// Prepares the slot for a slab of `len` bytes at `offset` in a file; returns what to read into it.
    ///
    /// Panics if the slot is too small for it.
    pub(crate) fn fill_for(&mut self, file: usize, offset: u64, len: usize) -> Span {
        let aligned = offset - offset % ALIGNMENT as u64;
        self.start = usize::try_from(offset - aligned).expect("less than a block");
        self.len = len;
        let needed = self.start + len;
        let span = Span { file, offset: aligned, len: needed.next_multiple_of(ALIGNMENT), needed };
        match &mut self.backing {
            Backing::Memory { capacity, .. } => {
                assert!(span.len <= *capacity, "a slab of {len} bytes in a slot of {capacity}");
            }
            Backing::Window { files, file: shown, at } => {
                *shown = file;
                *at = usize::try_from(aligned).expect("a mapped file fits the address space");
                let len = files[file].len();
                assert!(*at + needed <= len, "a slab at {offset} in a mapping of {len} bytes");
            }
        }
        span
    }

    /// Where the bytes of a span go; nothing for a window, whose bytes are there already.
    pub(crate) fn target(&mut self, span: Span) -> Option<&mut [u8]> {
        let Backing::Memory { arena, at, capacity } = &self.backing else { return None };
        assert!(span.len <= *capacity, "a span of {} bytes in a slot of {capacity}", span.len);
        // SAFETY: inside the arena, which lives as long as the slot. No other slot has these bytes, since `cut` hands out
        // each once, and this slot is borrowed for as long as the slice lives.
        Some(unsafe { std::slice::from_raw_parts_mut(arena.memory.as_mut_ptr().add(*at), span.len) })
    }

    /// The slab's bytes, once its span has been read.
    pub(crate) fn slab(&self) -> &[u8] {
        match &self.backing {
            Backing::Memory { arena, at, .. } => {
                // SAFETY: inside the arena and this slot's alone, as in `target`.
                unsafe { std::slice::from_raw_parts(arena.memory.as_ptr().add(at + self.start), self.len) }
            }
            Backing::Window { files, file, at } => files[*file].bytes(at + self.start, self.len),
        }
    }

    /// Gives the slot's memory back to the system; the slot can be filled again.
    pub(crate) fn release(&mut self) {
        match &self.backing {
            Backing::Memory { arena, .. } if arena.held.load(Ordering::Relaxed) => {}
            Backing::Memory { arena, at, capacity } => {
                // SAFETY: whole pages of this slot, which is borrowed mutably, so nobody sees their bytes vanish. They
                // hold numbers of no meaning until the slot is filled again.
                let _ = unsafe { arena.memory.unchecked_advise_range(discard(), *at, *capacity) };
            }
            Backing::Window { files, file, at } => files[*file].forget(*at, self.start + self.len),
        }
        (self.start, self.len) = (0, 0);
    }

    /// Fetches the bytes of a window.
    ///
    /// Errors: the read failed. Panics if the slot is not a window.
    pub(crate) fn fetch(&self) -> std::io::Result<()> {
        let Backing::Window { files, file, at } = &self.backing else { panic!("a slot with memory is read into") };
        files[*file].fetch(*at as u64, self.start + self.len)
    }

    /// Whether the slot shows a mapped file instead of having memory.
    pub(crate) fn is_window(&self) -> bool {
        matches!(self.backing, Backing::Window { .. })
    }

    /// The arena that the slot is a part of; nothing for a window.
    #[cfg(target_os = "linux")]
    pub(crate) fn arena(&self) -> Option<&Arc<Arena>> {
        match &self.backing {
            Backing::Memory { arena, .. } => Some(arena),
            Backing::Window { .. } => None,
        }
    }
}

/// How a system is told that pages are free: at once on Linux and macOS.
fn discard() -> memmap2::UncheckedAdvice {
    #[cfg(target_vendor = "apple")]
    return memmap2::UncheckedAdvice::FreeReusable;
    #[cfg(not(target_vendor = "apple"))]
    memmap2::UncheckedAdvice::DontNeed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_whole_blocks_around_the_slab() {
        let mut slot = Slot::new(5000).unwrap();
        let span = slot.fill_for(2, 4096 + 100, 5000);
        assert_eq!(span, Span { file: 2, offset: 4096, len: 8192, needed: 5100 });
        let target = slot.target(span).unwrap();
        (target[100], target[5099]) = (7, 9);
        assert_eq!(target.as_ptr() as usize % ALIGNMENT, 0);
        assert_eq!((slot.slab().len(), slot.slab()[0], slot.slab()[4999]), (5000, 7, 9));
    }

    #[test]
    fn a_slot_takes_its_largest_slab_at_every_offset() {
        for len in [1, 4096, 4097, 10_000] {
            for offset in [0, 1, 4095, 4096, 12_345] {
                let mut slot = Slot::new(len).unwrap();
                let span = slot.fill_for(0, offset, len);
                assert!(span.offset <= offset && span.offset + span.needed as u64 == offset + len as u64);
            }
        }
    }

    #[test]
    fn slots_of_one_arena_share_no_byte_and_forget_alone() {
        let lens = [5000, 1, 4096, 9000];
        let mut slots = Arena::cut(lens.into_iter()).unwrap();
        for (i, slot) in (1u8..).zip(&mut slots) {
            let span = slot.fill_for(0, 100, lens[usize::from(i) - 1]);
            slot.target(span).unwrap().fill(i);
        }
        slots[2].release();
        for (i, slot) in (1u8..).zip(&slots) {
            assert!(i == 3 || slot.slab().iter().all(|b| *b == i), "slot {i}");
        }
        assert!(slots[2].slab().is_empty());
    }
}
