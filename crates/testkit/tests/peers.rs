//! Compares the oracle with independent programs.
//!
//! An engine is correct if it agrees with the f64 reference, so the reference must not share the engine's mistakes.
//! `data/blocks.txt` has random blocks of every quantised type as decoded by the Python package gguf 0.19,
//! `data/logits.txt` logits of tiny F32 models computed by llama.cpp (llama-cpp-python 0.3.36): grouped and single key
//! heads, tied and separate output, biases, linear and per-frequency position scaling, both rope layouts. `data/record.py`
//! recorded both.

use testkit::compare::max_abs_diff;
use testkit::{TensorType, TinySpec, reference};

#[test]
fn blocks_decode_as_the_gguf_package_decodes_them() {
    let mut n_blocks = 0;
    for line in include_str!("data/blocks.txt").lines() {
        let mut fields = line.split(' ');
        let name = fields.next().unwrap();
        let tensor_type = TensorType::ALL.into_iter().find(|t| format!("{t:?}") == name).expect("a known type");
        let hex = fields.next().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
        let expected: Vec<f64> =
            fields.map(|bits| f64::from(f32::from_bits(u32::from_str_radix(bits, 16).unwrap()))).collect();

        let found = tensor_type.dequantise(&bytes);
        assert_eq!(found.len(), expected.len());
        // The package rounds each step to f32; the largest term of a block bounds what that can cost.
        let largest = expected.iter().fold(0.0f64, |max, w| max.max(w.abs()));
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!((found - expected).abs() <= 2e-7 * largest, "{name} weight {i}: {found}, not {expected}");
        }
        n_blocks += 1;
    }
    assert_eq!(n_blocks, 32, "no block was left out");
}

#[test]
fn logits_are_those_of_llama_cpp() {
    let mut n_models = 0;
    for line in include_str!("data/logits.txt").lines() {
        let [settings, tokens, expected] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let tokens: Vec<u32> = tokens.split(',').map(|id| id.parse().unwrap()).collect();
        let logits = reference::logits(&TinySpec::from_line(settings).build(), &tokens).pop().unwrap();
        let expected: Vec<f32> = expected.split(' ').map(|logit| logit.parse().unwrap()).collect();
        // llama.cpp computes in f32; the largest difference seen was 2.3e-6 with logits of about one.
        let difference = max_abs_diff(&expected, &logits[..expected.len()]);
        assert!(difference < 1e-5, "{settings}: a logit differs by {difference:.1e}");
        n_models += 1;
    }
    assert_eq!(n_models, 6, "no model was left out");
}
