//! The GGUF container: one program, since each story would be linked by itself.

mod hostile;
mod large;
mod round_trip;
mod split;
