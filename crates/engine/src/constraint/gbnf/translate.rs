//! Rules of GBNF written as rules and lexemes of Lark.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use crate::constraint::gbnf::automaton::Automaton;
use crate::constraint::gbnf::byte_set::ByteSet;
use crate::constraint::gbnf::follow::Contexts;
use crate::constraint::gbnf::syntax::{Expr, Rules, parse};
use crate::error::EngineError;

/// Bytes of a lexeme's regular expression.
const MAX_REGEX_BYTES: usize = 16 << 10;

/// Steps through automata before the translation is given up, a second or so.
const MAX_STEPS: usize = 20_000_000;

/// A grammar in Lark for the language of the rule `root`.
///
/// Errors: the text is not in the format, says where; a rule is missing or defined twice; the grammar is too ambiguous.
pub(crate) fn to_lark(text: &str) -> Result<String, EngineError> {
    translate(&parse(text)?)
}

fn translate(rules: &Rules) -> Result<String, EngineError> {
    let contexts = Contexts::new(rules);
    let regexes = Regexes::new(rules);
    let mut checker = Checker { automata: HashMap::new(), steps: MAX_STEPS };
    let mut taken_apart = HashSet::new();
    loop {
        let mut writer = Writer::new(&contexts, &regexes, &taken_apart);
        let lark = writer.write(rules);
        let bad = checker.bad(&writer.lexemes)?;
        if bad.is_empty() {
            return Ok(lark);
        }
        taken_apart.extend(bad);
    }
}

/// Finds lexemes that take too much.
struct Checker {
    /// By regular expression; none where it would be too large.
    automata: HashMap<String, Option<Automaton>>,
    /// Steps that are left.
    steps: usize,
}

impl Checker {
    /// Lexemes that would take a text away from another one, or that are too large to tell.
    ///
    /// Of two that are so by each other, both; of one that is so only by a bad one, not that one, which may be cured.
    /// Errors: there are no more steps.
    fn bad(&mut self, lexemes: &[Lexeme]) -> Result<Vec<String>, EngineError> {
        // Nothing comes behind any of them: there is nothing to take away.
        if lexemes.iter().all(|lexeme| lexeme.follow == ByteSet::default()) {
            return Ok(Vec::new());
        }
        let mut by = vec![None; lexemes.len()];
        for (i, lexeme) in lexemes.iter().enumerate() {
            if !self.automata.contains_key(&lexeme.regex) {
                let automaton = Automaton::new(&lexeme.regex);
                let n_states = automaton.as_ref().map_or(MAX_STEPS / 100, Automaton::n_states);
                self.automata.insert(lexeme.regex.clone(), automaton);
                self.spend(n_states)?;
            }
            by[i] = self.automata[&lexeme.regex].is_none().then_some(i);
        }
        for i in 0..lexemes.len() {
            for (j, lexeme) in lexemes.iter().enumerate() {
                if by[i].is_none() && self.is_swallowed(lexeme, &lexemes[i])? {
                    by[i] = Some(j);
                }
            }
        }
        let is_bad = |i: usize| by[i].is_some();
        let is_root = |i: usize| by[i].is_some_and(|j| i == j || !is_bad(j));
        let any_root = (0..lexemes.len()).any(is_root);
        let bad = (0..lexemes.len()).filter(|&i| if any_root { is_root(i) } else { is_bad(i) });
        Ok(bad.map(|i| lexemes[i].regex.clone()).collect())
    }

    fn is_swallowed(&mut self, short: &Lexeme, long: &Lexeme) -> Result<bool, EngineError> {
        let automaton = |lexeme: &Lexeme| self.automata.get(&lexeme.regex).and_then(Option::as_ref);
        let (Some(one), Some(other)) = (automaton(short), automaton(long)) else { return Ok(false) };
        let mut steps = 1;
        let is_swallowed = one.is_swallowed_by(other, short.follow, &mut steps);
        self.spend(steps)?;
        Ok(is_swallowed)
    }

    fn spend(&mut self, steps: usize) -> Result<(), EngineError> {
        self.steps = self.steps.saturating_sub(steps);
        if self.steps > 0 {
            return Ok(());
        }
        let message = "too much of it can be read in more than one way: use fewer rules, or texts that differ earlier";
        Err(EngineError::Grammar { message: message.to_owned() })
    }
}

