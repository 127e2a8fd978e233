//! Reads the tensor table and checks that its tensors fit the file.
//!
//! [`read_tensors`] reads entries, whose offsets count from the start of the data. Once the end of the table, and so the
//! start of the data, is known, [`Layout::place`] makes the offsets absolute.

use std::collections::HashMap;
use std::io::Read;

use kernels::QuantType;

use super::ggml_types::unsupported_type_name;
use super::limits;
use super::printable::printable;
use super::reader::{Place, Reader};
use super::tensor::TensorInfo;
use crate::error::ModelError;

/// Bytes of the smallest entry: an empty name's length, one dimension with its count, a type number, an offset.
pub(super) const SMALLEST_ENTRY: u64 = 8 + 4 + 8 + 4 + 8;

/// The tensors of one or more files, indexed by name.
#[derive(Clone, Debug, Default)]
pub(super) struct TensorTable {
    pub(super) tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
}

impl TensorTable {
    /// The tensor with this name.
    pub(super) fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&i| &self.tensors[i])
    }

    /// Appends the tensors of file number `file`.
    ///
    /// Errors: one has the name of an earlier tensor, or there are too many in total.
    pub(super) fn append(&mut self, other: TensorTable, file: u16) -> Result<(), ModelError> {
        let (n_tensors, limit) = (self.tensors.len() + other.tensors.len(), limits::TENSORS);
        if n_tensors as u64 > limit {
            let problem = format!("the files up to here hold {n_tensors} tensors, more than {limit}");
            return Err(ModelError::Gguf(problem + "; they are damaged"));
        }
        for tensor in other.tensors {
            if let Some(earlier) = self.get(&tensor.name) {
                let problem = format!("is already in part {} of the model", earlier.file + 1);
                let cure = "this file belongs to another model or was split differently, fetch all parts again";
                return Err(tensor_error(&tensor, format!("{problem}; {cure}")));
            }
            self.index.insert(tensor.name.clone(), self.tensors.len());
            self.tensors.push(TensorInfo { file, ..tensor });
        }
        Ok(())
    }
}

/// Reads `count` entries, their offsets still relative to the start of the data.
pub(super) fn read_tensors<R: Read>(reader: &mut Reader<R>, count: u64) -> Result<TensorTable, ModelError> {
    let mut table = TensorTable::default();
    for index in 0..count {
        let start = reader.at();
        reader.enter(Place::TensorName(index));
        let name = reader.string(limits::TENSOR_NAME_BYTES)?;
        reader.enter(Place::Tensor(name.clone()));
        if table.index.insert(name.clone(), table.tensors.len()).is_some() {
            return Err(reader.error(format_args!("appears a second time at byte {start}; the file is damaged")));
        }
        table.tensors.push(read_tensor(reader, name)?);
    }
    Ok(table)
}

fn read_tensor<R: Read>(reader: &mut Reader<R>, name: String) -> Result<TensorInfo, ModelError> {
    let shape = read_shape(reader)?;
    let quant = read_type(reader)?;
    let len = match data_bytes(quant, &shape) {
        Ok(len) => len,
        Err(problem) => return Err(reader.error(problem)),
    };
    Ok(TensorInfo { name, quant, shape, file: 0, offset: reader.u64()?, len })
}

fn read_shape<R: Read>(reader: &mut Reader<R>) -> Result<Vec<u64>, ModelError> {
    let start = reader.at();
    let n_dims = reader.u32()?;
    if n_dims == 0 || n_dims > limits::DIMS {
        let most = limits::DIMS;
        let problem = format_args!("has {n_dims} dimensions at byte {start}, not 1 to {most}; the file is damaged");
        return Err(reader.error(problem));
    }
    let shape = reader.numbers(u64::from(n_dims), u64::from_le_bytes)?;
    if shape.contains(&0) {
        return Err(reader.error(format_args!("the shape {shape:?} at byte {start} has a zero; the file is damaged")));
    }
    Ok(shape)
}

