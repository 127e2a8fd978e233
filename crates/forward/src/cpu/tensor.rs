//! Rows of numbers in memory.

use store::Buffer;

/// Rows of `f32`, `[rows, width]`.
pub struct CpuTensor {
    values: Buffer<f32>,
    pub(super) rows: usize,
    pub(super) width: usize,
}

impl CpuTensor {
    /// A tensor with room for this many values, and no shape yet.
    pub(super) fn with_room(values: Buffer<f32>) -> CpuTensor {
        CpuTensor { values, rows: 0, width: 0 }
    }

    /// A tensor of one row.
    pub(super) fn of_row(values: Vec<f32>) -> CpuTensor {
        CpuTensor { rows: 1, width: values.len(), values: values.into() }
    }

    /// Gives the tensor a shape; its contents are then anything. Panics if it has no room for it.
    pub(super) fn reshape(&mut self, rows: usize, width: usize) {
        let room = self.values.values().len();
        assert!(rows * width <= room, "[{rows}, {width}] in a tensor with room for {room}");
        (self.rows, self.width) = (rows, width);
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values.values()[..self.rows * self.width]
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values.values_mut()[..self.rows * self.width]
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values.values()[row * self.width..(row + 1) * self.width]
    }

    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values.values_mut()[row * self.width..(row + 1) * self.width]
    }
}
