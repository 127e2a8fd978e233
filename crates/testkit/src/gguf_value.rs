//! Metadata values and tensor type numbers of GGUF files.
//!
//! [`GgufValue`] is a metadata value; integers, floats, strings and vectors convert into it. [`ggml_type`] names the tensor
//! type numbers that tests use. Both share no code with the `model` crate, so that a mistake in its reader cannot hide
//! behind the same mistake here.

/// The tensor type numbers of GGUF.
#[expect(missing_docs, reason = "the constants are ggml's own type names")]
pub mod ggml_type {
    pub const F32: u32 = 0;
    pub const F16: u32 = 1;
    pub const Q4_0: u32 = 2;
    pub const Q4_1: u32 = 3;
    pub const Q5_0: u32 = 6;
    pub const Q5_1: u32 = 7;
    pub const Q8_0: u32 = 8;
    pub const Q4_K: u32 = 12;
    pub const Q5_K: u32 = 13;
    pub const Q6_K: u32 = 14;
    pub const BF16: u32 = 30;
}

/// A metadata value, written without any check.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are GGUF's own type names")]
pub enum GgufValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    /// Bytes, so that a test can write what is not UTF-8.
    String(Vec<u8>),
    /// The element type's number, then the elements, which need not agree with it.
    Array(u32, Vec<GgufValue>),
    U64(u64),
    I64(i64),
    F64(f64),
    /// Any type number followed by any bytes.
    Raw(u32, Vec<u8>),
}

/// Conversions and layouts of scalars: their type, the number that is written, the variant, the type number.
macro_rules! scalar_values {
    ($($type:ty, $wire:ty => $variant:ident $id:literal),*) => {
        $(impl From<$type> for GgufValue {
            fn from(value: $type) -> Self {
                GgufValue::$variant(value)
            }
        }
        impl GgufElement for $type {
            const TYPE_ID: u32 = $id;
        })*

        impl GgufValue {
            /// The type number that precedes the value in the file.
            pub(crate) fn type_id(&self) -> u32 {
                match self {
                    $(GgufValue::$variant(_) => $id,)*
                    GgufValue::String(_) => 8,
                    GgufValue::Array(..) => 9,
                    GgufValue::Raw(id, _) => *id,
                }
            }

            /// Appends the value without its type number.
            pub(crate) fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(GgufValue::$variant(v) => out.extend(<$wire>::from(*v).to_le_bytes()),)*
                    GgufValue::String(v) => write_string(out, v),
                    GgufValue::Raw(_, bytes) => out.extend(bytes),
                    GgufValue::Array(element, items) => {
                        out.extend(element.to_le_bytes());
                        out.extend((items.len() as u64).to_le_bytes());
                        items.iter().for_each(|item| item.write(out));
                    }
                }
            }
        }
    };
}
scalar_values!(u8, u8 => U8 0, i8, i8 => I8 1, u16, u16 => U16 2, i16, i16 => I16 3, u32, u32 => U32 4,
    i32, i32 => I32 5, f32, f32 => F32 6, bool, u8 => Bool 7, u64, u64 => U64 10, i64, i64 => I64 11, f64, f64 => F64 12);

impl From<&str> for GgufValue {
    fn from(value: &str) -> Self {
        GgufValue::String(value.as_bytes().to_vec())
    }
}

impl From<String> for GgufValue {
    fn from(value: String) -> Self {
        GgufValue::String(value.into_bytes())
    }
}

/// A Rust type whose vectors convert into a metadata array.
pub trait GgufElement: Into<GgufValue> {
    /// The element type number in the array's header.
    const TYPE_ID: u32;
}

impl GgufElement for &str {
    const TYPE_ID: u32 = 8;
}

impl GgufElement for String {
    const TYPE_ID: u32 = 8;
}

impl<T: GgufElement> GgufElement for Vec<T> {
    const TYPE_ID: u32 = 9;
}

impl<T: GgufElement> From<Vec<T>> for GgufValue {
    fn from(items: Vec<T>) -> Self {
        GgufValue::Array(T::TYPE_ID, items.into_iter().map(Into::into).collect())
    }
}

/// Writes a length and the bytes.
pub(crate) fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}
