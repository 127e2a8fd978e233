//! Memory for one slab, in whole pages, so that direct reads can fill it.
//!
//! An [`Arena`] is a range of memory, which the system may back with huge pages; [`Arena::cut`] divides it into slots, once,
//! so that no two slots share a byte. A slot is owned by what may touch its bytes: the cache, a read in flight, a guard. If
//! the files are mapped, a slot has no memory and is a window on one of them.
//!
//! A direct read moves whole blocks of the file, so that a slab is somewhere inside its slot: [`Slot::fill_for`] returns
//! what to read, and [`Slot::slab`] is the slab in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::{MmapMut, MmapRaw};

use crate::error::StoreError;
use crate::io::mapping::Mapping;
use crate::io::span::{ALIGNMENT, Span};

/// A range of memory that slots are cut from.
#[derive(Debug)]
pub(crate) struct Arena {
    memory: MmapRaw,
    /// The pages are registered with the kernel, which would keep writing to them after they have been released.
    held: AtomicBool,
}

/// Room for a slab and for the rest of the blocks at its ends.
#[derive(Debug)]
pub(crate) struct Slot {
    backing: Backing,
    /// Offset of the slab in the backing.
    start: usize,
    len: usize,
}

#[derive(Debug)]
enum Backing {
    /// A part of an arena, exclusive to this slot.
    Memory { arena: Arc<Arena>, at: usize, capacity: usize },
    /// Wherever the slab lies in one of the mapped files.
    Window { files: Arc<[Mapping]>, file: usize, at: usize },
}

/// Bytes of a slot for a slab of `len` bytes at any offset.
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
        // A hint: huge pages make reads and arithmetic cheaper.
        #[cfg(all(target_os = "linux", not(miri)))]
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

    /// Its address and length, for a reader that registers it with the kernel. From now on its slots keep their memory when
    /// they are released.
    #[cfg(target_os = "linux")]
    pub(crate) fn hold(&self) -> (*mut u8, usize) {
        self.held.store(true, Ordering::Relaxed);
        (self.memory.as_mut_ptr(), self.memory.len())
    }
}

impl Slot {
    /// A single slot. Errors: the system has no more address space.
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

    /// The memory that a span is read into; `None` for a window.
    pub(crate) fn target(&mut self, span: Span) -> Option<&mut [u8]> {
        let Backing::Memory { arena, at, capacity } = &self.backing else { return None };
        assert!(span.len <= *capacity, "a span of {} bytes in a slot of {capacity}", span.len);
        // SAFETY: inside the arena, which lives as long as the slot. No other slot has these bytes, since `cut` hands out each
        // once, and this slot is borrowed for as long as the slice lives.
        Some(unsafe { std::slice::from_raw_parts_mut(arena.memory.as_mut_ptr().add(*at), span.len) })
    }

    /// The slab's bytes, once its span has been read.
    pub(crate) fn slab(&self) -> &[u8] {
        match &self.backing {
            Backing::Memory { arena, at, .. } => {
                // SAFETY: inside the arena and exclusive to this slot, as in `target`.
                unsafe { std::slice::from_raw_parts(arena.memory.as_ptr().add(at + self.start), self.len) }
            }
            Backing::Window { files, file, at } => files[*file].bytes(at + self.start, self.len),
        }
    }

    /// Returns the slot's memory to the system; the slot can be filled again.
    pub(crate) fn release(&mut self) {
        match &self.backing {
            // Miri has no `madvise`.
            Backing::Memory { arena, .. } if arena.held.load(Ordering::Relaxed) || cfg!(miri) => {}
            Backing::Memory { arena, at, capacity } => {
                // SAFETY: whole pages of this slot, which is borrowed mutably, so that no reference sees their bytes change.
                // Their content does not matter until the slot is filled again.
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

    /// The arena that the slot is a part of; `None` for a window.
    #[cfg(target_os = "linux")]
    pub(crate) fn arena(&self) -> Option<&Arc<Arena>> {
        match &self.backing {
            Backing::Memory { arena, .. } => Some(arena),
            Backing::Window { .. } => None,
        }
    }
}

/// The advice that frees pages at once.
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
