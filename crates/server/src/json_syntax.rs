//! Parses JSON, and explains what is wrong with text that is not JSON.
//!
//! `serde_json` reports the position and whether the text ended early; the rest is derived from the text itself. Some messages
//! are worded like those of Go's parser, which Ollama's clients know.

use serde_json::Value;

/// Nested arrays and objects that `serde_json` reads.
const MAX_DEPTH: usize = 127;

/// Parses a body.
///
/// Errors: it is empty or not JSON: what is wrong, and where.
pub(crate) fn parse(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("the request's body is not UTF-8: byte {} is wrong", error.valid_up_to()))?;
    if text.trim_ascii().is_empty() {
        return Err("missing request body".to_owned());
    }
    serde_json::from_str(text)
        .map_err(|error| format!("{}: line {}, column {}", problem(body, &error), error.line(), error.column()))
}

fn problem(body: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let lines_before = body.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1));
    let at = (lines_before.map(<[u8]>::len).sum::<usize>() + error.column()).saturating_sub(1);
    let (Some(&wrong), Some((before, read))) = (body.get(at), body.get(..at).zip(body.get(..=at))) else {
        return "invalid JSON".to_owned();
    };
    if has_half_a_pair(read) {
        let half = "a string has an escape such as \\ud800 alone, which is half a character";
        return format!("{half}: send both halves, or the character itself");
    }
    if is_too_large(read) {
        return "a number is too large".to_owned();
    }
    if open_brackets(read).0.len() > MAX_DEPTH {
        return format!("the JSON is nested too deeply: at most {MAX_DEPTH} levels are read");
    }
    let wanted = match open_brackets(before) {
        (open, b',' | b'{') if open.last() == Some(&b'{') => " looking for beginning of object key string",
        (_, b' ' | b',' | b':' | b'[') => " looking for beginning of value",
        _ => "",
    };
    format!("invalid character '{}'{wanted}", char::from(wrong).escape_default())
}

/// The brackets that are open at the end of a text, and its last byte that is neither white space nor inside a string.
fn open_brackets(text: &[u8]) -> (Vec<u8>, u8) {
    let (mut open, mut last, mut in_string, mut is_escaped) = (Vec::new(), b' ', false, false);
    for &byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => continue,
            b'{' | b'[' => open.push(byte),
            b'}' | b']' => drop(open.pop()),
            _ => {}
        }
        if !(byte.is_ascii_whitespace() || in_string && byte != b'"') {
            last = byte;
        }
    }
    (open, last)
}

/// Whether a text has an escape of half a surrogate pair without the other half.
fn has_half_a_pair(text: &[u8]) -> bool {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(escape).ok()?, 16).ok()
    };
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += found;
        at += match (unit(at), unit(at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => return true,
            _ => 2,
        };
    }
    false
}

/// Whether a text ends with a number that no 64-bit float holds.
fn is_too_large(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let text = text.strip_suffix(b",").unwrap_or(text);
    let start = text.iter().rposition(|byte| !is_part(byte)).map_or(0, |at| at + 1);
    std::str::from_utf8(&text[start..]).is_ok_and(|number| number.parse().is_ok_and(f64::is_infinite))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_read_off_the_text() {
        let deep = "[".repeat(200);
        let cases = [
            (" \n", "missing request body"),
            ("{\"a\":\n 2", "unexpected end of JSON input: line 2, column 2"),
            ("{bad", "invalid character 'b' looking for beginning of object key string: line 1, column 2"),
            ("{\"a\": 1,}", "invalid character '}' looking for beginning of object key string: line 1, column 9"),
            ("{\"a\": bad}", "invalid character 'b' looking for beginning of value: line 1, column 7"),
            ("[1,\n]", "invalid character ']' looking for beginning of value: line 2, column 1"),
            ("{} 2", "invalid character '2': line 1, column 4"),
            ("{\"a\" 1}", "invalid character '1': line 1, column 6"),
            ("[\"a\nb\"]", "invalid character '\\n'"),
            ("[\"\\ud800\"]", "a string has an escape such as \\ud800 alone"),
            ("[\"\\udc00\"]", "a string has an escape such as \\ud800 alone"),
            ("[\"\\ud83dx\"]", "a string has an escape such as \\ud800 alone"),
            ("[\"\\ud800\\u0041\"]", "a string has an escape such as \\ud800 alone"),
            ("[\"\\ud83d\\ude00\\\\ud800\" 1]", "invalid character '1'"),
            ("[1e999]", "a number is too large: line 1"),
            ("[1e999, 2]", "a number is too large: line 1"),
            (&deep, "the JSON is nested too deeply: at most 127 levels are read: line 1, column 128"),
        ];
        for (text, words) in cases {
            let problem = parse(text.as_bytes()).unwrap_err();
            assert!(problem.starts_with(words), "{text}: {problem}");
        }
        assert_eq!(parse(b"\"\xff\"").unwrap_err(), "the request's body is not UTF-8: byte 1 is wrong");
        let deepest = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse(deepest.as_bytes()).is_ok() && parse(b" {\"a\": \"\\ud83d\\ude00\"} ").is_ok());
    }
}
