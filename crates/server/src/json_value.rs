//! A serde deserializer over a JSON value, with errors for clients: what a value must be, and what it is.
//!
//! `serde_json` words its errors for programmers ("invalid type: map, expected a sequence"). This deserializer knows which type
//! was requested when it refuses a value, so its messages depend on no other crate's wording. Only enums that serde buffers
//! first (tagged and untagged ones) are described by the `expecting` attribute of their type.

use serde::de::value::{BorrowedStrDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

/// A value to read.
#[derive(Clone, Copy)]
pub(crate) struct JsonValue<'a>(pub(crate) &'a Value);

/// What is wrong with a value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongValue(String);

impl JsonValue<'_> {
    fn refuse<T>(self, wanted: &str) -> Result<T, WrongValue> {
        Err(WrongValue(format!("it must be {wanted}, not {}", shown(self.unexpected()))))
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => Unexpected::Unsigned(value),
                (_, Some(value)) => Unexpected::Signed(value),
                _ => Unexpected::Float(number.as_f64().unwrap_or(f64::INFINITY)),
            },
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        }
    }
}

/// A number or a word as it is, and the kind of anything longer.
fn shown(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(_) => "a string".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}

impl Error for WrongValue {
    fn custom<T: std::fmt::Display>(message: T) -> WrongValue {
        WrongValue(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> WrongValue {
        WrongValue(format!("it must be {wanted}, not {}", shown(found)))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> WrongValue {
        WrongValue::invalid_type(found, wanted)
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> WrongValue {
        let known: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
        WrongValue(format!("{name:?} is not known here: use one of {}", known.join(", ")))
    }

    fn missing_field(name: &'static str) -> WrongValue {
        WrongValue(format!("{name} is missing"))
    }
}

impl<'de> IntoDeserializer<'de, WrongValue> for JsonValue<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Methods for types that are read by one visit of what a pattern finds, and are refused otherwise.
macro_rules! read_as {
    ($($method:ident: $pattern:pat => $value:expr, $visit:ident, $wanted:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongValue> {
            match self.0 {
                $pattern => match $value {
                    Some(value) => visitor.$visit(value),
                    None => self.refuse($wanted),
                },
                _ => self.refuse($wanted),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for JsonValue<'de> {
    type Error = WrongValue;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongValue> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(_) => self.deserialize_bool(visitor),
            Value::Number(number) if number.is_u64() => self.deserialize_u64(visitor),
            Value::Number(number) if number.is_i64() => self.deserialize_i64(visitor),
            Value::Number(_) => self.deserialize_f64(visitor),
            Value::String(_) => self.deserialize_str(visitor),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    read_as! {
        deserialize_bool: Value::Bool(value) => Some(*value), visit_bool, "true or false";
        deserialize_i64: Value::Number(number) => number.as_i64(), visit_i64, "a whole number";
        deserialize_u32: Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()), visit_u32,
            "a whole number from 0 to 4294967295";
        deserialize_u64: Value::Number(number) => number.as_u64(), visit_u64, "a whole number from 0 up";
        deserialize_f32: Value::Number(number) => number.as_f64(), visit_f64, "a number";
        deserialize_f64: Value::Number(number) => number.as_f64(), visit_f64, "a number";
        deserialize_str: Value::String(text) => Some(text), visit_borrowed_str, "a string";
        deserialize_string: Value::String(text) => Some(text), visit_borrowed_str, "a string";
        deserialize_identifier: Value::String(text) => Some(text), visit_borrowed_str, "a string";
        deserialize_seq: Value::Array(all) => Some(SeqDeserializer::new(all.iter().map(JsonValue))), visit_seq, "an array";
        deserialize_map: Value::Object(all) =>
            Some(MapDeserializer::new(all.iter().map(|(name, value)| (name.as_str(), JsonValue(value))))), visit_map,
            "an object";
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongValue> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongValue> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(BorrowedStrDeserializer::new(name)),
            _ => self.refuse("a string"),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongValue> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, WrongValue> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u128 char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any
    }
}
