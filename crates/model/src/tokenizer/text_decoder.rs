//! Decodes UTF-8 from a stream whose pieces may end in the middle of a character.
//!
//! A token can be any bytes, so a character may span several tokens. [`TextDecoder`] holds back an unfinished character
//! until the next bytes complete or break it; its concatenated output equals [`String::from_utf8_lossy`] of all bytes.

/// Turns pieces of a byte stream into text, never splitting a character.
#[derive(Clone, Debug, Default)]
pub struct TextDecoder {
    /// The start of a character: at most three bytes.
    pending: Vec<u8>,
}

impl TextDecoder {
    /// Adds bytes and returns the text that they complete; invalid bytes become U+FFFD as soon as that is certain.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut kept = 0;
        let mut chunks = self.pending.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            if chunks.peek().is_none() && is_unfinished(chunk.invalid()) {
                kept = chunk.invalid().len();
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending.drain(..self.pending.len() - kept);
        text
    }

    /// Ends the stream: an unfinished character becomes U+FFFD. The decoder can be reused.
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        rest
    }
}

/// Whether more bytes could complete the invalid run at the end of a text.
fn is_unfinished(invalid: &[u8]) -> bool {
    str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_waits_for_its_last_byte() {
        let mut decoder = TextDecoder::default();
        let pushed: Vec<String> = "a🦀".bytes().map(|byte| decoder.push(&[byte])).collect();
        assert_eq!(pushed, ["a", "", "", "", "🦀"]);
        assert_eq!(decoder.finish(), "");
    }

    #[test]
    fn a_broken_character_is_replaced_as_soon_as_it_is_certain() {
        let mut decoder = TextDecoder::default();
        assert_eq!(decoder.push(b"\xF0\x9F"), "");
        assert_eq!(decoder.push(b"x"), "\u{FFFD}x");
        assert_eq!(decoder.push(b"\x80\xE2\x82"), "\u{FFFD}");
        assert_eq!(decoder.finish(), "\u{FFFD}");
        assert_eq!(decoder.push(b"\xAC"), "\u{FFFD}");
    }
}
