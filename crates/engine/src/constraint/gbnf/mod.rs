//! llama.cpp's grammar format, translated to the Lark variant of `llguidance`.
//!
//! `translate::to_lark` parses the rules (`syntax`) and writes them again. The library is fast where most of a text is
//! matched by regular expressions, the lexemes, and these match as much as they can; a rule of GBNF has no such notion. So
//! the translation makes lexemes of the largest parts for which the longest match is never a wrong one. Whether it is
//! follows from what can come after a part (`follow`) and from the automata of all lexemes (`automaton`); parts that fail
//! are taken apart, to single characters if need be. The language is exactly that of the rules.

mod automaton;
mod byte_set;
mod follow;
mod syntax;
pub(super) mod translate;
