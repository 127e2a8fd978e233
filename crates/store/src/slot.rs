//! Memory for one slab's bytes, aligned for direct reads and for whole cache lines.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A page: what direct reads ask for on every system that we know of, and a multiple of a cache line.
const ALIGNMENT: usize = 4096;

/// Bytes at an aligned address.
#[derive(Debug)]
pub(crate) struct Slot {
    bytes: NonNull<u8>,
    len: usize,
}

// SAFETY: a slot owns its memory alone, like a `Box<[u8]>`.
unsafe impl Send for Slot {}
// SAFETY: shared access to a slot only reads.
unsafe impl Sync for Slot {}

impl Slot {
    /// Allocates `len` zeroed bytes. Panics if the allocator has none left.
    pub(crate) fn new(len: usize) -> Slot {
        let layout = Slot::layout(len);
        // SAFETY: the layout's size is at least one page.
        let bytes = unsafe { alloc(layout) };
        let Some(bytes) = NonNull::new(bytes) else { handle_alloc_error(layout) };
        // SAFETY: the allocation has at least `len` bytes; writing them makes them initialised.
        unsafe { bytes.as_ptr().write_bytes(0, len) };
        Slot { bytes, len }
    }

    fn layout(len: usize) -> Layout {
        let size = len.max(1).next_multiple_of(ALIGNMENT);
        Layout::from_size_align(size, ALIGNMENT).expect("a slab is far smaller than the address space")
    }
}

impl Deref for Slot {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `new` initialised `len` bytes, which live until `drop`.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), self.len) }
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_ptr(), self.len) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout.
        unsafe { dealloc(self.bytes.as_ptr(), Slot::layout(self.len)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_aligned_and_holds_what_is_written() {
        let mut slot = Slot::new(4097);
        assert_eq!(slot.as_ptr() as usize % ALIGNMENT, 0);
        assert_eq!(slot.len(), 4097);
        slot[4096] = 7;
        assert_eq!((slot[0], slot[4096]), (0, 7));
    }
}
