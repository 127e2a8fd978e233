//! A matrix that several threads fill, each its own part.

use std::marker::PhantomData;
use std::ops::Range;

/// `[rows, width]` values that are written from several threads at once.
pub(super) struct SharedRows<'a, T> {
    values: *mut T,
    rows: usize,
    width: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: threads reach the values through `span` alone, whose callers keep their parts disjoint.
unsafe impl<T: Send> Sync for SharedRows<'_, T> {}

impl<'a, T> SharedRows<'a, T> {
    /// Shares `values` for the lifetime of the borrow.
    pub(super) fn new(values: &'a mut [T], width: usize) -> SharedRows<'a, T> {
        assert!(width > 0 && values.len().is_multiple_of(width), "{} values in rows of {width}", values.len());
        SharedRows { rows: values.len() / width, width, values: values.as_mut_ptr(), owner: PhantomData }
    }

    /// The columns `span` of a row. Panics if they are outside the matrix.
    ///
    /// # Safety
    /// No two spans that overlap may be alive at once.
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub(super) unsafe fn span(&self, row: usize, span: Range<usize>) -> &mut [T] {
        assert!(row < self.rows && span.start <= span.end && span.end <= self.width, "span outside the matrix");
        // SAFETY: inside the borrowed slice by the assertion; alone by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(row * self.width + span.start), span.len()) }
    }
}
