//! Buffers whose memory is counted, for activations, logits, keys and values.

use bytemuck::Pod;
use memmap2::MmapMut;

use crate::error::StoreError;
use crate::ledger::{Ledger, Reservation};

/// Larger buffers are mapped and hold a reservation. Smaller ones are on the heap, as part of what is reserved for the
/// program.
const COUNTED_BYTES: usize = 1 << 20;

/// A fixed number of values, zeroed. A large buffer takes memory when it is first written and returns it to the system, not
/// to the heap, when it is dropped.
#[derive(Debug)]
pub struct Buffer<T> {
    memory: Memory<T>,
    len: usize,
}

#[derive(Debug)]
enum Memory<T> {
    Heap(Vec<T>),
    Mapped { bytes: MmapMut, _counted: Reservation },
}

impl<T> Default for Buffer<T> {
    fn default() -> Buffer<T> {
        Buffer { memory: Memory::Heap(Vec::new()), len: 0 }
    }
}

impl<T> From<Vec<T>> for Buffer<T> {
    /// Wraps a vector, which is meant to be small: it holds no reservation.
    fn from(values: Vec<T>) -> Buffer<T> {
        Buffer { len: values.len(), memory: Memory::Heap(values) }
    }
}

impl<T: Pod> Buffer<T> {
    /// `len` zeros. Errors: the budget or the system has no memory for them.
    pub fn zeroed(ledger: &Ledger, what: &'static str, len: usize) -> Result<Buffer<T>, StoreError> {
        let n_bytes = len.saturating_mul(size_of::<T>());
        if n_bytes <= COUNTED_BYTES {
            return Ok(Buffer { memory: Memory::Heap(vec![T::zeroed(); len]), len });
        }
        let counted = ledger.reserve(what, n_bytes as u64)?;
        let bytes = MmapMut::map_anon(n_bytes).map_err(|source| StoreError::Memory { len: n_bytes, source })?;
        // A hint: without huge pages it is only slower.
        #[cfg(target_os = "linux")]
        let _ = bytes.advise(memmap2::Advice::HugePage);
        Ok(Buffer { memory: Memory::Mapped { bytes, _counted: counted }, len })
    }

    /// The values.
    pub fn values(&self) -> &[T] {
        match &self.memory {
            Memory::Heap(values) => values,
            Memory::Mapped { bytes, .. } => &bytemuck::cast_slice(bytes)[..self.len],
        }
    }

    /// The values, mutably.
    pub fn values_mut(&mut self) -> &mut [T] {
        match &mut self.memory {
            Memory::Heap(values) => values,
            Memory::Mapped { bytes, .. } => &mut bytemuck::cast_slice_mut(bytes)[..self.len],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_counted_and_small_ones_are_not() {
        let ledger = Ledger::new(3 << 20);
        let small = Buffer::<f32>::zeroed(&ledger, "x", 1 << 18).unwrap();
        assert_eq!((small.values().len(), ledger.used_bytes()), (1 << 18, 0));
        let mut large = Buffer::<u8>::zeroed(&ledger, "x", (2 << 20) + 1).unwrap();
        large.values_mut()[2 << 20] = 7;
        assert_eq!((large.values()[2 << 20], ledger.used_bytes()), (7, (2 << 20) + 1));
        assert!(Buffer::<u8>::zeroed(&ledger, "y", 2 << 20).is_err());
        drop(large);
        assert_eq!(ledger.used_bytes(), 0);
    }
}
