//! Files that are not GGUF, damaged, truncated or hostile give an error, never a panic.
//!
//! Each test covers one kind of file. The message must be one line that names the key or tensor and the byte, and says
//! what to do where something can be done.

use std::io::{self, Read};
use std::path::Path;

use model::gguf::Gguf;
use testkit::{GgufValue, GgufWriter, ggml_type};

/// The message that refuses a file of these bytes.
fn refusal(bytes: &[u8]) -> String {
    let message = Gguf::parse(bytes, bytes.len() as u64).expect_err("the file should be refused").to_string();
    assert!(!message.contains(char::is_control), "not one plain line: {message:?}");
    message
}

#[track_caller]
fn refused(writer: GgufWriter, words: &[&str]) {
    refused_bytes(&writer.to_bytes(), words);
}

#[track_caller]
fn refused_bytes(bytes: &[u8], words: &[&str]) {
    let message = refusal(bytes);
    for word in words {
        assert!(message.contains(word), "no \"{word}\" in: {message}");
    }
}

/// A small file with values and tensors of several kinds.
fn small() -> GgufWriter {
    GgufWriter::new()
        .alignment(32)
        .kv("general.architecture", "llama")
        .kv("llama.block_count", 2u32)
        .kv("rate", 0.5f64)
        .kv("flags", vec![true, false])
        .kv("tokenizer.ggml.tokens", vec!["a", "bc", ""])
        .kv("nested", vec![vec![1i8, 2], vec![]])
        .tensor("token_embd.weight", &[32, 2], ggml_type::Q4_0, [7; 36])
        .tensor("output.weight", &[4, 2], ggml_type::F32, [9; 32])
}

/// A file of one tensor `t`.
fn f32_tensor(dims: &[u64], n_bytes: usize) -> GgufWriter {
    GgufWriter::new().tensor("t", dims, ggml_type::F32, vec![0; n_bytes])
}

/// A file of one entry `k`.
fn entry(value: GgufValue) -> GgufWriter {
    GgufWriter::new().kv("k", value)
}

/// An array that claims `count` elements and has these bytes.
fn claimed_array(element: u32, count: u64, bytes: &[u8]) -> GgufValue {
    GgufValue::Raw(9, [&element.to_le_bytes()[..], &count.to_le_bytes(), bytes].concat())
}

#[test]
fn the_small_file_itself_is_fine() {
    let bytes = small().to_bytes();
    assert_eq!(Gguf::parse(&bytes[..], bytes.len() as u64).unwrap().tensors().len(), 2);
}

// What people download by mistake.

#[test]
fn other_formats_are_named() {
    refused_bytes(b"", &["empty"]);
    refused_bytes(b"GG", &["2 bytes"]);
    refused_bytes(b"\x40\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\"}}", &["safetensors", "convert"]);
    refused_bytes(b"PK\x03\x04\0\0\0\0archive/data.pkl", &["PyTorch"]);
    refused_bytes(b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", &["web page"]);
    refused_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", &["git lfs pull"]);
    refused_bytes(b"\x1b[31mred\n\n", &["not a GGUF file", "\\u{1b}"]);
}

#[test]
fn other_versions_and_byte_orders_are_named() {
    refused(small().version(1), &["version 1"]);
    refused(small().version(4), &["version 4"]);
    refused(small().version(0), &["version 0"]);
    refused(small().version(3u32.swap_bytes()), &["big-endian"]);
    refused(small().magic(*b"FUGG"), &["byte-swapped"]);
}

#[test]
fn what_cannot_be_opened_is_refused_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| Gguf::open(path).unwrap_err().to_string();
    assert!(message(folder.path()).contains("a directory"));
    let missing = folder.path().join("missing.gguf");
    assert!(message(&missing).contains("missing.gguf: "), "{}", message(&missing));
    let page = folder.path().join("page.gguf");
    std::fs::write(&page, "<html>").unwrap();
    assert!(message(&page).contains("page.gguf: not a GGUF file"), "{}", message(&page));
}

