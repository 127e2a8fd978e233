//! The engine on a thread: requests come in from anywhere, and their events go to their listeners.
//!
//! [`Service::start`] takes a loaded model; [`Service::submit`] hands it a request and returns at once. The [`Ticket`] that
//! it returns cancels the request when it is dropped. While idle, the model can be unloaded ([`Service::unload`]); the next
//! request loads it again. [`Service::snapshot`] shows what is going on without waiting for a pass.
//!
//! Deliberately absent: async code; listeners are called on the engine's thread and must not block.

mod handle;
mod reply;
mod snapshot;
#[cfg(test)]
mod tests;
mod worker;

pub use handle::{Service, Ticket};
pub use reply::{Listener, Reply};
pub use snapshot::{Snapshot, Totals};
pub use worker::ServiceOptions;
