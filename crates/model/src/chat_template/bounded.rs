//! Limits on the values that a template builds.
//!
//! Fuel does not measure how deep a value is, nor how often it holds the same part: a list that holds itself twice,
//! sixty times over, takes sixty steps to build and forever to print. The template library also recurses on the depth of
//! a value to print, compare and drop it. So `source` sends every value that is assigned or looped over through a filter
//! of this module, which walks it once at a cost of one unit of fuel per container.
//!
//! Slices, `reverse` and `list * n` are lazy: each is an iterator over the value before it. An assignment turns them into
//! lists, so that a loop cannot grow a chain of them.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// The filter around the value that `set` assigns to a variable.
pub(super) const ASSIGNED: &str = "__assigned";
/// The filter around the value that `set` assigns to an attribute of a namespace.
pub(super) const STORED: &str = "__stored";
/// The filter around the value that `for` loops over.
pub(super) const ITERATED: &str = "__iterated";
/// How deep lists and mappings nest. The JSON of a request may be 128 deep.
const MAX_DEPTH: usize = 160;
/// The levels that a lazy value inside a container counts as: it may be a chain of hundreds.
const LAZY_LEVELS: usize = 16;

/// Adds the filters, and removes those of the library that build chains of mappings; Jinja has neither.
pub(super) fn install(environment: &mut Environment) {
    environment.add_filter(ASSIGNED, assigned);
    environment.add_filter(STORED, stored);
    environment.add_filter(ITERATED, iterated);
    environment.remove_filter("chain");
    environment.remove_filter("zip");
}

fn assigned(state: &State, value: Value) -> Result<Value, Error> {
    walk(state, &value, 0)?;
    if value.kind() == ValueKind::Iterable { Ok(value.try_iter()?.collect()) } else { Ok(value) }
}

fn stored(state: &State, value: Value) -> Result<Value, Error> {
    if is_mutable(&value) {
        return Err(holds_itself());
    }
    assigned(state, value)
}

/// Python refuses to loop over these; the library treats them as empty lists.
fn iterated(state: &State, value: Value) -> Result<Value, Error> {
    match value.kind() {
        kind @ (ValueKind::None | ValueKind::Bool | ValueKind::Number) => {
            Err(invalid(format!("cannot loop over {kind}")))
        }
        _ => assigned(state, value),
    }
}

fn walk(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
        return Ok(());
    }
    if depth > MAX_DEPTH {
        return Err(invalid(format!("a value is nested more than {MAX_DEPTH} deep")));
    }
    if depth > 0 && is_mutable(value) {
        return Err(holds_itself());
    }
    state.consume_fuel(1)?;
    // Objects such as a joiner look like a mapping without items.
    let Ok(items) = value.try_iter() else { return Ok(()) };
    let levels = if depth > 0 && value.kind() == ValueKind::Iterable { LAZY_LEVELS } else { 1 };
    for item in items {
        let item = if value.kind() == ValueKind::Map { value.get_item(&item)? } else { item };
        walk(state, &item, depth + levels)?;
    }
    Ok(())
}

/// Whether `value` is one of the library's two values that can come to hold others: a namespace, or `loop`, which keeps
/// what `loop.changed` was given.
fn is_mutable(value: &Value) -> bool {
    let name = value.as_object().map_or("", |object| object.type_name());
    name.ends_with("::Namespace") || name.ends_with("::Loop")
}

fn holds_itself() -> Error {
    invalid("a value holds a namespace or a loop, so it could come to hold itself".to_owned())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
