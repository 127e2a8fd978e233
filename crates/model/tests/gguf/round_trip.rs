//! The reader returns what a writer put into a GGUF file.
//!
//! `testkit`'s writer, which shares no code with the reader, writes files of both versions and of every alignment from 8 to
//! 4096, with values of every type and tensors of every format. Every value, shape and byte must come back.

use std::collections::BTreeMap;

use kernels::QuantType;
use model::gguf::{Array, Gguf, StringArray, Value};
use proptest::collection::{btree_map, vec};
use proptest::num::{f32 as f32s, f64 as f64s};
use proptest::prelude::*;
use testkit::{GgufValue, GgufWriter, ggml_type};

/// What a tensor is written from: dimensions, format, the byte that its contents start with.
type TensorSeed = (Vec<u64>, QuantType, u8);

/// Any float but NaN, which would not equal itself.
fn float() -> impl Strategy<Value = f32> {
    f32s::NORMAL | f32s::SUBNORMAL | f32s::ZERO | f32s::INFINITE | f32s::NEGATIVE
}

/// Any double but NaN.
fn double() -> impl Strategy<Value = f64> {
    f64s::NORMAL | f64s::SUBNORMAL | f64s::ZERO | f64s::INFINITE | f64s::NEGATIVE
}

fn scalar() -> impl Strategy<Value = GgufValue> {
    prop_oneof![
        any::<u8>().prop_map(GgufValue::from),
        any::<i8>().prop_map(GgufValue::from),
        any::<u16>().prop_map(GgufValue::from),
        any::<i16>().prop_map(GgufValue::from),
        any::<u32>().prop_map(GgufValue::from),
        any::<i32>().prop_map(GgufValue::from),
        any::<u64>().prop_map(GgufValue::from),
        any::<i64>().prop_map(GgufValue::from),
        float().prop_map(GgufValue::from),
        double().prop_map(GgufValue::from),
        any::<bool>().prop_map(GgufValue::from),
        ".{0,12}".prop_map(GgufValue::from),
    ]
}

fn array() -> impl Strategy<Value = GgufValue> {
    prop_oneof![
        vec(any::<u8>(), 0..9).prop_map(GgufValue::from),
        vec(any::<i8>(), 0..9).prop_map(GgufValue::from),
        vec(any::<u16>(), 0..9).prop_map(GgufValue::from),
        vec(any::<i16>(), 0..9).prop_map(GgufValue::from),
        vec(any::<u32>(), 0..9).prop_map(GgufValue::from),
        vec(any::<i32>(), 0..9).prop_map(GgufValue::from),
        vec(any::<u64>(), 0..9).prop_map(GgufValue::from),
        vec(any::<i64>(), 0..9).prop_map(GgufValue::from),
        vec(float(), 0..9).prop_map(GgufValue::from),
        vec(double(), 0..9).prop_map(GgufValue::from),
        vec(any::<bool>(), 0..9).prop_map(GgufValue::from),
        vec(vec(any::<u8>(), 0..9), 0..9).prop_map(byte_strings),
        vec(vec(any::<i16>(), 0..4), 0..4).prop_map(GgufValue::from),
        vec(vec(vec(".{0,3}", 0..3), 0..3), 0..3).prop_map(GgufValue::from),
    ]
}

fn byte_strings(strings: Vec<Vec<u8>>) -> GgufValue {
    GgufValue::Array(8, strings.into_iter().map(GgufValue::String).collect())
}

fn tensor() -> impl Strategy<Value = TensorSeed> {
    let formats: Vec<_> = QuantType::formats().iter().map(|format| format.quant).collect();
    let upper_dims = vec(1u64..4, 0..4);
    (1u64..4, upper_dims, prop::sample::select(formats), any::<u8>()).prop_map(|(blocks, mut dims, quant, start)| {
        dims.insert(0, blocks * quant.format().block_len as u64);
        dims.truncate(4);
        (dims, quant, start)
    })
}

fn tensor_data((dims, quant, start): &TensorSeed) -> Vec<u8> {
    let n_weights = dims.iter().product::<u64>() as usize;
    let n_bytes = n_weights / quant.format().block_len * quant.format().block_bytes;
    (0..n_bytes).map(|i| start.wrapping_add(i as u8)).collect()
}

/// What the reader should make of a written value.
fn expected(value: &GgufValue) -> Value {
    match value {
        GgufValue::U8(v) => Value::U8(*v),
        GgufValue::I8(v) => Value::I8(*v),
        GgufValue::U16(v) => Value::U16(*v),
        GgufValue::I16(v) => Value::I16(*v),
        GgufValue::U32(v) => Value::U32(*v),
        GgufValue::I32(v) => Value::I32(*v),
        GgufValue::U64(v) => Value::U64(*v),
        GgufValue::I64(v) => Value::I64(*v),
        GgufValue::F32(v) => Value::F32(*v),
        GgufValue::F64(v) => Value::F64(*v),
        GgufValue::Bool(v) => Value::Bool(*v),
        GgufValue::String(v) => Value::String(String::from_utf8(v.clone()).expect("strategies make UTF-8")),
        GgufValue::Array(id, items) => Value::Array(expected_array(*id, items)),
        GgufValue::Raw(..) => unreachable!("no strategy makes raw values"),
    }
}

fn expected_array(id: u32, items: &[GgufValue]) -> Array {
    macro_rules! elements {
        ($variant:ident) => {{
            let element = |item: &GgufValue| match item {
                GgufValue::$variant(v) => v.clone(),
                other => panic!("{other:?} in an array of type {id}"),
            };
            Array::$variant(items.iter().map(element).collect())
        }};
    }
    match id {
        0 => elements!(U8),
        1 => elements!(I8),
        2 => elements!(U16),
        3 => elements!(I16),
        4 => elements!(U32),
        5 => elements!(I32),
        6 => elements!(F32),
        7 => elements!(Bool),
        8 => Array::String(expected_strings(items)),
        9 => Array::Array(items.iter().map(expected_nested).collect()),
        10 => elements!(U64),
        11 => elements!(I64),
        12 => elements!(F64),
        _ => panic!("type {id}"),
    }
}

