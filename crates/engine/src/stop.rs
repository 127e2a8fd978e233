//! Stop strings in streamed text.
//!
//! A [`StopMatcher`] passes text on as soon as it cannot be part of a stop string, wherever the pieces are cut. The stop
//! string itself is never passed on, nor anything after it. The first stop string to be complete ends the text; where
//! two are complete at once, the longer one does.
//!
//! Every stop string has a Knuth-Morris-Pratt automaton, whose state is the length of the longest end of the text that
//! begins the stop string: the longest state is what has to be held back. The work is a few steps a byte and stop string
//! on average, however long the text gets. (An Aho-Corasick automaton would do both jobs at once, but the `aho-corasick`
//! crate does not tell how deep a state is, and finding the text to hold back by comparison is quadratic.)

/// Finds stop strings in streamed text.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<Stop>,
    /// The end of the text so far that begins a stop string.
    held: String,
    /// The stop string that was found.
    stopped_by: Option<usize>,
}

/// What a piece of text led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOutcome {
    /// Text that belongs to no stop string.
    pub emit: String,
    /// Whether a stop string was found, now or before.
    pub stopped: bool,
}

impl StopMatcher {
    /// A matcher for `stops`; empty ones are ignored.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).map(|stop| Stop::new(stop)).collect();
        Self { stops, held: String::new(), stopped_by: None }
    }

    /// Takes the next piece of the text.
    pub fn push(&mut self, text: &str) -> StopOutcome {
        if self.stopped_by.is_some() {
            return StopOutcome { emit: String::new(), stopped: true };
        }
        let mut emit = std::mem::take(&mut self.held);
        let before = emit.len();
        emit.push_str(text);
        for (index, byte) in text.bytes().enumerate() {
            if let Some(stop) = self.advance(byte) {
                self.stopped_by = Some(stop);
                emit.truncate(before + index + 1 - self.stops[stop].bytes.len());
                return StopOutcome { emit, stopped: true };
            }
        }
        let longest = self.stops.iter().map(|stop| stop.state).max().unwrap_or(0);
        self.held = emit.split_off(emit.len() - longest);
        StopOutcome { emit, stopped: false }
    }

    /// Ends the text and returns what was held back, since it is not part of a stop string after all.
    pub fn finish(&mut self) -> String {
        self.stops.iter_mut().for_each(|stop| stop.state = 0);
        std::mem::take(&mut self.held)
    }

    /// The stop string that was found, if any.
    pub fn stopped_by(&self) -> Option<&str> {
        self.stopped_by.map(|stop| str::from_utf8(&self.stops[stop].bytes).expect("it was a string"))
    }

    /// Takes a byte; the longest stop string that it completes.
    fn advance(&mut self, byte: u8) -> Option<usize> {
        let stops = self.stops.iter_mut().enumerate();
        let complete = stops.filter_map(|(index, stop)| stop.advance(byte).then_some((stop.bytes.len(), index)));
        complete.max().map(|(_, index)| index)
    }
}

/// A stop string and how much of it the end of the text is.
#[derive(Clone, Debug)]
struct Stop {
    bytes: Vec<u8>,
    /// For every length of a beginning, less one: the length of its longest proper end that is a beginning too.
    borders: Vec<usize>,
    state: usize,
}

impl Stop {
    fn new(text: &str) -> Self {
        let bytes = text.as_bytes().to_vec();
        let mut borders = vec![0];
        for &byte in &bytes[1..] {
            let mut border = *borders.last().expect("it starts with an element");
            while border > 0 && bytes[border] != byte {
                border = borders[border - 1];
            }
            borders.push(border + usize::from(bytes[border] == byte));
        }
        Self { bytes, borders, state: 0 }
    }

    /// Takes a byte; whether it completes the stop string.
    fn advance(&mut self, byte: u8) -> bool {
        while self.state > 0 && self.bytes[self.state] != byte {
            self.state = self.borders[self.state - 1];
        }
        self.state += usize::from(self.bytes[self.state] == byte);
        self.state == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(stops: &[&str]) -> StopMatcher {
        StopMatcher::new(&stops.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
    }

    fn outcome(emit: &str, stopped: bool) -> StopOutcome {
        StopOutcome { emit: emit.to_owned(), stopped }
    }

    #[test]
    fn text_that_may_begin_a_stop_string_is_held_back() {
        let mut stop = matcher(&["\nUser:"]);
        assert_eq!(stop.push("Hello\nUs"), outcome("Hello", false));
        assert_eq!(stop.push("e"), outcome("", false));
        assert_eq!(stop.push("d\n"), outcome("\nUsed", false));
        assert_eq!(stop.push("User: hi"), outcome("", true));
        assert_eq!(stop.push("more"), outcome("", true));
        assert_eq!(stop.finish(), "");
    }

    #[test]
    fn finish_releases_what_was_held_back() {
        let mut stop = matcher(&["END"]);
        assert_eq!(stop.push("the EN"), outcome("the ", false));
        assert_eq!(stop.finish(), "EN");
        assert_eq!(stop.push("D"), outcome("D", false), "a new text begins after the end of the old one");
    }

    #[test]
    fn the_first_complete_stop_string_wins_and_the_longer_of_two() {
        for (stops, text, before, by) in [(["abcd", "bc"], "xabcd", "xa", "bc"), (["c", "abc"], "xabc", "x", "abc")] {
            let mut stop = matcher(&stops);
            assert_eq!(stop.stopped_by(), None);
            assert_eq!(stop.push(text), outcome(before, true));
            assert_eq!(stop.stopped_by(), Some(by));
        }
    }

    #[test]
    fn empty_stop_strings_are_ignored() {
        assert_eq!(matcher(&["", "b"]).push("ab"), outcome("a", true));
        assert_eq!(matcher(&[""]).push("ab"), outcome("ab", false));
    }

    /// What the matcher promises, on the whole text: the part before the stop string, and whether there is one.
    fn reference(text: &str, stops: &[String]) -> (String, bool) {
        let ends = stops.iter().filter(|s| !s.is_empty()).filter_map(|s| text.find(s).map(|at| (at + s.len(), at)));
        ends.min().map_or((text.to_owned(), false), |(_, at)| (text[..at].to_owned(), true))
    }

    proptest! {
        #[test]
        fn any_split_gives_what_the_whole_text_gives(
            pieces in prop::collection::vec("[abé]{0,4}", 0..12),
            stops in prop::collection::vec("[abé]{0,5}", 0..4),
        ) {
            let mut stop = StopMatcher::new(&stops);
            let mut emitted = String::new();
            let mut stopped = false;
            for piece in &pieces {
                let outcome = stop.push(piece);
                emitted.push_str(&outcome.emit);
                prop_assert!(outcome.stopped || !stopped);
                stopped = outcome.stopped;
            }
            emitted.push_str(&stop.finish());
            prop_assert_eq!((emitted, stopped), reference(&pieces.concat(), &stops));
        }

        #[test]
        fn no_more_is_held_back_than_could_become_a_stop_string(
            text in "[ab]{0,20}",
            stops in prop::collection::vec("[ab]{1,6}", 1..4),
        ) {
            let mut stop = StopMatcher::new(&stops);
            let outcome = stop.push(&text);
            let begins = |end: &str| stops.iter().any(|s| s.starts_with(end));
            let longest = (0..=text.len()).find(|&at| begins(&text[at..])).expect("the empty end begins every string");
            prop_assert!(outcome.stopped || outcome.emit == text[..longest]);
        }
    }
}
