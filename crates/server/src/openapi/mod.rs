//! The description of all routes, at `/openapi.json`.
//!
//! Every API describes its routes as [`operation::Operation`]s: request schemas come from the types that read them, answer
//! schemas are written with the functions of [`schema`]. Tests compare the description with the router and with answers.

pub(crate) mod description;
pub(crate) mod operation;
mod own;
pub(crate) mod route;
pub(crate) mod schema;
