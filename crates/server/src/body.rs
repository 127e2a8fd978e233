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
    let value: Value = serde_json::from_slice(body).map_err(|error| Failure::bad(syntax(body, &error)))?;
    // A list would be taken for the fields in their order.
    if !value.is_object() {
        return Err(Failure::bad("the request's body must be a JSON object"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| match error.path().to_string() {
        path if path == "." => Failure::bad(in_words(error.inner())),
        path => {
            let message = format!("{path}: {}", in_words(error.inner()));
            Failure::bad_field(path, message)
        }
    })
}

/// Reads a value that is at `place` in a request.
///
/// Errors: it, or something in it, has the wrong type: where, and what it should be.
pub(crate) fn read_part<T: DeserializeOwned>(place: &str, value: &Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inside = error.path().to_string();
        let place = if inside == "." { place.to_owned() } else { format!("{place}.{inside}") };
        format!("{place}: {}", in_words(error.inner()))
    })
}

/// A syntax error in the words of the Go programs that clients were written against, and where it is.
fn syntax(body: &[u8], error: &serde_json::Error) -> String {
    let problem = error.to_string();
    for (mark, words) in [
        ("surrogate", HALF_A_PAIR),
        ("end of hex escape", HALF_A_PAIR),
        ("recursion limit", "the JSON has more levels than the 128 that are read"),
        ("unicode code point", "the request's body is not UTF-8"),
        ("number out of range", "a number is too large"),
    ] {
        if problem.contains(mark) {
            return format!("{words}: line {}, column {}", error.line(), error.column());
        }
    }
    let line_start =
        body.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum::<usize>();
    let at = (line_start + error.column()).saturating_sub(1);
    match body.get(at) {
        Some(byte) if !error.is_eof() => {
            let shown = char::from(*byte).escape_default();
            let wanted = if problem.starts_with("key must be a string") { "object key string" } else { "value" };
            format!("invalid character '{shown}' looking for beginning of {wanted}: {problem}")
        }
        _ => format!("unexpected end of JSON input: {problem}"),
    }
}

const HALF_A_PAIR: &str = "a string has an escape such as \\ud800 alone, which is half a character: send both halves, or the character itself";

/// What is wrong with a value, in words of JSON and not of the types that read it.
fn in_words(error: &serde_json::Error) -> String {
    let problem = error.to_string();
    let wrong = problem.strip_prefix("invalid type: ").or_else(|| problem.strip_prefix("invalid value: "));
    if let Some((found, wanted)) = wrong.and_then(|wrong| wrong.split_once(", expected ")) {
        return format!("it must be {}, not {}", kind(wanted), shown(found));
    }
    if let Some(name) = problem.strip_prefix("missing field ") {
        return format!("{} is missing", name.replace('`', ""));
    }
    if let Some((name, known)) =
        problem.strip_prefix("unknown variant `").and_then(|rest| rest.split_once("`, expected "))
    {
        let known = known.trim_start_matches("one of ").replace('`', "\"").replace(" or ", ", ");
        return format!("{name:?} is not known here: use one of {known}");
    }
    match problem.strip_prefix("expected ") {
        Some(wanted) => format!("it must be {wanted}"),
        None => problem,
    }
}

/// What a type is read from.
fn kind(wanted: &str) -> &str {
    match wanted {
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        "string or map" => "a string",
        "f32" | "f64" => "a number",
        "u32" => "a whole number from 0 to 4294967295",
        "usize" | "u64" => "a whole number from 0 up",
        "i64" => "a whole number",
        kind if kind.starts_with("struct ") || kind.starts_with("internally tagged enum ") => "an object",
        other => other,
    }
}

/// What was there: a number or a word as it is, and the kind of anything longer.
fn shown(found: &str) -> &str {
    match found {
        "map" => "an object",
        "sequence" => "an array",
        text if text.starts_with("string ") => "a string",
        other => other.split('`').nth(1).unwrap_or(other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_say_what_is_wrong() {
        let message = |text: &'static str| {
            read::<BTreeMap<String, u32>>(&Bytes::from_static(text.as_bytes())).unwrap_err().message
        };
        assert_eq!(message(" \n"), "missing request body");
        assert!(message("{\"a\": bad}").starts_with("invalid character 'b'"), "{}", message("{\"a\": bad}"));
        assert!(message("{\"a\":\n 2").starts_with("unexpected end of JSON input"));
        assert_eq!(message("{\"a\":\"1\"}"), "a: it must be a whole number from 0 to 4294967295, not a string");
        assert_eq!(message("[]"), "the request's body must be a JSON object");
        let wrong = read::<BTreeMap<String, u32>>(&Bytes::from_static(b"{\"a\": \"1\"}")).unwrap_err();
        assert_eq!(wrong.param.as_deref(), Some("a"));
        assert!(message("7").contains("must be a JSON object"));
        assert!(message("{} 2").starts_with("invalid character '2'"));
        for half in ["\\ud800", "\\udc00", "\\ud83dx", "\\ud800\\u0041"] {
            let body = Bytes::from(format!("{{\"a\": \"{half}\"}}"));
            assert!(read::<Value>(&body).unwrap_err().message.starts_with(HALF_A_PAIR), "{half}");
        }
        assert!(
            read::<Value>(&Bytes::from(format!("{{\"a\":{}", "[".repeat(500)))).unwrap_err().message.contains("128")
        );
        assert_eq!(read::<Value>(&Bytes::from_static(b" {} ")).unwrap(), json!({}));
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        list: Vec<Inner>,
        flag: Option<bool>,
        word: Option<Word>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "type", rename_all = "lowercase")]
    enum Inner {
        Text { text: String },
        Number { n: f64 },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Yes,
        No,
    }

    #[test]
    fn types_are_named_as_json_has_them() {
        let right = json!({ "list": [{ "type": "text", "text": "a" }, { "type": "number", "n": 1 }], "word": "yes" });
        let list = vec![Inner::Text { text: "a".to_owned() }, Inner::Number { n: 1.0 }];
        let outer = Outer { list, flag: None, word: Some(Word::Yes) };
        assert_eq!(read::<Outer>(&Bytes::from(right.to_string())).unwrap(), outer);
        let cases = [
            (json!({}), "list is missing"),
            (json!({ "list": {} }), "list: it must be an array, not an object"),
            (json!({ "list": [1] }), "list[0]: it must be an object, not 1"),
            (json!({ "list": [{}] }), "list[0]: type is missing"),
            (
                json!({ "list": [{ "type": "x" }] }),
                "list[0].type: \"x\" is not known here: use one of \"text\", \"number\"",
            ),
            (json!({ "list": [{ "type": "text" }] }), "list[0]: text is missing"),
            (json!({ "list": [{ "type": "text", "text": null }] }), "list[0]: it must be a string, not null"),
            (json!({ "list": [], "flag": "yes" }), "flag: it must be true or false, not a string"),
            (json!({ "list": [], "flag": 1.5 }), "flag: it must be true or false, not 1.5"),
            (json!({ "list": [], "word": true }), "word: it must be a string, not true"),
            (json!({ "list": [], "word": "maybe" }), "word: \"maybe\" is not known here: use one of \"yes\", \"no\""),
        ];
        for (body, words) in cases {
            assert_eq!(read::<Outer>(&Bytes::from(body.to_string())).unwrap_err().message, words, "{body}");
        }
        let part = read_part::<Outer>("input[3]", &json!({ "list": [], "flag": [] })).unwrap_err();
        assert_eq!(part, "input[3].flag: it must be true or false, not an array");
    }
}
