//! Files that are no models, or were: each is refused with one line that names the file and what is wrong in it.
//!
//! Files of another version, architecture or type are changed in place, byte for byte, from an honest tiny model.

use std::fs::File;

use testkit::{GgufWriter, TinyModel, TinySpec, real_model};

use crate::support::{Tiny, call, text_of};

/// Runs `info` and `run` on a file that both must refuse; returns what `run` said.
#[track_caller]
fn refused(path: &str) -> String {
    for args in [&["info", path][..], &["info", path, "--json"]] {
        let error = call(args).refused(1);
        assert!(error.contains(path), "the error names the file: {error}");
    }
    refused_by_run(path)
}

#[track_caller]
fn refused_by_run(path: &str) -> String {
    let error = call(&["run", path, "-p", "hello", "-n", "2"]).refused(1);
    assert!(error.contains(path), "the error names the file: {error}");
    error
}

/// An honest file with the one place that reads `from` changed to `to`, which is as long.
fn changed(from: &[u8], to: &[u8]) -> Tiny {
    assert_eq!(from.len(), to.len());
    let mut bytes = TinyModel::llama().build().gguf_bytes();
    let places: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, window)| *window == from).map(|(at, _)| at).collect();
    assert_eq!(places.len(), 1, "{:?} stands in the file once", String::from_utf8_lossy(from));
    bytes[places[0]..][..to.len()].copy_from_slice(to);
    Tiny::of_bytes(&bytes)
}

#[test]
fn what_is_no_gguf_is_refused() {
    for bytes in [&b"Just some text, not a model at all.\n"[..], &[0; 4096], b"PK\x03\x04 a wheel that nobody unpacked"]
    {
        let model = Tiny::of_bytes(bytes);
        let error = refused(model.path());
        assert!(error.contains("GGUF"), "{error}");
    }
    for bytes in [&b""[..], b"G", b"GGUF", b"GGUF\x03\0\0"] {
        refused(Tiny::of_bytes(bytes).path());
    }
}

#[test]
fn other_versions_and_byte_orders_are_refused_by_name() {
    for version in [0u32, 1, 4, 1000] {
        let model = Tiny::of_bytes(&TinyModel::llama().build().gguf().version(version).to_bytes());
        let error = refused(model.path());
        assert!(error.contains(&format!("version {version}")), "{error}");
    }
    let model = Tiny::of_bytes(&TinyModel::llama().build().gguf().version(3u32.swap_bytes()).to_bytes());
    let error = refused(model.path());
    assert!(error.contains("big-endian"), "{error}");
}

#[test]
fn a_tiny_model_cut_anywhere_is_refused() {
    let model = TinyModel::llama().build();
    let (bytes, header_len) = (model.gguf_bytes(), model.gguf().header().len());
    let parts = (0..16).flat_map(|part| [bytes.len() * part / 16, header_len * part / 16]);
    for len in parts {
        let cut = Tiny::of_bytes(&bytes[..len]);
        refused(cut.path());
    }
    let last_byte_missing = Tiny::of_bytes(&bytes[..bytes.len() - 1]);
    refused(last_byte_missing.path());
}

#[test]
fn the_real_model_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("cut.gguf");
    std::fs::copy(real_model!(), &path).expect("the model can be copied");
    let file = File::options().write(true).open(&path).expect("the copy can be written");
    let whole = file.metadata().expect("the copy is there").len();
    for part in (0..16).rev() {
        file.set_len(whole * part / 16).expect("the copy can be cut");
        refused(text_of(&path));
    }
}

#[test]
fn an_unknown_architecture_is_refused_by_name() {
    let model = changed(
        b"\x05\0\0\0\0\0\0\0llama\x0C\0\0\0\0\0\0\0general.name",
        b"\x05\0\0\0\0\0\0\0mamba\x0C\0\0\0\0\0\0\0general.name",
    );
    let error = refused_by_run(model.path());
    assert!(error.contains("mamba"), "{error}");
    let bare = Tiny::of_bytes(&GgufWriter::new().kv("general.architecture", "frob-1").to_bytes());
    let error = refused_by_run(bare.path());
    assert!(error.contains("frob-1"), "{error}");
    let nameless = Tiny::of_bytes(&GgufWriter::new().kv("general.name", "x").to_bytes());
    let error = refused_by_run(nameless.path());
    assert!(error.contains("general.architecture"), "{error}");
}

