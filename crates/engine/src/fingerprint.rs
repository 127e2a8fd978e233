//! Identifies a model file without reading all of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use model::gguf::Gguf;
use xxhash_rust::xxh3::Xxh3;

/// Samples per file, besides the header.
const N_SAMPLES: u64 = 64;

/// Bytes per sample.
const SAMPLE_BYTES: u64 = 4096;

/// A hash of the header, the lengths of the files and samples of their weights. Errors: a read failed.
pub(crate) fn fingerprint(gguf: &Gguf) -> io::Result<u128> {
    let mut hash = Xxh3::new();
    let mut bytes = Vec::new();
    for (i, info) in gguf.files().iter().enumerate() {
        let mut file = File::open(&info.path)?;
        hash.update(&info.len.to_le_bytes());
        let mut take = |start: u64, len: u64| {
            bytes.clear();
            file.seek(SeekFrom::Start(start))?;
            Read::by_ref(&mut file).take(len).read_to_end(&mut bytes)?;
            hash.update(&bytes);
            io::Result::Ok(())
        };
        if i == 0 {
            take(0, gguf.data_offset())?;
        }
        for sample in 0..N_SAMPLES {
            take(info.len / N_SAMPLES * sample, SAMPLE_BYTES)?;
        }
    }
    Ok(hash.digest128())
}
