//! Random grammars in llama.cpp's format let through exactly the texts of their rules, by a parser that tries everything.

use std::collections::BTreeSet;
use std::fmt;

use engine::Grammar;
use proptest::prelude::*;

use crate::support::Judge;

#[derive(Clone, Debug)]
enum Expr {
    Text(&'static str),
    Class(&'static str),
    Rule(usize),
    Sequence(Vec<Expr>),
    Choice(Vec<Expr>),
    Repeat(Box<Expr>, usize, Option<usize>),
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |all: &[Expr], with: &str| all.iter().map(Expr::to_string).collect::<Vec<_>>().join(with);
        match self {
            Expr::Text(text) => write!(f, "\"{text}\""),
            Expr::Class(class) => write!(f, "[{class}]"),
            Expr::Rule(0) => write!(f, "root"),
            Expr::Rule(number) => write!(f, "r{number}"),
            Expr::Sequence(all) => write!(f, "({})", joined(all, " ")),
            Expr::Choice(all) => write!(f, "({})", joined(all, " | ")),
            Expr::Repeat(body, 0, None) => write!(f, "{body}*"),
            Expr::Repeat(body, min, None) => write!(f, "{body}{{{min},}}"),
            Expr::Repeat(body, min, Some(max)) => write!(f, "{body}{{{min},{max}}}"),
        }
    }
}

/// Where texts of every rule that begin at every place of a text can end, grown until nothing is new.
struct Ends<'a> {
    text: &'a [u8],
    of_rules: Vec<Vec<BTreeSet<usize>>>,
}

impl Ends<'_> {
    fn of(&self, expr: &Expr, at: usize) -> BTreeSet<usize> {
        let rest = &self.text[at..];
        match expr {
            Expr::Text(text) => rest.starts_with(text.as_bytes()).then_some(at + text.len()).into_iter().collect(),
            Expr::Class(class) => {
                let is_in = |byte: &u8| match class.strip_prefix('^') {
                    Some(others) => !others.as_bytes().contains(byte),
                    None => class.as_bytes().contains(byte),
                };
                rest.first().filter(|byte| is_in(byte)).map(|_| at + 1).into_iter().collect()
            }
            Expr::Rule(number) => self.of_rules[*number][at].clone(),
            Expr::Choice(all) => all.iter().flat_map(|one| self.of(one, at)).collect(),
            Expr::Sequence(all) => all
                .iter()
                .fold(BTreeSet::from([at]), |ends, one| ends.iter().flat_map(|&at| self.of(one, at)).collect()),
            Expr::Repeat(body, min, max) => {
                let mut all = BTreeSet::new();
                let mut ends = BTreeSet::from([at]);
                for n in 0..=max.unwrap_or(min + self.text.len()) {
                    if n >= *min {
                        all.extend(&ends);
                    }
                    ends = ends.iter().flat_map(|&at| self.of(body, at)).collect();
                }
                all
            }
        }
    }
}

fn is_in_language(rules: &[Expr], text: &[u8]) -> bool {
    let n = text.len();
    let mut ends = Ends { text, of_rules: vec![vec![BTreeSet::new(); n + 1]; rules.len()] };
    loop {
        let next: Vec<Vec<BTreeSet<usize>>> =
            rules.iter().map(|rule| (0..=n).map(|at| ends.of(rule, at)).collect()).collect();
        if next == ends.of_rules {
            return ends.of_rules[0][0].contains(&n);
        }
        ends.of_rules = next;
    }
}

fn expr(n_rules: usize) -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "ab", "aba", "c", ""]).prop_map(Expr::Text),
        3 => prop::sample::select(vec!["ab", "a", "bc", "^a", "^bc"]).prop_map(Expr::Class),
        3 => (0..n_rules).prop_map(Expr::Rule),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(Expr::Sequence),
            2 => prop::collection::vec(inner.clone(), 1..4).prop_map(Expr::Choice),
            2 => (inner, 0usize..3, prop_oneof![Just(None), (0usize..3).prop_map(Some)])
                .prop_map(|(body, min, more)| Expr::Repeat(Box::new(body), min, more.map(|more| min + more))),
        ]
    })
}

/// All texts of up to five letters.
fn texts() -> Vec<String> {
    let mut all = vec![String::new()];
    for at in 0.. {
        let text = all[at].clone();
        if text.len() == 5 {
            return all;
        }
        all.extend(['a', 'b', 'c'].map(|letter| format!("{text}{letter}")));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_text_fits_if_and_only_if_the_rules_make_it(rules in prop::collection::vec(expr(3), 3)) {
        thread_local!(static JUDGE: Judge = Judge::tiny());
        let text: String = rules.iter().enumerate().map(|(i, rule)| format!("{} ::= {rule}\n", Expr::Rule(i))).collect();
        let texts = texts();
        let right: Vec<bool> = texts.iter().map(|text| is_in_language(&rules, text.as_bytes())).collect();
        JUDGE.with(|judge| match judge.compiler.compile(&Grammar::Gbnf(text.clone())) {
            Ok(constraint) => {
                for (one, right) in texts.iter().zip(right) {
                    prop_assert_eq!(judge.fits(&constraint, one), right, "{:?} and\n{}", one, text);
                }
                Ok(())
            }
            // Rules may be such that no text satisfies them, but nothing else is wrong with them.
            Err(error) => {
                prop_assert!(error.to_string().contains("no text satisfies it"), "{}\n{}", error, text);
                prop_assert!(!right.contains(&true), "{}", text);
                Ok(())
            }
        })?;
    }
}