#[test]
fn a_read_error_is_reported_with_its_place() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let bytes = small().to_bytes();
    for cut in [0, 3, 30, 100] {
        let message = Gguf::parse(bytes[..cut].chain(Failing), bytes.len() as u64).unwrap_err().to_string();
        assert!(message.contains("the disk is gone") && message.contains("byte"), "{message}");
    }
}

// Cut short.

#[test]
fn every_cut_of_a_small_file_is_noticed() {
    let bytes = small().to_bytes();
    for cut in 0..bytes.len() {
        refusal(&bytes[..cut]);
    }
}

#[test]
fn every_cut_of_the_stream_inside_the_header_is_noticed() {
    let bytes = small().to_bytes();
    let table_end = small().padding(1).header().len();
    for cut in 0..table_end {
        let result = Gguf::parse(&bytes[..cut], bytes.len() as u64);
        assert!(result.is_err(), "a stream of {cut} bytes was accepted");
    }
}

#[test]
fn every_sixteenth_of_a_larger_file_is_noticed() {
    let tokens: Vec<_> = (0..20_000).map(|i| format!("token{i}")).collect();
    let bytes = small()
        .kv("scores", vec![0.5f32; 20_000])
        .kv("tokens", tokens)
        .tensor("big", &[256, 2000], ggml_type::Q4_K, vec![1; 2000 * 144])
        .to_bytes();
    for part in 0..16 {
        refusal(&bytes[..bytes.len() * part / 16]);
    }
}

#[test]
fn a_cut_header_says_where_and_how_much_is_missing() {
    let bytes = GgufWriter::new().kv("general.name", "0123456789").to_bytes();
    let len = bytes.len();
    let ends = format!("ends at byte {}", len - 3);
    refused_bytes(&bytes[..len - 3], &["general.name", &ends, "3 bytes short", "incomplete"]);
}

#[test]
fn cut_tensor_data_says_which_tensor_and_how_much_is_missing() {
    let bytes = small().to_bytes();
    let ends = format!("ends at byte {}", bytes.len() - 5);
    refused_bytes(&bytes[..bytes.len() - 5], &["tensor output.weight", &ends, "incomplete", "(5 of"]);
}

// Counts and lengths that the file cannot hold.

#[test]
fn counts_beyond_the_file_are_refused() {
    refused(small().claim_kv_count(1000), &["1000 metadata entries"]);
    refused(small().claim_kv_count(u64::MAX), &["metadata entries", "damaged"]);
    refused(small().claim_tensor_count(1000), &["1000 tensors"]);
    refused(small().claim_tensor_count(u64::MAX), &["tensors", "damaged"]);
    refused(small().claim_tensor_count(1 << 63).claim_kv_count(1 << 63), &["damaged"]);
}

#[test]
fn one_entry_too_many_runs_into_what_follows() {
    refused(small().claim_kv_count(8), &["damaged"]);
    refused(small().claim_tensor_count(3), &["tensor (empty)", "damaged"]);
}

#[test]
fn lengths_beyond_the_file_are_refused() {
    for len in [100, 1 << 32, u64::MAX - 8, u64::MAX] {
        let len = len.to_le_bytes();
        refused(entry(GgufValue::Raw(8, len.to_vec())), &["metadata key k", "byte", "a string"]);
        refused(GgufWriter::new().kv_raw(&[&len[..], &[0; 8]].concat()), &["metadata entry 0", "a string"]);
    }
    for (element, count) in [(0, 100), (4, 1 << 62), (10, 1 << 61), (8, u64::MAX), (9, u64::MAX / 12), (7, 1 << 40)] {
        refused(entry(claimed_array(element, count, &[])), &["metadata key k", "an array"]);
    }
}

#[test]
fn a_huge_claim_in_a_huge_file_meets_the_limit_of_the_header() {
    let bytes = entry(claimed_array(0, 1 << 36, &[])).to_bytes();
    let message = Gguf::parse(bytes.chain(io::repeat(0)), 1 << 40).unwrap_err().to_string();
    assert!(message.contains("metadata key k") && message.contains("256 MiB"), "{message}");
}

