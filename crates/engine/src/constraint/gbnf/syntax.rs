//! The rules of a text in GBNF.
//!
//! `name ::= alternatives`, each a sequence of `"text"`, `[class]`, `.`, names and groups in parentheses, with `*`, `+`, `?`
//! and `{m,n}` behind what is repeated. A rule ends with its line, except in a group and around `|`. `#` begins a comment.
//! Source: llama.cpp's description of the format. References to tokens (`<[id]>`) are not supported.

use std::collections::HashMap;

use crate::error::EngineError;

/// Groups within groups.
const MAX_DEPTH: usize = 60;

/// Rules of a grammar.
const MAX_RULES: usize = 2000;

/// The bounds of a repetition.
const MAX_COUNT: u32 = 1_000_000_000;

/// What a rule may say.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    /// One character of these ranges, which are in order and do not touch.
    Class(Vec<(char, char)>),
    /// This text.
    Text(String),
    /// What the rule with this number says.
    Rule(usize),
    /// One after another.
    Sequence(Vec<Expr>),
    /// One of them.
    Choice(Vec<Expr>),
    /// So many times, `None` without a limit.
    Repeat { body: Box<Expr>, min: u32, max: Option<u32> },
}

/// All rules, by their numbers.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) bodies: Vec<Expr>,
    pub(super) root: usize,
}

/// Reads a grammar.
///
/// Errors: the first thing that is wrong, with its line.
pub(super) fn parse(text: &str) -> Result<Rules, EngineError> {
    let mut parser = Parser { rest: text, text, depth: 0, numbers: HashMap::new(), bodies: Vec::new() };
    parser.skip(Lines::Any);
    while !parser.rest.is_empty() {
        parser.rule()?;
        parser.skip(Lines::Any);
    }
    let missing = parser.numbers.iter().find(|(_, number)| parser.bodies[**number].is_none());
    if let Some((name, _)) = missing {
        return Err(wrong(format!("the rule {name:?} is not defined")));
    }
    let Some(&root) = parser.numbers.get("root") else {
        return Err(wrong("there is no rule \"root\", where a text begins".to_owned()));
    };
    let bodies = parser.bodies.into_iter().map(|body| body.expect("none is missing")).collect();
    Ok(Rules { bodies, root })
}

fn wrong(message: String) -> EngineError {
    EngineError::Grammar { message }
}

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
    depth: usize,
    numbers: HashMap<&'t str, usize>,
    bodies: Vec<Option<Expr>>,
}

/// What white space may contain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// Nothing but blanks: the line's end ends a rule.
    One,
    /// Line ends too.
    Any,
}

impl<'t> Parser<'t> {
    fn error<T>(&self, problem: &str) -> Result<T, EngineError> {
        let before = &self.text[..self.text.len() - self.rest.len()];
        let line = before.matches('\n').count() + 1;
        let rest: String = self.rest.chars().take_while(|c| *c != '\n').take(20).collect();
        let place = if rest.is_empty() { "the line's end".to_owned() } else { format!("{rest:?}") };
        Err(wrong(format!("line {line}: {problem} at {place}")))
    }

    fn skip(&mut self, lines: Lines) {
        loop {
            self.rest =
                self.rest.trim_start_matches(|c| matches!(c, ' ' | '\t') || lines == Lines::Any && "\r\n".contains(c));
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.trim_start_matches(|c| !matches!(c, '\r' | '\n'));
        }
    }

    fn eat(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn name(&mut self) -> Option<&'t str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let len = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(len);
        self.rest = rest;
        (!name.is_empty()).then_some(name)
    }

    fn number_of(&mut self, name: &'t str) -> usize {
        let next = self.bodies.len();
        let number = *self.numbers.entry(name).or_insert(next);
        if number == next {
            self.bodies.push(None);
        }
        number
    }

    fn rule(&mut self) -> Result<(), EngineError> {
        let Some(name) = self.name() else { return self.error("there should be a rule's name") };
        self.skip(Lines::One);
        if !self.eat("::=") {
            return self.error(&format!("there should be ::= behind {name:?}"));
        }
        self.skip(Lines::Any);
        let number = self.number_of(name);
        if self.bodies.len() > MAX_RULES {
            return self.error(&format!("there are more than {MAX_RULES} rules"));
        }
        if self.bodies[number].is_some() {
            return self.error(&format!("the rule {name:?} is there twice; its second text ends"));
        }
        let body = self.choice(Lines::One)?;
        self.bodies[number] = Some(body);
        if self.rest.is_empty() || self.rest.starts_with(['\r', '\n']) {
            return Ok(());
        }
        self.error("this cannot stand here:")
    }

