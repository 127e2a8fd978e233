//! A window hides old keys from the reference except the sinks, and changes nothing else.
//!
//! There is no other program to compare with, so the tests use cases with a known answer: a window that hides nothing, and
//! a window in which each token sees only itself.

use testkit::TinyModel;
use testkit::reference::{Window, logits, windowed_logits};

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn a_window_longer_than_the_text_changes_nothing_and_a_short_one_does() {
    let model = TinyModel::qwen2().build();
    let tokens = [10, 20, 30, 40, 50, 60];
    let full = logits(&model, &tokens);
    assert_eq!(windowed_logits(&model, &tokens, Window { len: 6, n_sinks: 0 }), full);
    assert_eq!(windowed_logits(&model, &tokens, Window { len: 2, n_sinks: 4 }), full);
    let short = windowed_logits(&model, &tokens, Window { len: 3, n_sinks: 0 });
    assert_eq!(short[..3], full[..3]);
    assert!(largest_difference(&short[3], &full[3]) > 1e-3);
}

#[test]
fn a_window_of_one_leaves_each_token_alone() {
    let model = TinyModel::llama().build();
    let alone = windowed_logits(&model, &[7, 8], Window { len: 1, n_sinks: 0 });
    // Alone, a token attends to itself with weight one, wherever it stands.
    assert!(largest_difference(&alone[1], &logits(&model, &[8])[0]) < 1e-9);
}
