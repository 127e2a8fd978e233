//! Recognises files that are not GGUF, and says what to do about them.
//!
//! Users pass what they downloaded: another format, a web page, a pointer instead of the data. [`not_gguf`] identifies the
//! usual ones by their first bytes and gives advice.

use super::printable::printable;

/// How many bytes of a file [`not_gguf`] looks at.
pub(super) const LOOK_BYTES: u64 = 64;

const CONVERT: &str = "convert it with llama.cpp's convert_hf_to_gguf.py or fetch a GGUF version of the model";

/// First bytes, format, advice.
const SIGNATURES: &[(&[u8], &str, &str)] = &[
    (b"PK\x03\x04", "a PyTorch checkpoint or another zip archive", CONVERT),
    (b"\x80\x02", "a PyTorch pickle", CONVERT),
    (b"version https://git-lfs", "a git-lfs pointer, not the model itself", "run `git lfs pull` in the clone"),
    (b"lmgg", "a GGML file, older than GGUF", CONVERT),
    (b"fmgg", "a GGML file, older than GGUF", CONVERT),
    (b"tjgg", "a GGML file, older than GGUF", CONVERT),
    (b"FUGG", "a byte-swapped GGUF file", "fetch the little-endian version"),
    (b"\x1f\x8b", "a gzip file", "decompress it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "decompress it first"),
    (b"\xfd7zXZ", "an xz file", "decompress it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "extract it first"),
    (b"\x89HDF", "an HDF5 file", CONVERT),
    (b"{", "JSON, perhaps a server's error message", "check its text, then fetch the .gguf file again"),
    (b"\0\0\0\0", "zeros, as an unfinished download leaves them", "fetch it again"),
];

/// The error message for a file of `file_len` bytes that starts with `start` instead of `GGUF`.
pub(super) fn not_gguf(start: &[u8], file_len: u64) -> String {
    if file_len == 0 {
        return "the file is empty; the download is incomplete, fetch it again".to_owned();
    }
    if start.len() < 4 {
        return format!("the file has only {} bytes; the download is incomplete, fetch it again", start.len());
    }
    if is_safetensors(start) {
        return format!("not a GGUF file: it looks like a safetensors file; {CONVERT}");
    }
    if is_html(start) {
        return "not a GGUF file: it looks like a web page (HTML), perhaps a login or error page; \
                use the direct download link"
            .to_owned();
    }
    match SIGNATURES.iter().find(|(signature, ..)| start.starts_with(signature)) {
        Some((_, looks_like, cure)) => format!("not a GGUF file: it looks like {looks_like}; {cure}"),
        None => format!(
            "not a GGUF file: it starts with \"{}\" instead of \"GGUF\"",
            printable(&start[..start.len().min(8)])
        ),
    }
}

/// A safetensors file is the length of a JSON header, then the header.
fn is_safetensors(start: &[u8]) -> bool {
    let len = start.first_chunk().map(|&len| u64::from_le_bytes(len));
    len.is_some_and(|len| (2..1 << 32).contains(&len)) && start.get(8) == Some(&b'{')
}

fn is_html(start: &[u8]) -> bool {
    let text = start.trim_ascii_start().to_ascii_lowercase();
    text.starts_with(b"<!doctype html") || text.starts_with(b"<html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_wrong_files_are_recognised() {
        for (start, word) in [
            (&b"\x10\0\0\0\0\0\0\0{\"__metadata__\""[..], "safetensors"),
            (b"PK\x03\x04abcd", "PyTorch"),
            (b"\n <!DOCTYPE html><html>", "web page"),
            (b"<HTML lang=en>", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"tjgg\x03\0\0\0", "older than GGUF"),
            (b"FUGG\0\0\0\x03", "byte-swapped"),
            (b"{\"error\":\"Unauthorized\"}", "JSON"),
            (&[0; 64], "unfinished download"),
            (b"hello world", "\"hello wo\""),
        ] {
            let message = not_gguf(start, 1000);
            assert!(message.contains(word) && !message.contains('\n'), "{message}");
        }
        assert!(not_gguf(b"", 0).contains("empty"));
    }
}
