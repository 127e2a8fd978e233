//! Request bodies: JSON whatever the content type says, since `curl -d` says it is a form.

use axum::body::Bytes;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// The most that a request may bring.
pub(crate) const MAX_BODY_BYTES: usize = 8 << 20;

/// Reads a body.
///
/// Errors: it is empty, no JSON, or a field has the wrong type; Ollama's clients know the first two by their words.
pub(crate) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::bad("missing request body"));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Failure::bad(format!("a field has the wrong type: {error}")),
        _ => Failure::bad(syntax(body, &error)),
    })
}

/// A syntax error in the words of the Go programs that clients were written against, and where it is.
fn syntax(body: &[u8], error: &serde_json::Error) -> String {
    let line_start =
        body.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum::<usize>();
    let at = (line_start + error.column()).saturating_sub(1);
    match body.get(at) {
        Some(byte) if !error.is_eof() => {
            let shown = char::from(*byte).escape_default();
            format!("invalid character '{shown}' in the request's JSON: {error}")
        }
        _ => format!("unexpected end of JSON input: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn errors_say_what_is_wrong() {
        let message = |text: &'static str| read::<Vec<u32>>(&Bytes::from_static(text.as_bytes())).unwrap_err().message;
        assert_eq!(message(" \n"), "missing request body");
        assert!(message("[1, bad]").starts_with("invalid character 'b'"), "{}", message("[1, bad]"));
        assert!(message("[1,\n 2").starts_with("unexpected end of JSON input"));
        assert!(message("[\"1\"]").starts_with("a field has the wrong type"));
        assert_eq!(read::<Value>(&Bytes::from_static(b" {} ")).unwrap(), serde_json::json!({}));
    }
}
