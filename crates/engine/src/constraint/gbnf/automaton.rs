//! Automata of lexemes, and whether matching as much as possible takes a text away from another lexeme.

use std::collections::{HashMap, HashSet};

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

use crate::constraint::gbnf::byte_set::ByteSet;

/// Memory that an automaton may take while it is made.
const MAX_BYTES: usize = 8 << 20;

/// Pairs of states that are looked at before two lexemes are taken to be in each other's way.
const MAX_PAIRS: usize = 20_000;

/// The deterministic automaton of a regular expression over bytes. State 0 is where it begins.
pub(super) struct Automaton {
    states: Vec<State>,
}

#[derive(Default)]
struct State {
    /// Whether what led here is a text of the language.
    is_match: bool,
    /// From the first to the last of these bytes to that state, in order.
    edges: Vec<(u8, u8, usize)>,
}

impl Automaton {
    /// None if it would be too large.
    pub(super) fn new(regex: &str) -> Option<Automaton> {
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .determinize_size_limit(Some(MAX_BYTES))
            .dfa_size_limit(Some(MAX_BYTES));
        let limits = thompson::Config::new().nfa_size_limit(Some(MAX_BYTES));
        let dfa = dense::Builder::new().configure(config).thompson(limits).build(regex).ok()?;
        let start = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        let mut ids = vec![start];
        let mut numbers = HashMap::from([(start, 0)]);
        let mut states = Vec::new();
        while let Some(&id) = ids.get(states.len()) {
            let mut number_of = |id: StateID| {
                *numbers.entry(id).or_insert_with(|| {
                    ids.push(id);
                    ids.len() - 1
                })
            };
            // A match is told one byte late.
            let mut state = State { is_match: dfa.is_match_state(dfa.next_eoi_state(id)), edges: Vec::new() };
            for byte in 0..=u8::MAX {
                let next = dfa.next_state(id, byte);
                if dfa.is_dead_state(next) {
                    continue;
                }
                let next = number_of(next);
                match state.edges.last_mut() {
                    Some((_, last, same)) if *same == next && *last + 1 == byte => *last = byte,
                    _ => state.edges.push((byte, byte, next)),
                }
            }
            states.push(state);
        }
        drop_edges_to_nowhere(&mut states);
        Some(Automaton { states })
    }

    /// Whether some text of this language that is not empty, and a byte of `follow` behind it, begin a text of `other`'s:
    /// then a lexer that takes as much as it can would go on with `other`. Counts its `steps`.
    pub(super) fn is_swallowed_by(&self, other: &Automaton, follow: ByteSet, steps: &mut usize) -> bool {
        let mut seen = HashSet::new();
        let mut left = vec![(0, 0)];
        while let Some((own, others)) = left.pop() {
            for pair in self.common_edges(own, other, others) {
                *steps += 1;
                if !seen.insert(pair) {
                    continue;
                }
                let (state, next) = (&self.states[pair.0], &other.states[pair.1]);
                let goes_on = || next.edges.iter().any(|(first, last, _)| follow.has_any(*first, *last));
                if seen.len() > MAX_PAIRS || state.is_match && goes_on() {
                    return true;
                }
                left.push(pair);
            }
        }
        false
    }

    pub(super) fn n_states(&self) -> usize {
        self.states.len()
    }

    /// The pairs of states that one byte leads to.
    fn common_edges(&self, own: usize, other: &Automaton, others: usize) -> Vec<(usize, usize)> {
        let mut common = Vec::new();
        let (mut a, mut b) = (self.states[own].edges.as_slice(), other.states[others].edges.as_slice());
        while let (Some(x), Some(y)) = (a.first(), b.first()) {
            if x.0.max(y.0) <= x.1.min(y.1) {
                common.push((x.2, y.2));
            }
            if x.1 <= y.1 {
                a = &a[1..];
            } else {
                b = &b[1..];
            }
        }
        common
    }
}

/// Keeps edges that lead to a text of the language in the end. Others are there since a match is told one byte late.
fn drop_edges_to_nowhere(states: &mut [State]) {
    let mut sources = vec![Vec::new(); states.len()];
    for (from, state) in states.iter().enumerate() {
        state.edges.iter().for_each(|(_, _, to)| sources[*to].push(from));
    }
    let mut is_alive: Vec<bool> = states.iter().map(|state| state.is_match).collect();
    let mut left: Vec<usize> = (0..states.len()).filter(|&state| is_alive[state]).collect();
    while let Some(state) = left.pop() {
        for &from in &sources[state] {
            if !is_alive[from] {
                is_alive[from] = true;
                left.push(from);
            }
        }
    }
    states.iter_mut().for_each(|state| state.edges.retain(|(_, _, to)| is_alive[*to]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_swallowed(one: &str, other: &str, follow: &str) -> bool {
        let mut bytes = ByteSet::default();
        follow.bytes().for_each(|byte| bytes.insert_range(byte, byte));
        let automaton = |regex| Automaton::new(regex).expect("it is small");
        automaton(one).is_swallowed_by(&automaton(other), bytes, &mut 0)
    }

    #[test]
    fn a_lexeme_swallows_what_continues_it() {
        assert!(is_swallowed("[a-z]+", "[a-z]+", "x"));
        assert!(!is_swallowed("[a-z]+", "[a-z]+", " ,"));
        assert!(is_swallowed("e", "end", "n"));
        assert!(!is_swallowed("e", "end", "x"));
        assert!(is_swallowed("a|ab", "a|ab", "b"));
        assert!(!is_swallowed("\"[^\"]*\"", "\"[^\"]*\"", "\"x"));
        assert!(is_swallowed("\"", "\"[^\"]*\"", "x"));
    }

    #[test]
    fn the_empty_text_is_left_aside() {
        assert!(!is_swallowed("(ab)?", "xy", "x"));
        assert!(is_swallowed("a*", "a*", "a"));
        assert!(!is_swallowed("a*", "a*", "b"));
    }

    #[test]
    fn what_is_too_large_has_no_automaton() {
        assert!(Automaton::new("(a|b)*a(a|b){40}").is_none());
    }
}
