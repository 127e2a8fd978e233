//! Sets of bytes.

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByteSet(pub(super) [u64; 4]);

impl ByteSet {
    /// Adds all bytes from `first` to `last`.
    pub(super) fn insert_range(&mut self, first: u8, last: u8) {
        for byte in first..=last {
            self.0[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
    }

    pub(super) fn has_any(&self, first: u8, last: u8) -> bool {
        let mut range = ByteSet::default();
        range.insert_range(first, last);
        self.0.iter().zip(range.0).any(|(own, other)| own & other != 0)
    }

    pub(super) fn union(self, other: ByteSet) -> ByteSet {
        ByteSet(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }
}
