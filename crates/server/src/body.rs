//! Request bodies: JSON whatever the content type says, since `curl -d` says it is a form.

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

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
    // A list would be taken for the fields in their order.
    let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    match serde_json::from_slice::<Value>(body) {
        Err(error) => Err(Failure::bad(syntax(body, &error))),
        Ok(_) if !is_object => Err(Failure::bad("the request's body must be a JSON object")),
        Ok(value) => {
            serde_json::from_value(value).map_err(|e| Failure::bad(format!("a field has the wrong type: {e}")))
        }
    }
}

/// A syntax error in the words of the Go programs that clients were written against, and where it is.
fn syntax(body: &[u8], error: &serde_json::Error) -> String {
    let line_start =
        body.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum::<usize>();
    let at = (line_start + error.column()).saturating_sub(1);
    match body.get(at) {
        Some(byte) if !error.is_eof() => {
            let shown = char::from(*byte).escape_default();
            format!("invalid character '{shown}' looking for beginning of value: {error}")
        }
        _ => format!("unexpected end of JSON input: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn errors_say_what_is_wrong() {
        let message = |text: &'static str| {
            read::<BTreeMap<String, u32>>(&Bytes::from_static(text.as_bytes())).unwrap_err().message
        };
        assert_eq!(message(" \n"), "missing request body");
        assert!(message("{\"a\": bad}").starts_with("invalid character 'b'"), "{}", message("{\"a\": bad}"));
        assert!(message("{\"a\":\n 2").starts_with("unexpected end of JSON input"));
        assert!(message("{\"a\":\"1\"}").starts_with("a field has the wrong type"));
        assert_eq!(message("[]"), "the request's body must be a JSON object");
        assert_eq!(read::<Value>(&Bytes::from_static(b" {} ")).unwrap(), serde_json::json!({}));
    }
}
