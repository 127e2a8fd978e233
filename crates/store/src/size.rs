//! Sizes in messages, rounded up so that a budget that a message names is large enough.

/// Bytes for people to read.
pub fn show(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let bytes = bytes as f64;
    match bytes {
        b if b >= f64::from(1 << 30) => format!("{:.2} GiB", (b / f64::from(1 << 30) * 100.0).ceil() / 100.0),
        b => format!("{:.1} MiB", (b / f64::from(1 << 20) * 10.0).ceil() / 10.0),
    }
}

/// Bytes as the flags accept them.
pub fn flag(bytes: u64) -> String {
    show(bytes).replace(" GiB", "G").replace(" MiB", "M")
}