    fn choice(&mut self, lines: Lines) -> Result<Expr, EngineError> {
        let mut all = vec![self.sequence(lines)?];
        while self.goes_on() {
            self.skip(Lines::Any);
            all.push(self.sequence(lines)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::Choice(all) })
    }

    /// Eats a bar, also one that begins the next line.
    fn goes_on(&mut self) -> bool {
        let here = self.rest;
        self.skip(Lines::Any);
        let goes_on = self.eat("|");
        self.rest = if goes_on { self.rest } else { here };
        goes_on
    }

    fn sequence(&mut self, lines: Lines) -> Result<Expr, EngineError> {
        let mut all = Vec::new();
        while let Some(one) = self.element()? {
            self.skip(lines);
            all.push(self.repeated(one)?);
            self.skip(lines);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::Sequence(all) })
    }

    fn element(&mut self) -> Result<Option<Expr>, EngineError> {
        if self.eat("\"") {
            return self.text().map(Some);
        }
        if self.eat("[") {
            return self.class().map(Some);
        }
        if self.eat(".") {
            return Ok(Some(Expr::Class(complement(Vec::new()))));
        }
        if self.eat("(") {
            return self.group().map(Some);
        }
        if self.rest.starts_with(['<', '!']) {
            return self.error("references to tokens are not supported: write the token's text in quotes");
        }
        Ok(self.name().map(|name| Expr::Rule(self.number_of(name))))
    }

    fn group(&mut self) -> Result<Expr, EngineError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.error(&format!("more than {MAX_DEPTH} groups lie within each other"));
        }
        self.skip(Lines::Any);
        let inner = self.choice(Lines::Any)?;
        self.depth -= 1;
        if self.eat(")") { Ok(inner) } else { self.error("a group should end with )") }
    }

    fn text(&mut self) -> Result<Expr, EngineError> {
        let mut text = String::new();
        while !self.eat("\"") {
            text.push(self.character("\"")?);
        }
        Ok(Expr::Text(text))
    }

    fn class(&mut self) -> Result<Expr, EngineError> {
        let is_negated = self.eat("^");
        let mut ranges = Vec::new();
        while !self.eat("]") {
            let first = self.character("]")?;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let last = if is_range && self.eat("-") { self.character("]")? } else { first };
            if last < first {
                return self.error(&format!("the range from {first:?} to {last:?} is the wrong way around"));
            }
            ranges.push((first, last));
        }
        let ranges = if is_negated { complement(ranges) } else { complement(complement(ranges)) };
        if ranges.is_empty() {
            return self.error("no character is in the class that ends");
        }
        Ok(Expr::Class(ranges))
    }

    /// The next character of a text or class that `end` ends.
    fn character(&mut self, end: &str) -> Result<char, EngineError> {
        let mut chars = self.rest.chars();
        let first = chars.next();
        let escaped = if first == Some('\\') { chars.next() } else { None };
        let n_digits = match escaped {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => 0,
        };
        let here = self.rest;
        self.rest = chars.as_str();
        let character = match (first, escaped) {
            (None | Some('\n'), _) => return self.error(&format!("{end} is missing")),
            (Some('\\'), Some('x' | 'u' | 'U')) => {
                let digits = self.rest.get(..n_digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                self.rest = self.rest.get(n_digits..).unwrap_or_default();
                digits.and_then(char::from_u32)
            }
            (Some('\\'), Some('n')) => Some('\n'),
            (Some('\\'), Some('r')) => Some('\r'),
            (Some('\\'), Some('t')) => Some('\t'),
            (Some('\\'), c) => c.filter(char::is_ascii_punctuation),
            (c, _) => c,
        };
        if character.is_none() {
            self.rest = here;
        }
        character.map_or_else(|| self.error("this is no character:"), Ok)
    }

    fn repeated(&mut self, body: Expr) -> Result<Expr, EngineError> {
        let (min, max) = if self.eat("*") {
            (0, None)
        } else if self.eat("+") {
            (1, None)
        } else if self.eat("?") {
            (0, Some(1))
        } else if self.eat("{") {
            self.bounds()?
        } else {
            return Ok(body);
        };
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.error(&format!("more than {MAX_DEPTH} groups and repetitions"));
        }
        let repeated = self.repeated(Expr::Repeat { body: Box::new(body), min, max });
        self.depth -= 1;
        repeated
    }

    /// What stands behind `{`.
    fn bounds(&mut self) -> Result<(u32, Option<u32>), EngineError> {
        self.skip(Lines::One);
        let min = self.count()?;
        self.skip(Lines::One);
        let has_comma = self.eat(",");
        self.skip(Lines::One);
        let max = if !has_comma { min } else { self.count()? };
        self.skip(Lines::One);
        let min = min.unwrap_or(0);
        let is_sound = (has_comma || max.is_some()) && max.is_none_or(|max| max >= min);
        if is_sound && self.eat("}") {
            Ok((min, max))
        } else {
            self.error("a repetition should read {m}, {m,} or {m,n}")
        }
    }

    fn count(&mut self) -> Result<Option<u32>, EngineError> {
        let len = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(len);
        let count = digits.parse().ok().filter(|count| *count <= MAX_COUNT);
        if count.is_none() && !digits.is_empty() {
            return self.error("too large a number");
        }
        self.rest = rest;
        Ok(count)
    }
}

