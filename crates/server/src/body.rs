//! Request bodies: JSON whatever the content type says, since `curl -d` says it is a form.

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::Failure;

/// The most that a request may bring.
pub(crate) const MAX_BODY_BYTES: usize = 8 << 20;

/// Reads a body.
///
/// Errors: it is empty, no JSON, or a field has the wrong type, which is then named; Ollama's clients know the first two by
/// their words.
pub(crate) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::bad("missing request body"));
    }
    // A list would be taken for the fields in their order.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        let problem = |error| syntax(body, &error);
        let not_an_object = |_| "the request's body must be a JSON object".to_owned();
        return Err(Failure::bad(serde_json::from_slice::<Value>(body).map_or_else(problem, not_an_object)));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| (error.path().to_string(), error.into_inner()));
    let value = read.map_err(|(path, error)| match error.classify() {
        serde_json::error::Category::Data if path == "." => Failure::bad(format!("the request is not right: {error}")),
        serde_json::error::Category::Data => {
            let message = format!("a field has the wrong type: {path}: {error}");
            Failure::bad_field(path, message)
        }
        _ => Failure::bad(syntax(body, &error)),
    })?;
    reader.end().map_err(|error| Failure::bad(syntax(body, &error)))?;
    Ok(value)
}

/// A syntax error in the words of the Go programs that clients were written against, and where it is.
fn syntax(body: &[u8], error: &serde_json::Error) -> String {
    let line_start =
        body.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum::<usize>();
    let at = (line_start + error.column()).saturating_sub(1);
    match body.get(at) {
        Some(byte) if !error.is_eof() => {
            let shown = char::from(*byte).escape_default();
            let is_key = error.to_string().starts_with("key must be a string");
            let wanted = if is_key { "object key string" } else { "value" };
            format!("invalid character '{shown}' looking for beginning of {wanted}: {error}")
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
        let wrong = read::<BTreeMap<String, u32>>(&Bytes::from_static(b"{\"a\": \"1\"}")).unwrap_err();
        assert_eq!(wrong.param.as_deref(), Some("a"));
        assert!(message("7").contains("must be a JSON object"));
        assert!(message("{} 2").starts_with("invalid character '2'"));
        assert_eq!(read::<Value>(&Bytes::from_static(b" {} ")).unwrap(), serde_json::json!({}));
    }
}
