//! Slabs: the unit in which weights are read and kept.
//!
//! A slab is a run of whole rows of one matrix. Small slabs keep read-ahead cheap and let pins fill the budget almost to
//! the byte; large ones keep a drive at its ceiling and the table short. Every matrix that a pass may need is cut once,
//! however often the pass uses it: a [`SlabId`] says which slab it is and nothing about when it is needed. The order of
//! what every pass needs is [`SlabTable::cycle`].

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use model::{Matrix, ModelSpec, Part, Use, When};

use crate::error::StoreError;

/// Reads of 256 KiB and more, several at once, reach a drive's ceiling.
const MIN_SLAB_BYTES: u64 = 256 << 10;

/// A file of 100 GB then has 25,000 slabs.
const MAX_SLAB_BYTES: u64 = 4 << 20;

/// The slots of read-ahead, a handful, should take a few percent of a budget that is a fraction of the weights.
const SLABS_PER_MODEL: u64 = 1024;

/// Identity of a slab: its index in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlabId(u32);

/// One slab: which rows of which tensor, and where they lie in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlabSpec {
    /// The matrix that the rows belong to.
    pub part: Part,
    /// The rows.
    pub rows: Range<usize>,
    /// Index of the model's file that it lies in.
    pub file: usize,
    /// Offset of the first row in the file, in bytes.
    pub offset: u64,
    /// Length of all its rows, in bytes.
    pub len: usize,
}

/// Every slab that a pass may need, and which of them each matrix consists of.
#[derive(Debug, Default)]
pub struct SlabTable {
    slabs: Vec<SlabSpec>,
    by_part: HashMap<Part, Range<u32>>,
    cycle: Vec<SlabId>,
}

impl SlabTable {
    /// Cuts the matrices of a model's pass into slabs.
    ///
    /// Errors: a matrix does not fit the address space.
    pub fn new(spec: &ModelSpec) -> Result<SlabTable, StoreError> {
        let mut table = SlabTable::default();
        let mut tensors = HashSet::new();
        let is_new = |used: &Use| tensors.insert(used.matrix.part.tensor);
        let weights_bytes: u64 = spec.walk().filter(is_new).map(|used| spec.tensor(used.matrix.part.tensor).len).sum();
        let slab_bytes = (weights_bytes / SLABS_PER_MODEL).clamp(MIN_SLAB_BYTES, MAX_SLAB_BYTES);
        let slab_bytes = usize::try_from(slab_bytes).expect("at most 4 MiB");
        for Use { matrix, when, .. } in spec.walk() {
            if !table.by_part.contains_key(&matrix.part) {
                table.add(spec, &matrix, slab_bytes)?;
            }
            if when == When::Always {
                table.cycle.extend(table.of(matrix.part));
            }
        }
        Ok(table)
    }

    /// The slab behind an id.
    pub fn get(&self, id: SlabId) -> &SlabSpec {
        &self.slabs[id.index()]
    }

    /// All slabs, in the order in which a pass first needs them if it needs them all.
    pub fn all(&self) -> &[SlabSpec] {
        &self.slabs
    }

    /// The slabs that every pass needs, in order.
    pub(crate) fn cycle(&self) -> &[SlabId] {
        &self.cycle
    }

    /// The ids of all slabs, in the order of [`SlabTable::all`].
    pub(crate) fn ids(&self) -> impl Iterator<Item = SlabId> + use<> {
        let n = u32::try_from(self.slabs.len()).expect("`add` has checked every id");
        (0..n).map(SlabId)
    }

    /// The slabs of a matrix, first row first; none if a pass does not multiply with it.
    pub fn of(&self, part: Part) -> impl Iterator<Item = SlabId> + use<> {
        self.by_part.get(&part).cloned().unwrap_or(0..0).map(SlabId)
    }

    /// The slab that holds a row of a matrix, if a pass multiplies with that matrix.
    pub(crate) fn holding(&self, part: Part, row: usize) -> Option<SlabId> {
        let range = self.by_part.get(&part)?;
        let slabs = &self.slabs[range.start as usize..range.end as usize];
        let at = slabs.partition_point(|s| s.rows.end <= row);
        slabs.get(at).map(|_| SlabId(range.start + u32::try_from(at).expect("fewer slabs than u32::MAX")))
    }

