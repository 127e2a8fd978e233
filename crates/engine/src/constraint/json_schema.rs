//! Prepares JSON schemas for `llguidance`: limits, and defaults where a schema leaves something open.
//!
//! The library compiles draft 2020-12: `type`, `enum`, `const`, `anyOf`, `allOf`, `$ref` within the schema; bounds and
//! `multipleOf`; lengths, `pattern` and ten `format`s; `items`, `prefixItems` and their number; `properties`, `required`,
//! `patternProperties`, `additionalProperties`. [`complete`] and [`add_options`] add:
//!
//! - White space between tokens is a space, or one or two line ends and an indentation, as with llama.cpp. Without a
//!   bound, a weak model may write spaces without end.
//! - `oneOf` is read as `anyOf`: that no second alternative fits is not checked.
//! - A `format` without a known meaning means nothing, as the standard has it.
//! - An object with `properties` has no others unless `additionalProperties` says so, where no other part of the schema
//!   could name them. The standard would allow any, and a weak model goes on inventing some.
//!
//! Other keywords of the standard (`not`, `if`, `uniqueItems`, `contains`, ...) are errors, since an answer might not
//! obey them; a schema with `"x-guidance": {"lenient": true}` ignores them. That key takes the library's other options too.

use serde_json::{Map, Value, json};

use crate::error::EngineError;

/// Levels of JSON in a schema; what text parsers take as well.
const MAX_DEPTH: usize = 128;

/// Values in a schema.
const MAX_VALUES: usize = 20_000;

/// Members of all objects of a schema; time grows with the square of the properties that one object has.
const MAX_MEMBERS: usize = 6_000;

/// Bytes of all keys and strings of a schema.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// A space, or line ends and an indentation.
const WHITE_SPACE: &str = r" |\n{1,2}[ \t]{0,20}";

/// The formats that the library enforces.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];

/// Keywords with one schema, or with a list of them.
const WITH_SCHEMAS: [&str; 16] = [
    "items",
    "additionalItems",
    "prefixItems",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "allOf",
    "anyOf",
    "oneOf",
    "contentSchema",
];

/// Keywords with an object of schemas.
const WITH_NAMED_SCHEMAS: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/// Keywords whose schemas speak of the same value as the schema that they stand in.
const IN_PLACE: [&str; 8] = ["allOf", "anyOf", "oneOf", "$ref", "if", "then", "else", "dependentSchemas"];

/// The schema with its options, ready to be compiled.
///
/// Errors: the schema is too large, or it refers to something outside itself.
pub(super) fn prepare(schema: &Value) -> Result<Value, EngineError> {
    Ok(add_options(complete(schema)?, Unsupported::Refused))
}

/// The schema with what it leaves unsaid.
///
/// Errors: the schema is too large, or it refers to something outside itself.
pub(super) fn complete(schema: &Value) -> Result<Value, EngineError> {
    check_size(schema)?;
    let mut schema = if *schema == Value::Bool(true) { json!({}) } else { schema.clone() };
    let mut problem = Ok(());
    let mut is_combined = false;
    each_schema(&mut schema, &mut |schema| {
        if let Err(error) = check_reference(schema) {
            problem = Err(error);
        }
        drop_unknown_format(schema);
        is_combined |= schema.contains_key("properties") && IN_PLACE.iter().any(|key| schema.contains_key(*key));
        is_combined |= schema.contains_key("allOf");
    });
    problem?;
    if !is_combined {
        each_schema(&mut schema, &mut close);
    }
    Ok(schema)
}

/// Puts the options of the library on a schema. Those that it has already prevail.
pub(super) fn add_options(mut schema: Value, unsupported: Unsupported) -> Value {
    if let Some(top) = schema.as_object_mut() {
        let mut options = json!({
            "whitespace_pattern": WHITE_SPACE,
            "coerce_one_of": true,
            "lenient": unsupported == Unsupported::Ignored,
        });
        if let (Some(options), Some(Value::Object(own))) = (options.as_object_mut(), top.get("x-guidance")) {
            options.extend(own.clone());
        }
        top.insert("x-guidance".to_owned(), options);
    }
    schema
}

/// The schema with its references as they must be where it is a part of another one, at `place`.
pub(super) fn move_references(mut schema: Value, place: &str) -> Value {
    each_schema(&mut schema, &mut |schema| {
        if let Some(Value::String(target)) = schema.get_mut("$ref") {
            // An empty segment would be looked for by its name.
            let path = target.trim_start_matches('#').trim_end_matches('/');
            *target = format!("{place}{path}");
        }
    });
    schema
}

/// What becomes of keywords that the library does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsupported {
    /// They are errors.
    Refused,
    /// They are left out.
    Ignored,
}

fn check_size(schema: &Value) -> Result<(), EngineError> {
    let (mut n_values, mut n_members, mut n_bytes) = (0, 0, 0);
    let mut left = vec![(schema, 1)];
    while let Some((value, depth)) = left.pop() {
        n_values += 1;
        match value {
            Value::Array(items) => left.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(map) => {
                n_members += map.len();
                n_bytes += map.keys().map(String::len).sum::<usize>();
                left.extend(map.values().map(|value| (value, depth + 1)));
            }
            Value::String(text) => n_bytes += text.len(),
            _ => {}
        }
        let limits = [
            (depth, MAX_DEPTH, "levels"),
            (n_values + left.len(), MAX_VALUES, "values"),
            (n_members, MAX_MEMBERS, "members of objects"),
            (n_bytes, MAX_TEXT_BYTES, "bytes of text"),
        ];
        if let Some((_, max, what)) = limits.into_iter().find(|(n, max, _)| n > max) {
            return Err(EngineError::Grammar { message: format!("the schema has more than {max} {what}") });
        }
    }
    Ok(())
}

fn check_reference(schema: &Map<String, Value>) -> Result<(), EngineError> {
    match schema.get("$ref") {
        Some(Value::String(target)) if target != "#" && !target.starts_with("#/") => {
            let message =
                format!("the schema refers to {target:?}, and only references within it (#/...) are followed");
            Err(EngineError::Grammar { message })
        }
        _ => Ok(()),
    }
}

fn drop_unknown_format(schema: &mut Map<String, Value>) {
    if schema.get("format").is_some_and(|format| format.as_str().is_some_and(|name| !FORMATS.contains(&name))) {
        schema.shift_remove("format");
    }
}

/// Rules out properties that an object's schema does not name.
fn close(schema: &mut Map<String, Value>) {
    let speaks_of_others = ["additionalProperties", "patternProperties", "unevaluatedProperties", "minProperties"];
    if schema.contains_key("properties") && !speaks_of_others.iter().any(|key| schema.contains_key(*key)) {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}

/// Visits a schema and those within it, wherever the standard has them.
fn each_schema(schema: &mut Value, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Some(map) = schema.as_object_mut() else { return };
    visit(map);
    for (key, value) in map {
        match value {
            Value::Object(named) if WITH_NAMED_SCHEMAS.contains(&key.as_str()) => {
                named.values_mut().for_each(|schema| each_schema(schema, visit));
            }
            Value::Array(list) if WITH_SCHEMAS.contains(&key.as_str()) => {
                list.iter_mut().for_each(|schema| each_schema(schema, visit));
            }
            schema if WITH_SCHEMAS.contains(&key.as_str()) => each_schema(schema, visit),
            _ => {}
        }
    }
}
