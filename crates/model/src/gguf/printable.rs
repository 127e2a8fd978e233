//! Makes bytes of a hostile file printable in a one-line message.
//!
//! Names in a file may hold line breaks, terminal escapes or megabytes; messages show them escaped and truncated.

/// Characters of a name that a message shows.
const SHOWN_CHARS: usize = 100;

/// `bytes` as text without control characters, truncated to [`SHOWN_CHARS`].
pub(super) fn printable(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "(empty)".to_owned();
    }
    let start = &bytes[..bytes.len().min(4 * SHOWN_CHARS)];
    let text = String::from_utf8_lossy(start);
    let mut shown: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() || start.len() < bytes.len() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_as_it_is() {
        assert_eq!(printable("blk.0.attn_q.weight".as_bytes()), "blk.0.attn_q.weight");
        assert_eq!(printable(b""), "(empty)");
    }

    #[test]
    fn control_characters_are_escaped_and_length_is_cut() {
        assert_eq!(printable(b"a\x1b[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(printable(&[b'x'; 1000]), "x".repeat(SHOWN_CHARS) + "...");
    }
}