#[test]
fn an_unknown_tokenizer_is_refused_by_name() {
    let model = changed(b"gpt2", b"abcd");
    let error = refused_by_run(model.path());
    assert!(error.contains("abcd") && error.contains("tokenizer"), "{error}");
    let error = call(&["tokenize", model.path(), "hello"]).refused(1);
    assert!(error.contains("abcd"), "{error}");
}

#[test]
fn an_unknown_pre_tokenizer_is_warned_of_by_name() {
    let model = changed(b"\x07\0\0\0\0\0\0\0default", b"\x07\0\0\0\0\0\0\0frobble");
    let outcome = call(&["tokenize", model.path(), "hello", "--json"]);
    outcome.json();
    assert!(outcome.stderr.contains("frobble"), "{outcome:?}");
}

/// The entry of a tensor in the file's table, up to its type.
fn entry(name: &str, cols: u64, rows: u64, type_id: u32) -> Vec<u8> {
    let mut bytes = (name.len() as u64).to_le_bytes().to_vec();
    bytes.extend(name.as_bytes());
    bytes.extend(2u32.to_le_bytes());
    bytes.extend(cols.to_le_bytes());
    bytes.extend(rows.to_le_bytes());
    bytes.extend(type_id.to_le_bytes());
    bytes
}

#[test]
fn a_tensor_type_that_is_not_supported_is_refused_with_the_tensors_name() {
    let name = "blk.1.ffn_down.weight";
    // A type of ggml's that this program does not know, and two that nobody does; 4 was ggml's own once.
    for type_id in [19, 200, 4] {
        let model = changed(&entry(name, 96, 64, 0), &entry(name, 96, 64, type_id));
        let error = refused_by_run(model.path());
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn tensors_and_keys_that_are_missing_are_named() {
    let shape = |cols, rows| entry("", cols, rows, 0)[8..].to_vec();
    let renamed = |from: &str, to: &str| {
        let tail = shape(64, 96);
        changed(&[from.as_bytes(), &tail].concat(), &[to.as_bytes(), &tail].concat())
    };
    let error = refused_by_run(renamed("blk.1.ffn_up.weight", "blk.1.ffn_xx.weight").path());
    assert!(error.contains("blk.1.ffn_up.weight") || error.contains("blk.1.ffn_xx.weight"), "{error}");

    for (key, other) in [
        ("llama.block_count", "llama.block_xxxxx"),
        ("llama.embedding_length", "llama.embedding_xxxxxx"),
        ("llama.attention.head_count\x04", "llama.attention.head_xxxxx\x04"),
        ("llama.attention.layer_norm_rms_epsilon", "llama.attention.layer_norm_rms_xxxxxxx"),
    ] {
        let model = changed(key.as_bytes(), other.as_bytes());
        let error = refused_by_run(model.path());
        assert!(error.contains(key.trim_end_matches('\x04')), "{error}");
    }
}

#[test]
fn a_tensor_of_another_shape_or_outside_the_file_is_named() {
    let name = "blk.0.attn_k.weight";
    let reshaped = changed(&entry(name, 64, 32, 0), &entry(name, 32, 64, 0));
    let error = refused_by_run(reshaped.path());
    assert!(error.contains(name), "{error}");
    for rows in [1 << 40, u64::MAX] {
        let outside = changed(&entry(name, 64, 32, 0), &entry(name, 64, rows, 0));
        let error = refused(outside.path());
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn counts_beyond_the_file_are_refused() {
    let honest = || TinyModel::llama().build().gguf();
    for file in [
        honest().claim_kv_count(u64::MAX),
        honest().claim_kv_count(1 << 40),
        honest().claim_tensor_count(u64::MAX),
        honest().claim_tensor_count(1 << 40),
    ] {
        refused(Tiny::of_bytes(&file.to_bytes()).path());
    }
}

#[test]
fn a_chat_template_that_fails_is_an_error_and_raw_does_without_it() {
    for template in [
        "{% for m in messages %}",
        "{{ raise_exception('roles must alternate') }}",
        "{{ no_such_function() }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
    ] {
        let model = Tiny::of_spec(TinySpec { chat_template: Some(template.to_owned()), ..TinyModel::llama() });
        let error = call(&["run", model.path(), "-p", "hello", "-n", "2"]).refused(1);
        assert!(error.contains("template"), "{error}");
        if template.contains("alternate") {
            assert!(error.contains("roles must alternate"), "{error}");
        }
        assert_eq!(call(&["run", model.path(), "--raw", "-p", "hello", "-n", "2"]).code, Some(0));
    }
}