/// All characters that are in none of the ranges, in order.
fn complement(mut ranges: Vec<(char, char)>) -> Vec<(char, char)> {
    ranges.sort_unstable();
    let mut out = Vec::new();
    let mut next = Some('\0');
    for (first, last) in ranges {
        let Some(start) = next else { break };
        if start < first {
            let before = ('\0'..first).next_back().expect("a character is below it");
            out.push((start, before));
        }
        if last >= start {
            next = (last..=char::MAX).nth(1);
        }
    }
    out.extend(next.map(|start| (start, char::MAX)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Expr {
        let rules = parse(text).expect("it is in the format");
        rules.bodies[rules.root].clone()
    }

    fn problem(text: &str) -> String {
        parse(text).expect_err("something is wrong").to_string()
    }

    #[test]
    fn escapes_and_ranges_become_characters() {
        assert_eq!(root(r#"root ::= "\x41\u00e9\U0001F980\n\"\\\[""#), Expr::Text("Aé🦀\n\"\\[".to_owned()));
        assert_eq!(root(r"root ::= [a-c\]\-x-]"), Expr::Class(vec![('-', '-'), (']', ']'), ('a', 'c'), ('x', 'x')]));
        assert_eq!(root(r"root ::= [^b-y]"), Expr::Class(vec![('\0', 'a'), ('z', char::MAX)]));
        assert_eq!(root(r"root ::= [^\uD7FF]"), Expr::Class(vec![('\0', '\u{D7FE}'), ('\u{E000}', char::MAX)]));
    }

    #[test]
    fn a_rule_may_go_on_behind_a_bar_and_in_a_group() {
        let one_line = root("root ::= \"a\" | (\"b\" \"c\")* | \"d\"");
        assert_eq!(root("root ::= # begins\n\"a\" |\n # more\n (\n\"b\"\n\"c\" )*\n\n  | \"d\"\n# end"), one_line);
    }

    #[test]
    fn repetitions_bind_to_what_is_before_them() {
        let text = |text: &str| Expr::Text(text.to_owned());
        let repeat = |body, min, max| Expr::Repeat { body: Box::new(body), min, max };
        let expected = [repeat(text("ab"), 1, None), repeat(text("c"), 2, Some(2)), repeat(text("d"), 0, Some(3))];
        assert_eq!(root(r#"root ::= "ab"+ "c"{2} "d"{,3}"#), Expr::Sequence(expected.to_vec()));
        assert_eq!(root(r#"root ::= "a"{2,}?"#), repeat(repeat(text("a"), 2, None), 0, Some(1)));
    }

    #[test]
    fn errors_say_where() {
        assert!(problem("root ::= \"a\"\nb = \"c\"").contains("line 2: there should be ::= behind \"b\""));
        assert!(problem("root ::= \"a").contains("line 1: \" is missing"));
        assert!(problem("root ::= [z-a]").contains("the wrong way around"));
        assert!(problem("root ::= (\"a\"").contains("should end with )"));
        assert!(problem("root ::= \"a\" )").contains("cannot stand here"));
        assert!(problem("root ::= \"a\"{3,2}").contains("{m,n}"));
        assert!(problem("root ::= \"a\"{99999999999}").contains("too large"));
        assert!(problem("root ::= \"\\uD800\"").contains("no character"));
        assert!(problem("root ::= []").contains("no character is in the class"));
        assert!(problem("root ::= other").contains("\"other\" is not defined"));
        assert!(problem("other ::= \"a\"").contains("no rule \"root\""));
        assert!(problem("root ::= \"a\"\nroot ::= \"b\"").contains("twice"));
        assert!(problem("root ::= <[1000]>").contains("tokens"));
        assert!(problem(&format!("root ::= {}", "(".repeat(100_000))).contains("within each other"));
        assert!(problem(&format!("root ::= \"a\"{}", "*".repeat(100_000))).contains("repetitions"));
    }
}
