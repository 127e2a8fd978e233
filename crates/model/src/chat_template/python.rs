//! Tests, filters and methods of Python's Jinja where the template library differs.
//!
//! The library is close to Python. This module replaces the definition of white space for `strip` and `split` and of
//! sequences, and adds missing methods. `raise_exception` ends the render with the template's message.

use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, escape_formatter, filters};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::json;

/// Adds everything to `environment`.
pub(super) fn install(environment: &mut Environment) {
    environment.set_unknown_method_callback(call_method);
    environment.set_formatter(|out, state, value| match float(value) {
        Some(float) => Ok(out.write_str(&json::python_float(float))?),
        None => escape_formatter(out, state, value),
    });
    environment.add_function("raise_exception", |message: &Value| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.to_string()).with_source(Raised))
    });
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    add_tests(environment);
    add_filters(environment);
}

fn add_tests(environment: &mut Environment) {
    use ValueKind::{Iterable, Map, Seq, String, Undefined};
    environment.add_test("sequence", |value: &Value| matches!(value.kind(), Seq | Map | String | Undefined));
    environment.add_test("iterable", |value: &Value| matches!(value.kind(), Seq | Map | String | Undefined | Iterable));
}

fn add_filters(environment: &mut Environment) {
    environment
        .add_filter("trim", |text: &Value, characters: Option<&str>| strip(&text.to_string(), characters).to_owned());
    environment.add_filter("string", |state: &State, value: &Value| match float(value) {
        Some(float) => Ok(Value::from(json::python_float(float))),
        None => filters::string(state, value),
    });
    environment.add_filter("indent", indent);
    environment.add_filter("list", |state: &State, value: Value| match value.kind() {
        ValueKind::None => Err(Error::new(ErrorKind::InvalidOperation, "none has no items")),
        _ => filters::list(state, value),
    });
    // Python's filters return 0 where the library's fail.
    environment.add_filter(
        "int",
        |state: &State, value: &Value, default: Option<Value>, base: Option<u32>, named: Kwargs| {
            let default = default.or(named.get("default")?).unwrap_or(Value::from(0));
            filters::int(state, value, Some(default), base, named)
        },
    );
    environment.add_filter("float", |state: &State, value: &Value, default: Option<Value>, named: Kwargs| {
        let default = default.or(named.get("default")?).unwrap_or(Value::from(0.0));
        filters::float(state, value, Some(default), named)
    });
}

/// Jinja's `indent`, which keeps a line break at the end.
fn indent(
    state: &State,
    text: &str,
    width: Option<Value>,
    first: Option<bool>,
    named: Kwargs,
) -> Result<String, Error> {
    let width = width.or(named.get("width")?).unwrap_or(Value::from(4));
    let indention = match width.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(usize::try_from(width)?.min(256)),
    };
    let first = first.or(named.get("first")?).unwrap_or(false);
    let blank = named.get::<Option<bool>>("blank")?.unwrap_or(false);
    named.assert_all_used()?;
    let text = format!("{text}\n");
    let lines = lines(&text, false);
    state.consume_fuel((text.len() + lines.len() * indention.len()) as u64 / 64)?;
    let indented = lines.iter().enumerate().map(|(index, line)| {
        let wanted = if index == 0 { first } else { blank || !line.is_empty() };
        if wanted { format!("{indention}{line}") } else { (*line).to_owned() }
    });
    Ok(indented.collect::<Vec<_>>().join("\n"))
}

/// Python's `str.splitlines`.
fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end =
        |c| matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut rest = text;
    let mut lines = Vec::new();
    while !rest.is_empty() {
        let content = rest.find(is_end).unwrap_or(rest.len());
        let end = &rest[content..];
        let end = if end.starts_with("\r\n") { 2 } else { end.chars().next().map_or(0, char::len_utf8) };
        lines.push(&rest[..content + if keep_ends { end } else { 0 }]);
        rest = &rest[content + end..];
    }
    lines
}

/// The value of a float, `None` for an integer.
fn float(value: &Value) -> Option<f64> {
    let is_float = value.kind() == ValueKind::Number && !value.is_integer();
    is_float.then(|| f64::try_from(value.clone()).ok()).flatten()
}

/// Marks the error of `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

/// Whether `error` comes from `raise_exception`.
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
        "split" if arguments.is_empty() => {
            Some(Ok(text.split(is_space).filter(|part| !part.is_empty()).map(Value::from).collect()))
        }
        "splitlines" => Some(split_lines(text, arguments)),
        "rsplit" => Some(split_from_the_end(text, arguments)),
        "partition" => Some(partition(text, arguments)),
        "removeprefix" => Some(with_argument(arguments, |prefix| text.strip_prefix(prefix).unwrap_or(text))),
        "removesuffix" => Some(with_argument(arguments, |suffix| text.strip_suffix(suffix).unwrap_or(text))),
        _ => None,
    }
}

fn split_lines(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (keep_ends,): (Option<bool>,) = from_args(arguments)?;
    Ok(lines(text, keep_ends.unwrap_or(false)).into_iter().map(Value::from).collect())
}

fn split_from_the_end(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (separator, most): (&str, Option<usize>) = from_args(arguments)?;
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let mut parts: Vec<Value> =
        text.rsplitn(most.unwrap_or(text.len()).saturating_add(1), separator).map(Value::from).collect();
    parts.reverse();
    Ok(Value::from(parts))
}

fn partition(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (separator,): (&str,) = from_args(arguments)?;
    let (before, after) = text.split_once(separator).unwrap_or((text, ""));
    let middle = if before.len() == text.len() { "" } else { separator };
    Ok(Value::from(Tuple::from([before, middle, after].map(Value::from))))
}

fn with_argument<'a>(arguments: &[Value], f: impl Fn(&str) -> &'a str) -> Result<Value, Error> {
    let (argument,): (&str,) = from_args(arguments)?;
    Ok(Value::from(f(argument)))
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