#[test]
fn names_that_are_too_long_are_refused() {
    let key = "k".repeat(65_536);
    refused(GgufWriter::new().kv(&key, 1u8), &["metadata entry 0", "65536", "65535"]);
    let name = "n".repeat(65);
    refused(
        GgufWriter::new().tensor(&name, &[1], ggml_type::F32, [0; 4]),
        &["entry 0 of the tensor table", "65", "64"],
    );
}

// Values.

#[test]
fn unknown_value_types_are_refused() {
    refused(entry(GgufValue::Raw(13, vec![0])), &["metadata key k", "type 13", "byte 33"]);
    refused(entry(claimed_array(77, 0, &[])), &["metadata key k", "type 77"]);
}

#[test]
fn booleans_other_than_0_and_1_are_refused() {
    refused(entry(GgufValue::Raw(7, vec![2])), &["metadata key k", "byte 37", "is 2"]);
    refused(entry(claimed_array(7, 3, &[0, 1, 255])), &["metadata key k", "byte 51", "is 255"]);
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    refused(GgufWriter::new().kv_bytes(b"k\xff", 1u8), &["metadata entry 0", "UTF-8", "byte 24"]);
    refused(entry(GgufValue::String(b"\xc3(".to_vec())), &["metadata key k", "UTF-8"]);
    refused(GgufWriter::new().tensor_bytes(b"t\xff", &[1], ggml_type::F32, [0; 4]), &["tensor table", "UTF-8"]);
}

#[test]
fn keys_with_terminal_escapes_are_shown_escaped() {
    refused(GgufWriter::new().kv("\x1b]0;title\x07\n", GgufValue::Raw(99, vec![0])), &["\\u{1b}]0;title"]);
}

#[test]
fn duplicate_keys_are_refused() {
    refused(small().kv("rate", 1u8), &["metadata key rate", "second time"]);
}

#[test]
fn arrays_nest_no_deeper_than_the_limit() {
    let nest = |depth: u32| (1..depth).fold(GgufValue::from(vec![1u8]), |inner, _| GgufValue::Array(9, vec![inner]));
    let bytes = entry(nest(4)).to_bytes();
    assert!(Gguf::parse(&bytes[..], bytes.len() as u64).is_ok());
    refused(entry(nest(5)), &["metadata key k", "nested deeper than 4"]);
    let levels = [9u32.to_le_bytes(), 1u32.to_le_bytes(), [0; 4]].concat().repeat(100_000);
    refused(entry(GgufValue::Raw(9, levels)), &["metadata key k", "nested deeper than 4"]);
}

#[test]
fn a_host_of_small_arrays_is_refused() {
    let many = GgufValue::Array(9, vec![GgufValue::Array(0, vec![]); 70_000]);
    refused(entry(many), &["metadata key k", "more than 65536"]);
}

#[test]
fn impossible_alignments_are_refused() {
    for alignment in [0u32, 3, 24, 33, 1 << 31] {
        let shown = format!("is {alignment},");
        refused(GgufWriter::new().kv("general.alignment", alignment), &["general.alignment", &shown, "power of two"]);
    }
    refused(GgufWriter::new().kv("general.alignment", -8i32), &["general.alignment", "negative"]);
    refused(GgufWriter::new().kv("general.alignment", "32"), &["general.alignment", "not an integer"]);
}

#[test]
fn parts_of_a_split_model_are_refused_without_a_path() {
    let part = small().kv("split.no", 1u16).kv("split.count", 3u16);
    refused(part, &["part 2", "3 files", "by its path", "llama-gguf-split --merge"]);
}

