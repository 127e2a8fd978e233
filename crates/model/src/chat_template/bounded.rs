//! Limits on the values that a template builds.
//!
//! The budget for work does not see how deep a value is, nor how often it holds the same part: a list that holds itself
//! twice, sixty times over, takes sixty steps to build and for ever to print. So `source` sends every value that is
//! assigned or looped over through a filter of this module, which walks it once at a cost of one unit a container.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// The filter around what `set` assigns.
pub(super) const ASSIGNED: &str = "__assigned";
/// The filter around what `for` goes through.
pub(super) const ITERATED: &str = "__iterated";
/// How deep lists and mappings nest. The JSON that comes in may be 128 deep.
const MAX_DEPTH: usize = 160;

/// Adds the two filters.
pub(super) fn install(environment: &mut Environment) {
    environment.add_filter(ASSIGNED, assigned);
    environment.add_filter(ITERATED, iterated);
}

fn assigned(state: &State, value: Value) -> Result<Value, Error> {
    walk(state, &value, 0)?;
    Ok(value)
}

/// Python refuses to go through these, the library takes them for empty lists.
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
    if depth > 0 && is_namespace(value) {
        return Err(invalid("a value holds a namespace, so it could come to hold itself".to_owned()));
    }
    state.consume_fuel(1)?;
    // Objects such as a joiner look like a mapping without items.
    let Ok(items) = value.try_iter() else { return Ok(()) };
    for item in items {
        let item = if value.kind() == ValueKind::Map { value.get_item(&item)? } else { item };
        walk(state, &item, depth + 1)?;
    }
    Ok(())
}

/// Whether `value` is what `namespace()` returns: the library's one value that changes.
fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
