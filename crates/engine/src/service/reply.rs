//! What happens to a request, and where that goes.

use std::ops::ControlFlow;

use crate::error::EngineError;
use crate::request::{Event, Generation};

/// Where the events of a request go; breaking from it cancels the request. Called on the engine's thread.
pub type Listener = Box<dyn FnMut(Reply<'_>) -> ControlFlow<()> + Send>;

/// What a listener hears.
pub enum Reply<'a> {
    /// Something happened.
    Event(Event<'a>),
    /// The request has ended; nothing follows.
    Done(Result<Box<Generation>, EngineError>),
}
