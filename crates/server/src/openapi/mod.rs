//! The description of all routes, at `/openapi.json`.
//!
//! Each API describes its routes as [`operation::Operation`]s. Request schemas come from the types that read requests; answer
//! schemas are written with the functions of [`schema`]. Tests compare the description with the router and with answers.

pub(crate) mod description;
pub(crate) mod operation;
mod own;
pub(crate) mod route;
pub(crate) mod schema;
