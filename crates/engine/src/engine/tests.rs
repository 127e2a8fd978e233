//! The engine on a model without weights.

mod fake;
mod files;
mod many;
