//! Chat templates: a list of messages in, the prompt text out.
//!
//! Models ship a Jinja template that turns messages into the text they were trained on. [`ChatTemplate`] renders it as
//! Hugging Face's `apply_chat_template` does, byte for byte: the same whitespace rules, filters and tests, the same
//! `tojson`, Python's string methods and Python's way of printing values.
//!
//! A template is part of a downloaded file and therefore untrusted. A render has a fuel budget, which bounds its memory
//! and output too, and runs on a thread of its own (`render_thread`) under a time limit. Two checks bound how deep the
//! template library recurses there: `source` limits the nesting of the template's text while it rewrites it, `bounded`
//! limits the values that the template builds. `python` and `json` hold what differs between Python and the library,
//! `clock` the date.
//!
//! Deliberately absent: tokenising (special tokens stay text here) and knowledge of any particular model.

mod bounded;
mod clock;
mod json;
mod python;
mod render_thread;
mod source;
mod template;

pub use template::{ChatTemplate, RenderOptions};
