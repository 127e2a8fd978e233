//! Where Python's Jinja differs from the template library: tests, filters and methods.
//!
//! The library is close to Python already. Replaced here: what counts as white space for `strip` and `split`, which
//! values are sequences, and methods that it lacks. `raise_exception` ends the render with the template's own message.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Adds everything to `environment`.
pub(super) fn install(environment: &mut Environment) {
    environment.set_unknown_method_callback(call_method);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised))
    });
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined)
    });
    environment
        .add_filter("trim", |text: String, characters: Option<String>| strip(&text, characters.as_deref()).to_owned());
}

/// Marks the error of `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

/// Whether the template raised `error` itself.
pub(super) fn raised(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<Raised>())
}

fn call_method(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str()
        && let Some(result) = string_method(text, method, arguments)
    {
        return result;
    }
    unknown_method_callback(state, value, method, arguments)
}

fn string_method(text: &str, method: &str, arguments: &[Value]) -> Option<Result<Value, Error>> {
    match method {
        "strip" => Some(with_characters(arguments, |c| strip(text, c))),
        "lstrip" => Some(with_characters(arguments, |c| strip_start(text, c))),
        "rstrip" => Some(with_characters(arguments, |c| strip_end(text, c))),
        _ => None,
    }
}

fn with_characters<'a>(arguments: &[Value], f: impl Fn(Option<&str>) -> &'a str) -> Result<Value, Error> {
    let (characters,): (Option<&str>,) = from_args(arguments)?;
    Ok(Value::from(f(characters)))
}

fn strip<'a>(text: &'a str, characters: Option<&str>) -> &'a str {
    strip_end(strip_start(text, characters), characters)
}

fn strip_start<'a>(text: &'a str, characters: Option<&str>) -> &'a str {
    match characters {
        None => text.trim_start_matches(is_space),
        Some(set) => text.trim_start_matches(|c| set.contains(c)),
    }
}

fn strip_end<'a>(text: &'a str, characters: Option<&str>) -> &'a str {
    match characters {
        None => text.trim_end_matches(is_space),
        Some(set) => text.trim_end_matches(|c| set.contains(c)),
    }
}

/// Python's `str.isspace`: Unicode's white space and the four separators of ASCII.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}
