//! Shorthand for JSON schemas.

use serde_json::{Map, Value, json};

/// Anything.
pub(crate) fn any() -> Value {
    json!({})
}

pub(crate) fn text() -> Value {
    json!({ "type": "string" })
}

pub(crate) fn flag() -> Value {
    json!({ "type": "boolean" })
}

pub(crate) fn number() -> Value {
    json!({ "type": "number" })
}

/// A whole number from 0 up.
pub(crate) fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

/// A time in RFC 3339 format.
pub(crate) fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// A constant.
pub(crate) fn only(value: &str) -> Value {
    json!({ "type": "string", "const": value })
}

/// One of some words.
pub(crate) fn word(values: &[&str]) -> Value {
    json!({ "type": "string", "enum": values })
}

pub(crate) fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

/// An object with arbitrary field names.
pub(crate) fn map(of: Value) -> Value {
    json!({ "type": "object", "additionalProperties": of })
}

pub(crate) fn nullable(of: Value) -> Value {
    json!({ "anyOf": [of, { "type": "null" }] })
}

pub(crate) fn either(of: &[Value]) -> Value {
    json!({ "anyOf": of })
}

/// An object with exactly these fields.
pub(crate) fn object(fields: Value) -> Value {
    object_with(fields, json!({}))
}

/// An object with required and optional fields, and no others.
pub(crate) fn object_with(required: Value, optional: Value) -> Value {
    let (Value::Object(required), Value::Object(optional)) = (required, optional) else {
        unreachable!("fields are written as an object")
    };
    let names: Vec<&String> = required.keys().collect();
    let mut object = json!({ "type": "object", "required": names, "additionalProperties": false });
    object["properties"] = required.into_iter().chain(optional).collect::<Map<_, _>>().into();
    object
}

/// An event whose data is JSON.
pub(crate) fn event(data: Value) -> Value {
    let data = json!({ "type": "string", "contentMediaType": "application/json", "contentSchema": data });
    object_with(json!({ "data": data }), json!({ "event": text() }))
}

/// A reference to a named schema.
pub(crate) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}
