//! Says what a file is that is no GGUF file, and what to do about it.
//!
//! People point the program at what they downloaded: the wrong format, a web page, a pointer in place of the data.
//! [`not_gguf`] recognises the usual ones by their first bytes and turns them into advice.

use super::printable::printable;

/// How many bytes of a file [`not_gguf`] wants to see.
pub(super) const LOOK_BYTES: u64 = 64;

const CONVERT: &str = "convert it with llama.cpp's convert_hf_to_gguf.py or fetch a GGUF version of the model";

/// First bytes, what they give away, what to do.
const SIGNATURES: &[(&[u8], &str, &str)] = &[
    (b"PK\x03\x04", "a PyTorch checkpoint or another zip archive", CONVERT),
    (b"\x80\x02", "a PyTorch pickle", CONVERT),
    (b"version https://git-lfs", "a git-lfs pointer, not the model itself", "run `git lfs pull` where you cloned it"),
    (b"lmgg", "a GGML file from before GGUF", CONVERT),
    (b"fmgg", "a GGML file from before GGUF", CONVERT),
    (b"tjgg", "a GGML file from before GGUF", CONVERT),
    (b"FUGG", "a byte-swapped GGUF file", "fetch the little-endian version"),
    (b"\x1f\x8b", "gzip-compressed", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "unpack it first"),
    (b"\xfd7zXZ", "xz-compressed", "unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it first"),
    (b"\x89HDF", "an HDF5 file", CONVERT),
    (b"{", "JSON text, perhaps a server's error message", "look at it, then fetch the .gguf file again"),
    (b"\0\0\0\0", "zeros: its download reserved the space and did not finish", "fetch it again"),
];

/// The message for a file of `file_len` bytes that begins with `start` and not with `GGUF`.
pub(super) fn not_gguf(start: &[u8], file_len: u64) -> String {
    if file_len == 0 {
        return "the file is empty: its download did not finish; fetch it again".to_owned();
    }
    if start.len() < 4 {
        return format!("the file has no more than {} bytes: its download did not finish; fetch it again", start.len());
    }
    if is_safetensors(start) {
        return format!("not a GGUF file: it looks like a safetensors file; {CONVERT}");
    }
    if is_html(start) {
        return "not a GGUF file: it looks like a web page (HTML), perhaps a login or error page saved as the model; \
                fetch the file's direct download link"
            .to_owned();
    }
    match SIGNATURES.iter().find(|(signature, ..)| start.starts_with(signature)) {
        Some((_, looks_like, cure)) => format!("not a GGUF file: it looks like {looks_like}; {cure}"),
        None => format!(
            "not a GGUF file: it begins with \"{}\" in place of \"GGUF\"",
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
            (b"tjgg\x03\0\0\0", "before GGUF"),
            (b"FUGG\0\0\0\x03", "byte-swapped"),
            (b"{\"error\":\"Unauthorized\"}", "JSON"),
            (&[0; 64], "did not finish"),
            (b"hello world", "\"hello wo\""),
        ] {
            let message = not_gguf(start, 1000);
            assert!(message.contains(word) && !message.contains('\n'), "{message}");
        }
        assert!(not_gguf(b"", 0).contains("empty"));
    }
}
