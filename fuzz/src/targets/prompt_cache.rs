//! Files of the prompt cache: as they are, and with the checksum of their header made right.

use std::fs;
use std::sync::LazyLock;

use forward::KvType;
use store::{CacheIdentity, Ledger, PromptFiles, PromptFilesOptions};
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_128;

const IDENTITY: CacheIdentity = CacheIdentity { model: 7, kv_type: KvType::F16 };
const PAGE_BYTES: usize = 32;
const FIXED_BYTES: usize = 56;
const CHECKSUM_BYTES: usize = 16;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a folder for temporary files"));

/// A file of three tokens and one page.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut file = b"ssd-llmK".to_vec();
    file.extend([1u32, 0].map(u32::to_le_bytes).as_flattened());
    file.extend(IDENTITY.model.to_le_bytes());
    file.extend([PAGE_BYTES as u64, 3].map(u64::to_le_bytes).as_flattened());
    file.extend(0.25f64.to_le_bytes());
    file.extend([1u32, 2, 3].map(u32::to_le_bytes).as_flattened());
    file.extend(xxh3_128(&[0; PAGE_BYTES]).to_le_bytes());
    file.extend([0; CHECKSUM_BYTES + PAGE_BYTES]);
    vec![with_checksum(&file), file[..60].to_vec()]
}

pub(crate) fn run(input: &[u8]) {
    for file in [input.to_vec(), with_checksum(input)] {
        fs::write(FOLDER.path().join("fuzzed.ssdkv"), file).expect("the folder can be written");
        let options = PromptFilesOptions {
            folder: FOLDER.path().to_owned(),
            identity: IDENTITY,
            page_tokens: 64,
            page_bytes: PAGE_BYTES,
            max_bytes: 1 << 20,
        };
        PromptFiles::open(options, &Ledger::new(1 << 20)).expect("a bad file is not an error");
    }
}

/// The file with the right checksum where it belongs by the file's length.
fn with_checksum(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let n_pages = 1;
    let end = file.len().saturating_sub(n_pages * PAGE_BYTES);
    if end >= FIXED_BYTES + CHECKSUM_BYTES {
        let sum = xxh3_128(&file[..end - CHECKSUM_BYTES]);
        file[end - CHECKSUM_BYTES..end].copy_from_slice(&sum.to_le_bytes());
    }
    file
}