fn read_type<R: Read>(reader: &mut Reader<R>) -> Result<QuantType, ModelError> {
    let start = reader.at();
    let id = reader.u32()?;
    QuantType::from_ggml_id(id).ok_or_else(|| {
        let name = unsupported_type_name(id).unwrap_or("unknown");
        let supported: Vec<_> = QuantType::formats().iter().map(|format| format.name).collect();
        let supported = supported.join(", ");
        reader.error(format_args!(
            "type {id} ({name}) at byte {start} is not supported; use a version of the model in {supported}"
        ))
    })
}

/// The length in bytes of a tensor of this type and shape, or the problem.
fn data_bytes(quant: QuantType, shape: &[u64]) -> Result<u64, String> {
    let too_large = || format!("the shape {shape:?} needs more bytes than a file can have; the file is damaged");
    let format = quant.format();
    let cols = usize::try_from(shape[0]).map_err(|_| too_large())?;
    if cols % format.block_len != 0 {
        let (name, block_len) = (format.name, format.block_len);
        return Err(format!(
            "its rows of {cols} weights are not a multiple of the {block_len} weights of a {name} block"
        ));
    }
    let n_bytes = shape[1..].iter().try_fold(quant.row_bytes(cols), |bytes, &dim| {
        let dim = usize::try_from(dim).ok()?;
        Some(bytes?.checked_mul(dim))
    });
    n_bytes.flatten().map(|bytes| bytes as u64).ok_or_else(too_large)
}

/// The layout of a file's tensor data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) data_offset: u64,
    pub(super) alignment: u64,
    pub(super) file_len: u64,
}

impl Layout {
    /// Makes the offsets count from the start of the file.
    ///
    /// Errors: a tensor is not aligned, overlaps another or ends past the end of the file.
    pub(super) fn place(self, table: &mut TensorTable) -> Result<(), ModelError> {
        for tensor in &mut table.tensors {
            tensor.offset = self.absolute(tensor).map_err(|problem| tensor_error(tensor, problem))?;
        }
        self.check_end(&table.tensors)?;
        check_overlap(&table.tensors)
    }

    fn absolute(self, tensor: &TensorInfo) -> Result<u64, String> {
        let (offset, alignment) = (tensor.offset, self.alignment);
        if offset % alignment != 0 {
            return Err(format!(
                "its offset {offset} is not a multiple of the alignment {alignment}; the file is damaged"
            ));
        }
        let start = self.data_offset.checked_add(offset);
        start
            .filter(|start| start.checked_add(tensor.len).is_some())
            .ok_or_else(|| format!("its offset {offset} is beyond the end of any file; the file is damaged"))
    }

    fn check_end(self, tensors: &[TensorInfo]) -> Result<(), ModelError> {
        let Some(cut) = tensors.iter().find(|tensor| end(tensor) > self.file_len) else { return Ok(()) };
        let whole = tensors.iter().map(end).max().expect("one tensor is cut");
        let (len, start, end, missing) = (self.file_len, cut.offset, end(cut), whole - self.file_len);
        Err(tensor_error(
            cut,
            format!(
                "the file ends at byte {len} but this tensor needs bytes {start} to {end}; \
                 the download is incomplete ({missing} of {whole} bytes are missing), fetch it again"
            ),
        ))
    }
}

fn check_overlap(tensors: &[TensorInfo]) -> Result<(), ModelError> {
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    match order.windows(2).find(|pair| end(pair[0]) > pair[1].offset) {
        None => Ok(()),
        Some(pair) => {
            let (other, other_end, start) = (printable(pair[0].name.as_bytes()), end(pair[0]), pair[1].offset);
            let problem = format!("starts at byte {start}, inside tensor {other}, which ends at byte {other_end}");
            Err(tensor_error(pair[1], problem + "; the file is damaged"))
        }
    }
}

/// The byte after the tensor's last; `Layout::absolute` has checked that it fits.
fn end(tensor: &TensorInfo) -> u64 {
    tensor.offset + tensor.len
}

fn tensor_error(tensor: &TensorInfo, problem: String) -> ModelError {
    ModelError::Tensor { name: printable(tensor.name.as_bytes()), problem }
}
