//! Sizes as users write and read them: `8G`, `1.5G`, `512M`, in powers of 1024.

/// Bytes of a size.
///
/// Errors: not a positive number with an optional unit.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let explain = || "must be a size such as 8G, 1.5G or 512M".to_owned();
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1u64,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1 << 40,
        _ => return Err(explain()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| explain())?;
    #[expect(clippy::cast_precision_loss, reason = "units are powers of two")]
    let bytes = number * unit as f64;
    if !bytes.is_finite() || !(1.0..1e18).contains(&bytes) {
        return Err(explain());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(bytes as u64)
}

/// Bytes in a readable unit.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn show(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.2} {}", UNITS[unit]),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units_and_fractions() {
        for (text, bytes) in [("1", 1), ("2K", 2048), ("1.5G", 3 << 29), ("8gib", 8 << 30), ("512 MB", 512 << 20)] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "G", "-1G", "0", "1X", "NaN", "inf", "1e30G", "1.5.2M"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [(12, "12 B"), (1536, "1.50 KiB"), (98 << 20, "98.0 MiB"), (5 << 29, "2.50 GiB")] {
            assert_eq!(show(bytes), text);
        }
    }
}