/// The rules that are regular, as regular expressions.
struct Regexes {
    of_rules: Vec<Option<String>>,
}

impl Regexes {
    fn new(rules: &Rules) -> Regexes {
        let mut regexes = Regexes { of_rules: vec![None; rules.bodies.len()] };
        // A rule has its expression as soon as all rules in it have theirs, which those that call themselves never do.
        loop {
            let of_rules: Vec<Option<String>> = rules
                .bodies
                .iter()
                .zip(&regexes.of_rules)
                .map(|(body, known)| known.clone().or_else(|| regexes.regex(body)))
                .collect();
            if of_rules == regexes.of_rules {
                return regexes;
            }
            regexes.of_rules = of_rules;
        }
    }

    /// The regular expression of a part; none if it is not regular or would be long.
    fn regex(&self, expr: &Expr) -> Option<String> {
        let regex = match expr {
            Expr::Class(ranges) => class(ranges),
            Expr::Text(text) => text.chars().map(character).collect(),
            Expr::Rule(number) => self.of_rules[*number].clone()?,
            Expr::Sequence(all) => self.sequence(all)?,
            Expr::Choice(all) => {
                let all: Option<Vec<String>> = all.iter().map(|one| self.regex(one)).collect();
                format!("(?:{})", all?.join("|"))
            }
            Expr::Repeat { body, min, max } => format!("(?:{}){}", self.regex(body)?, times(*min, *max)),
        };
        (regex.len() <= MAX_REGEX_BYTES).then_some(regex)
    }

    fn sequence(&self, all: &[Expr]) -> Option<String> {
        let regex: String = all.iter().map(|one| self.regex(one)).collect::<Option<_>>()?;
        (regex.len() <= MAX_REGEX_BYTES).then_some(regex)
    }
}

fn class(ranges: &[(char, char)]) -> String {
    match ranges {
        [(one, last)] if one == last => character(*one),
        _ => {
            let range = |(a, b): &(char, char)| format!("{}-{}", character(*a), character(*b));
            format!("[{}]", ranges.iter().map(range).collect::<String>())
        }
    }
}

/// A character in a regular expression, within a class or outside.
fn character(c: char) -> String {
    if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) }
}

fn times(min: u32, max: Option<u32>) -> String {
    match (min, max) {
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (0, Some(1)) => "?".to_owned(),
        (min, None) => format!("{{{min},}}"),
        (min, Some(max)) => format!("{{{min},{max}}}"),
    }
}

/// A regular expression of which the lexer takes as much as it can.
struct Lexeme {
    regex: String,
    /// Bytes that can come behind it, wherever it stands.
    follow: ByteSet,
}

/// Writes the grammar with everything a lexeme that can be one and is not in `taken_apart`.
struct Writer<'a> {
    contexts: &'a Contexts,
    regexes: &'a Regexes,
    taken_apart: &'a HashSet<String>,
    lexemes: Vec<Lexeme>,
    numbers: HashMap<String, usize>,
    lark: String,
    /// Rules that are referred to, in the order in which they were, and which of them are so already.
    wanted: Vec<usize>,
    is_wanted: HashSet<usize>,
    n_parts: usize,
}

