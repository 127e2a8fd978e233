//! What holds of logits, told in stories: one program, since each would be linked by itself.

mod common;
mod faults;
mod reference;
mod same_bits;
mod second_backend;
mod spill;
mod trees;
