//! Models in several files, `NAME-00001-of-00003.gguf` and so on, as llama.cpp's gguf-split writes them.
//!
//! [`join`] finds the other files of a model by the name of any one of them and merges their headers: the metadata of the
//! first (the others have only `split.*` keys) with the tensors of all. Each file was checked against its own length when
//! its header was read; here they are checked against each other.
//!
//! Source: llama.cpp, `tools/gguf-split/gguf-split.cpp` and `src/llama-model-loader.cpp`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::file::{GgufFile, OpenedFile, in_file};
use super::header::Header;
use super::split_keys::{COUNT, N_TENSORS, NO, Split};
use crate::error::ModelError;

/// Reads the other parts of the model of `given`; returns the joined header and the files in order.
///
/// Errors: the name of `given` does not lead to the others; one of them is missing, cannot be read or belongs to another
/// model.
pub(super) fn join(given: OpenedFile, split: Split) -> Result<(Header, Vec<GgufFile>), ModelError> {
    let given_path = given.file.path.clone();
    let paths = part_paths(&given_path, split).map_err(in_file(&given_path))?;
    let (mut given, mut expected, mut files) = (Some(given), split, Vec::new());
    let mut joined: Option<Header> = None;
    for (no, path) in (0..).zip(&paths) {
        let part = match given.take_if(|_| no == split.no) {
            Some(part) => part,
            None => OpenedFile::open(path)?,
        };
        expected.no = no;
        expected.n_tensors = agreed_tensors(part.header.split, expected).map_err(in_file(path))?;
        match &mut joined {
            None => joined = Some(part.header),
            Some(first) => first.table.append(part.header.table, no).map_err(in_file(path))?,
        }
        files.push(part.file);
    }
    let header = joined.expect("there are at least two parts");
    check_total(&header, expected).map_err(in_file(&given_path))?;
    Ok((header, files))
}

/// The paths of all parts, derived from that of one.
///
/// Errors: its name does not match its part number, or others are missing.
fn part_paths(given: &Path, split: Split) -> Result<Vec<PathBuf>, ModelError> {
    let name = given.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let Some(stem) = name.strip_suffix(&split.suffix()) else {
        return Err(ModelError::Gguf(format!(
            "this is part {} of {} of a model, and the others are found by its name, which must be UTF-8 and end in {}; \
             rename the file to the name it was published under",
            split.no + 1,
            split.count,
            split.suffix()
        )));
    };
    let path = |no| given.with_file_name(format!("{stem}{}", Split { no, ..split }.suffix()));
    let paths: Vec<_> = (0..split.count).map(path).collect();
    check_all_there(&paths, split)?;
    Ok(paths)
}

/// Looks for all parts before reading any, so that one message lists all that are missing.
fn check_all_there(paths: &[PathBuf], split: Split) -> Result<(), ModelError> {
    // If the check fails, opening the file will say why.
    let missing: Vec<_> = paths.iter().filter(|path| matches!(path.try_exists(), Ok(false))).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    Err(ModelError::Gguf(format!(
        "this is part {} of {} of a model, but {} is not beside it ({} missing in total); \
         fetch all parts into one directory",
        split.no + 1,
        split.count,
        first.file_name().unwrap_or_default().display(),
        missing.len()
    )))
}

/// Checks the keys of a part against its name, and against the number of tensors that the parts before it state; returns
/// that number.
fn agreed_tensors(found: Option<Split>, expected: Split) -> Result<Option<u64>, ModelError> {
    let place = format!("its name says part {} of {}", expected.no + 1, expected.count);
    let cure = "it was renamed or belongs to another model, fetch it again";
    let Some(found) = found else {
        return Err(ModelError::Gguf(format!("{place}, but it is a whole model ({COUNT}); {cure}")));
    };
    if (found.no, found.count) != (expected.no, expected.count) {
        let (part, count) = (found.no + 1, found.count);
        return Err(ModelError::Gguf(format!("{place}, but it is part {part} of {count} ({NO}, {COUNT}); {cure}")));
    }
    match (found.n_tensors, expected.n_tensors) {
        (Some(here), Some(there)) if here != there => Err(ModelError::metadata(
            N_TENSORS,
            format!("is {here} here and {there} in another part; one belongs to another model"),
        )),
        (here, there) => Ok(here.or(there)),
    }
}

fn check_total(header: &Header, split: Split) -> Result<(), ModelError> {
    let n_tensors = header.table.tensors.len() as u64;
    match split.n_tensors {
        Some(claimed) if claimed != n_tensors => Err(ModelError::metadata(
            N_TENSORS,
            format!(
                "is {claimed}, but the {} parts hold {n_tensors} tensors; one is damaged or belongs to another model, \
                 fetch them all again",
                split.count
            ),
        )),
        _ => Ok(()),
    }
}