    fn add(&mut self, spec: &ModelSpec, matrix: &Matrix, slab_bytes: usize) -> Result<(), StoreError> {
        let info = spec.tensor(matrix.part.tensor);
        let too_large = || StoreError::TooLarge { tensor: info.name.clone() };
        let row_bytes = matrix.quant.row_bytes(matrix.cols).ok_or_else(too_large)?;
        let rows_per_slab = (slab_bytes / row_bytes).max(1);
        let first = self.slabs.len();
        for start in (0..matrix.rows).step_by(rows_per_slab) {
            let rows = start..matrix.rows.min(start + rows_per_slab);
            let offset = row_offset(spec, matrix, start, row_bytes);
            let len = rows.len() * row_bytes;
            self.slabs.push(SlabSpec { part: matrix.part, file: usize::from(info.file), len, rows, offset });
        }
        let id = |i: usize| u32::try_from(i).map_err(|_| too_large());
        self.by_part.insert(matrix.part, id(first)?..id(self.slabs.len())?);
        Ok(())
    }
}

/// Offset of a row of a matrix in its file, in bytes. The matrices of one tensor lie one after another.
pub(crate) fn row_offset(spec: &ModelSpec, matrix: &Matrix, row: usize, row_bytes: usize) -> u64 {
    let row = u64::from(matrix.part.index) * matrix.rows as u64 + row as u64;
    spec.tensor(matrix.part.tensor).offset + row * row_bytes as u64
}

#[cfg(test)]
impl SlabTable {
    /// A table of slabs of these lengths, one tensor and one row each, one after another in the file.
    pub(crate) fn of_lens(lens: &[usize]) -> SlabTable {
        let mut table = SlabTable::default();
        let mut offset = 0;
        for (i, &len) in (0..).zip(lens) {
            let part = Part::whole(model::TensorId(i));
            table.by_part.insert(part, i..i + 1);
            table.slabs.push(SlabSpec { part, file: 0, rows: 0..1, offset, len });
            offset += len as u64;
        }
        table.cycle = table.ids().collect();
        table
    }
}

impl SlabId {
    pub(crate) fn at(index: usize) -> SlabId {
        SlabId(u32::try_from(index).expect("the table has checked every id"))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::gguf::Gguf;

    #[test]
    fn the_experts_of_a_tensor_lie_one_after_another_and_are_cut_apart() {
        let file = testkit::temp_model(&testkit::TinyModel::llama().build().gguf_bytes());
        let spec = ModelSpec::from_gguf(&Gguf::open(&file).expect("testkit writes GGUF")).expect("it is complete");
        let matrix = spec.walk().next().expect("a layer").matrix;
        let rows = matrix.rows / 2;
        let expert = |index| Matrix { part: Part { index, ..matrix.part }, rows, ..matrix };
        let (mut halves, mut whole) = (SlabTable::default(), SlabTable::default());
        whole.add(&spec, &matrix, 1 << 20).unwrap();
        (0..2).for_each(|index| halves.add(&spec, &expert(index), 1 << 20).unwrap());
        let [first, second] = [0, 1].map(|index| halves.get(halves.of(expert(index).part).next().unwrap()));
        assert_eq!((first.rows.clone(), second.rows.clone()), (0..rows, 0..rows));
        assert_eq!((first.offset, first.len * 2), (whole.get(SlabId(0)).offset, whole.get(SlabId(0)).len));
        assert_eq!(second.offset, first.offset + first.len as u64);
        assert_eq!(halves.holding(expert(1).part, rows - 1), Some(SlabId(1)));
    }

    #[test]
    fn the_cycle_of_a_dense_model_is_all_of_it() {
        let file = testkit::temp_model(&testkit::TinyModel::llama().build().gguf_bytes());
        let spec = ModelSpec::from_gguf(&Gguf::open(&file).expect("testkit writes GGUF")).expect("it is complete");
        let table = SlabTable::new(&spec).unwrap();
        assert_eq!(table.cycle(), table.ids().collect::<Vec<_>>());
    }
}