#[test]
fn impossible_split_keys_are_refused() {
    refused(small().kv("split.count", 3u16), &["split.no", "missing"]);
    refused(small().kv("split.count", 3u16).kv("split.no", 3u16), &["split.no", "is 3", "0 to 2"]);
    refused(small().kv("split.count", 3u16).kv("split.no", u64::MAX), &["split.no", "0 to 2"]);
    refused(small().kv("split.count", 3u16).kv("split.no", -1i32), &["split.no", "negative"]);
    refused(small().kv("split.count", 1001u16).kv("split.no", 0u16), &["split.count", "is 1001", "more than 1000"]);
    refused(small().kv("split.count", u16::MAX).kv("split.no", 0u16), &["split.count", "65535", "damaged"]);
    refused(small().kv("split.count", u64::MAX).kv("split.no", 0u16), &["split.count", "damaged"]);
    refused(small().kv("split.count", -3i32), &["split.count", "negative"]);
    refused(small().kv("split.count", "3"), &["split.count", "not an integer"]);
    let negative = small().kv("split.count", 3u16).kv("split.no", 0u16).kv("split.tensors.count", -1i32);
    refused(negative, &["split.tensors.count", "negative"]);
}

// Tensors.

#[test]
fn unknown_tensor_types_are_named() {
    let of_type = |id| GgufWriter::new().tensor("blk.0.ffn_up.weight", &[256], id, [0; 256]);
    refused(of_type(23), &["tensor blk.0.ffn_up.weight", "IQ4_XS", "byte", "Q4_K"]);
    refused(of_type(39), &["MXFP4"]);
    refused(of_type(31), &["Q4_0_4_4", "removed"]);
    refused(of_type(4), &["Q4_2", "removed"]);
    refused(of_type(12345), &["type 12345"]);
}

#[test]
fn impossible_shapes_are_refused() {
    refused(f32_tensor(&[1, 1, 1, 1, 1], 4), &["tensor t", "5 dimensions"]);
    refused(f32_tensor(&[], 32), &["tensor t", "0 dimensions"]);
    refused(f32_tensor(&[4, 0], 0), &["tensor t", "[4, 0]", "zero"]);
    refused(f32_tensor(&[0], 0), &["tensor t", "zero"]);
    let countless = [&1u64.to_le_bytes()[..], b"t", &u32::MAX.to_le_bytes(), &[0; 20]].concat();
    refused(GgufWriter::new().tensor_raw(&countless), &["tensor t", "4294967295 dimensions"]);
    let ragged = GgufWriter::new().tensor("t", &[100, 2], ggml_type::Q4_K, [0; 200]);
    refused(ragged, &["tensor t", "100 weights", "256 weights of a Q4_K block"]);
}

#[test]
fn products_that_overflow_are_refused() {
    for shape in [&[1 << 62][..], &[1 << 32, 1 << 32], &[1 << 16; 4], &[u64::MAX; 4]] {
        refused(f32_tensor(shape, 4), &["tensor t", "more bytes than a file can have"]);
    }
    refused(f32_tensor(&[1], 4).claim_offset(u64::MAX - 31), &["tensor t", "beyond the end of any file"]);
    refused(f32_tensor(&[1 << 61], 4).claim_offset(1 << 63), &["tensor t", "beyond the end of any file"]);
}

#[test]
fn misaligned_offsets_are_refused() {
    refused(f32_tensor(&[1], 100).claim_offset(4), &["tensor t", "offset 4", "alignment 32"]);
    refused(f32_tensor(&[1], 100).alignment(64).claim_offset(32), &["tensor t", "offset 32", "alignment 64"]);
}

#[test]
fn duplicate_tensors_are_refused() {
    refused(f32_tensor(&[1], 4).tensor("t", &[1], ggml_type::F32, [0; 4]), &["tensor t", "second time", "byte"]);
}

#[test]
fn overlapping_tensors_are_refused() {
    let inside = f32_tensor(&[16], 64).tensor("u", &[1], ggml_type::F32, [0; 4]).claim_offset(32);
    refused(inside, &["tensor u", "inside tensor t"]);
    let same_place = f32_tensor(&[1], 4).tensor("u", &[1], ggml_type::F32, [0; 4]).claim_offset(0);
    refused(same_place, &["tensor u", "inside tensor t"]);
}

// Damage anywhere.

#[test]
fn no_damaged_byte_panics() {
    let bytes = small().to_bytes();
    for place in 0..small().header().len() {
        for damage in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[place] ^= damage;
            if let Err(error) = Gguf::parse(&bytes[..], bytes.len() as u64) {
                assert!(!error.to_string().contains(char::is_control), "{error:?}");
            }
        }
    }
}