fn expected_nested(item: &GgufValue) -> Array {
    match item {
        GgufValue::Array(id, items) => expected_array(*id, items),
        other => panic!("{other:?} in an array of arrays"),
    }
}

fn expected_strings(items: &[GgufValue]) -> StringArray {
    let mut strings = StringArray::default();
    for item in items {
        match item {
            GgufValue::String(bytes) => strings.push(bytes),
            other => panic!("{other:?} in an array of strings"),
        }
    }
    strings
}

fn written(
    version: u32,
    alignment: u32,
    metadata: &BTreeMap<String, GgufValue>,
    tensors: &BTreeMap<String, TensorSeed>,
) -> Vec<u8> {
    let mut writer = GgufWriter::new().version(version).alignment(alignment);
    for (key, value) in metadata {
        writer = writer.kv(key, value.clone());
    }
    for (name, seed) in tensors {
        writer = writer.tensor(name, &seed.0, seed.1.format().ggml_id, tensor_data(seed));
    }
    writer.to_bytes()
}

fn parse(bytes: &[u8]) -> Gguf {
    Gguf::parse(bytes, bytes.len() as u64).expect("the file is right")
}

proptest! {
    // A failure prints its input; a file of past failures would need a place beside the sources.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_written_comes_back(
        version in 2u32..=3,
        log_alignment in 3u32..=12,
        metadata in btree_map("[a-z_]{1,8}\\.[a-z_.é]{1,8}", prop_oneof![scalar(), array()], 0..12),
        tensors in btree_map("[a-z0-9_.]{1,64}", tensor(), 0..6),
    ) {
        let alignment = 1 << log_alignment;
        let bytes = written(version, alignment, &metadata, &tensors);
        let gguf = parse(&bytes);

        prop_assert_eq!(gguf.version(), version);
        prop_assert_eq!(gguf.file_len(), bytes.len() as u64);
        prop_assert_eq!(gguf.data_offset() % u64::from(alignment), 0);
        let entries: Vec<_> = gguf.metadata().iter().skip(1).map(|(k, v)| (k.to_owned(), v.clone())).collect();
        let wanted: Vec<_> = metadata.iter().map(|(k, v)| (k.clone(), expected(v))).collect();
        prop_assert_eq!(entries, wanted);

        prop_assert_eq!(gguf.tensors().len(), tensors.len());
        for (found, (name, seed)) in gguf.tensors().iter().zip(&tensors) {
            prop_assert_eq!((&found.name, &found.shape, found.quant), (name, &seed.0, seed.1));
            prop_assert_eq!(found.offset % u64::from(alignment), 0);
            let data = &bytes[found.offset as usize..][..found.len as usize];
            prop_assert_eq!(data, &tensor_data(seed)[..]);
            prop_assert_eq!(gguf.tensor(name), Some(found));
        }
        prop_assert_eq!(gguf.tensor("no such tensor"), None);
    }
}

#[test]
fn strings_in_arrays_keep_bytes_that_are_not_utf8() {
    let tokens = byte_strings(vec![vec![0xff, 0xfe], b"ok".to_vec()]);
    let gguf = parse(&GgufWriter::new().kv("tokenizer.ggml.tokens", tokens).to_bytes());
    let tokens = gguf.metadata().strings("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!(tokens.iter().collect::<Vec<_>>(), [&[0xff, 0xfe][..], b"ok"]);
}

#[test]
fn arrays_longer_than_a_chunk_and_strings_longer_than_the_buffer_come_back() {
    let numbers: Vec<u16> = (0..50_000).map(|i| i as u16).collect();
    let text = "0123456789".repeat(50_000);
    let gguf = parse(&GgufWriter::new().kv("numbers", numbers.clone()).kv("text", &text[..]).to_bytes());
    assert_eq!(gguf.metadata().get("numbers"), Some(&Value::Array(Array::U16(numbers))));
    assert_eq!(gguf.metadata().string("text").unwrap(), Some(&text[..]));
}

#[test]
fn a_name_of_64_bytes_and_an_alignment_of_1_are_read() {
    let name = "n".repeat(64);
    let tensor_bytes = [1, 2, 3, 4];
    let bytes =
        GgufWriter::new().alignment(1).kv("odd", 7u8).tensor(&name, &[1], ggml_type::F32, tensor_bytes).to_bytes();
    let gguf = parse(&bytes);
    assert_eq!(&bytes[gguf.tensor(&name).unwrap().offset as usize..], tensor_bytes);
}

#[test]
fn a_split_of_one_part_is_a_whole_file() {
    parse(&GgufWriter::new().kv("split.count", 1u16).to_bytes());
}

#[test]
fn files_that_gguf_split_has_merged_are_a_whole_file() {
    parse(&GgufWriter::new().kv("split.no", 0u16).kv("split.count", 0u16).kv("split.tensors.count", 7i32).to_bytes());
}

#[test]
fn what_has_no_path_is_one_file_without_a_stamp() {
    let bytes = GgufWriter::new().tensor("t", &[1], ggml_type::F32, [0; 4]).to_bytes();
    let gguf = parse(&bytes);
    let [file] = gguf.files() else { panic!("{:?}", gguf.files()) };
    assert_eq!((file.path.as_os_str().len(), file.len, file.stamp), (0, bytes.len() as u64, None));
    assert_eq!(gguf.tensors()[0].file, 0);
}
