//! Reads request bodies as JSON, whatever the content type says: `curl -d` says it is a form.
//!
//! [`crate::json_syntax`] explains text that is not JSON, [`crate::json_value`] values of the wrong type.

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::failure::Failure;
use crate::json_syntax;
use crate::json_value::JsonValue;

/// The largest body.
pub(crate) const MAX_BODY_BYTES: usize = 8 << 20;

/// Reads a body.
///
/// Errors: it is empty or not JSON, or a field has the wrong type; the message names the field, the problem and what is allowed.
pub(crate) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    let value = json_syntax::parse(body).map_err(Failure::bad)?;
    // Serde would read an array as the fields in their order.
    if !value.is_object() {
        return Err(Failure::bad("the request's body must be a JSON object"));
    }
    read_at("", &value).map_err(|(place, message)| match place.is_empty() {
        true => Failure::bad(message),
        false => Failure::bad_field(place, message),
    })
}

/// Reads a value that is at `place` in a request.
///
/// Errors: it, or something in it, has the wrong type: where, and what is allowed.
pub(crate) fn read_part<T: DeserializeOwned>(place: &str, value: &Value) -> Result<T, String> {
    read_at(place, value).map_err(|(_, message)| message)
}

/// Reads a value; an error has the place of the problem and the whole message.
fn read_at<T: DeserializeOwned>(place: &str, value: &Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(JsonValue(value)).map_err(|error| {
        let place = place_of(place, error.path());
        let message = if place.is_empty() { error.inner().to_string() } else { format!("{place}: {}", error.inner()) };
        (place, message)
    })
}

/// `messages[0].role`.
fn place_of(start: &str, path: &Path) -> String {
    path.iter().fold(start.to_owned(), |place, segment| match segment {
        Segment::Seq { index } => format!("{place}[{index}]"),
        Segment::Map { key } if place.is_empty() => key.clone(),
        Segment::Map { key } => format!("{place}.{key}"),
        Segment::Enum { .. } | Segment::Unknown => place,
    })
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
        assert_eq!(read::<Value>(&Bytes::from_static(b" {} ")).unwrap(), json!({}));
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        list: Vec<Inner>,
        flag: Option<bool>,
        word: Option<Word>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "type", rename_all = "lowercase", expecting = "an object")]
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
