//! The alphabet of byte-level BPE: a visible character for each of the 256 bytes.
//!
//! A byte that is printable in Latin-1 stands for itself; the other 68 map to U+0100 and up, in order: a space is `Ġ`, a
//! newline `Ċ`. Source: `bytes_to_unicode` of the GPT-2 release.

use std::borrow::Cow;

const CHARS: [char; 256] = chars();

const fn chars() -> [char; 256] {
    let mut chars = ['\0'; 256];
    let (mut byte, mut hidden) = (0u8, 0u8);
    loop {
        chars[byte as usize] = if prints(byte) {
            byte as char
        } else {
            hidden += 1;
            char::from_u32(0xFF + hidden as u32).expect("68 characters from U+0100 on exist")
        };
        if byte == u8::MAX {
            return chars;
        }
        byte += 1;
    }
}

const fn prints(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The character that spells `byte`.
pub(super) fn char_of(byte: u8) -> char {
    CHARS[byte as usize]
}

fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    let printed = u8::try_from(code).ok().filter(|&byte| prints(byte));
    printed.or_else(|| (0x100..0x144).contains(&code).then(|| (0..=u8::MAX).find(|&byte| char_of(byte) == c)).flatten())
}

/// The bytes that a token's text spells; characters outside the alphabet and invalid UTF-8 stand for themselves.
pub(super) fn bytes_of(text: &[u8]) -> Cow<'_, [u8]> {
    let Ok(chars) = str::from_utf8(text) else { return Cow::Borrowed(text) };
    if text.iter().all(u8::is_ascii_graphic) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in chars.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        for byte in 0..=u8::MAX {
            let text = char_of(byte).to_string();
            assert_eq!(bytes_of(text.as_bytes()).as_ref(), [byte]);
        }
    }

    #[test]
    fn the_alphabet_is_that_of_gpt2() {
        assert_eq!([b' ', b'\n', b'a', 0, 0xAD, 0xFF].map(char_of), ['Ġ', 'Ċ', 'a', 'Ā', 'Ń', 'ÿ']);
    }

    #[test]
    fn what_is_outside_the_alphabet_spells_itself() {
        assert_eq!(bytes_of("Ġ中".as_bytes()).as_ref(), " 中".as_bytes());
        assert_eq!(bytes_of(b"a b").as_ref(), b"a b");
        assert_eq!(bytes_of(b"\xFFa").as_ref(), b"\xFFa");
    }
}
