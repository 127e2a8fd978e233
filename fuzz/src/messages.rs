//! What every error message keeps to.

use std::fmt::Display;

/// Characters of a message; anything longer would bury the terminal.
const MESSAGE_CHARS: usize = 2000;

/// Returns the value, or checks the error's message.
///
/// Panics if the message is longer than a screen or has control characters.
pub(crate) fn checked<T>(result: Result<T, impl Display>) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error.to_string(),
    };
    assert!(!error.contains(char::is_control), "not one plain line: {error:?}");
    assert!(error.chars().count() <= MESSAGE_CHARS, "too long a message: {error}");
    None
}