impl<'a> Writer<'a> {
    fn new(contexts: &'a Contexts, regexes: &'a Regexes, taken_apart: &'a HashSet<String>) -> Writer<'a> {
        Writer {
            contexts,
            regexes,
            taken_apart,
            lexemes: Vec::new(),
            numbers: HashMap::new(),
            lark: String::new(),
            wanted: Vec::new(),
            is_wanted: HashSet::new(),
            n_parts: 0,
        }
    }

    fn write(&mut self, rules: &Rules) -> String {
        let root = self.sequence(&[Expr::Rule(rules.root)], ByteSet::default());
        self.line("start", &root);
        let mut done = 0;
        while let Some(&number) = self.wanted.get(done) {
            let body = self.alternatives(&rules.bodies[number], self.contexts.follows[number]);
            self.line(&format!("rule_{number}"), &body);
            done += 1;
        }
        for (number, lexeme) in self.lexemes.iter().enumerate() {
            let _ = writeln!(self.lark, "LEXEME_{number}: /{}/", lexeme.regex);
        }
        std::mem::take(&mut self.lark)
    }

    fn line(&mut self, name: &str, body: &str) {
        let _ = writeln!(self.lark, "{name}: {body}");
    }

    fn alternatives(&mut self, expr: &Expr, after: ByteSet) -> String {
        match (self.lexeme(std::slice::from_ref(expr), after), expr) {
            (Some(lexeme), _) => lexeme,
            (None, Expr::Choice(all)) => {
                let all: Vec<String> = all.iter().map(|one| self.alternatives(one, after)).collect();
                all.join(" | ")
            }
            (None, Expr::Sequence(all)) => self.sequence(all, after),
            (None, expr) => self.sequence(std::slice::from_ref(expr), after),
        }
    }

    /// Parts behind each other: the longest runs that can be lexemes, and what is between them.
    fn sequence(&mut self, all: &[Expr], after: ByteSet) -> String {
        let mut written = Vec::new();
        let mut at = 0;
        while at < all.len() {
            let mut ends = (at + 1..=all.len()).rev();
            let run = ends.find_map(|end| {
                let after = self.after(&all[end..], after);
                Some((end, self.lexeme(&all[at..end], after)?))
            });
            let (end, part) = run.unwrap_or_else(|| (at + 1, self.part(&all[at], self.after(&all[at + 1..], after))));
            written.push(part);
            at = end;
        }
        if written.is_empty() { "\"\"".to_owned() } else { written.join(" ") }
    }

    /// The bytes that can come at the beginning of `rest` and what is after it.
    fn after(&self, rest: &[Expr], after: ByteSet) -> ByteSet {
        self.contexts.start_of_all(rest).followed_by(after)
    }

    /// The name of the lexeme for these parts, if they can be one.
    fn lexeme(&mut self, all: &[Expr], after: ByteSet) -> Option<String> {
        let regex = self.regexes.sequence(all)?;
        if regex.is_empty() || self.taken_apart.contains(&regex) {
            return None;
        }
        let next = self.lexemes.len();
        let number = *self.numbers.entry(regex.clone()).or_insert(next);
        if number == next {
            self.lexemes.push(Lexeme { regex, follow: ByteSet::default() });
        }
        self.lexemes[number].follow = self.lexemes[number].follow.union(after);
        Some(format!("LEXEME_{number}"))
    }

    /// One part that is no lexeme.
    fn part(&mut self, expr: &Expr, after: ByteSet) -> String {
        match expr {
            Expr::Rule(number) => {
                if self.is_wanted.insert(*number) {
                    self.wanted.push(*number);
                }
                format!("rule_{number}")
            }
            Expr::Text(text) => {
                let characters: Vec<Expr> = text.chars().map(|c| Expr::Class(vec![(c, c)])).collect();
                match characters.len() {
                    0 => "\"\"".to_owned(),
                    1 => self.part(&characters[0], after),
                    _ => self.own_rule(|writer| writer.characters(&characters, after)),
                }
            }
            Expr::Class(_) => self.lexeme(std::slice::from_ref(expr), after).expect("a character is never taken apart"),
            Expr::Sequence(_) | Expr::Choice(_) => self.own_rule(|writer| writer.alternatives(expr, after)),
            Expr::Repeat { max: Some(0), .. } => "\"\"".to_owned(),
            Expr::Repeat { body, min, max } => {
                let after = after.union(self.contexts.start(body).bytes);
                let body = self.own_rule(|writer| writer.alternatives(body, after));
                format!("{body}{}", times(*min, *max))
            }
        }
    }

    /// Characters behind each other, each a lexeme of its own.
    fn characters(&mut self, all: &[Expr], after: ByteSet) -> String {
        let after = |i: usize, writer: &Self| writer.after(&all[i + 1..], after);
        let written: Vec<String> = (0..all.len()).map(|i| self.part(&all[i], after(i, self))).collect();
        written.join(" ")
    }

    /// A rule for a part, so that no group lies in another: the library allows few levels.
    fn own_rule(&mut self, write: impl FnOnce(&mut Self) -> String) -> String {
        let name = format!("part_{}", self.n_parts);
        self.n_parts += 1;
        let body = write(self);
        self.line(&name, &body);
        name
    }
}
