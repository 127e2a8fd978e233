//! What can begin a part of a grammar and what can come after it, as the first bytes of characters.

use crate::constraint::gbnf::byte_set::ByteSet;
use crate::constraint::gbnf::syntax::{Expr, Rules};

/// How a text of some part begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// The first bytes of its texts that are not empty.
    pub(super) bytes: ByteSet,
    /// Whether the empty text is one of them.
    pub(super) is_nullable: bool,
}

impl Start {
    const EMPTY: Start = Start { bytes: ByteSet([0; 4]), is_nullable: true };

    /// The start of this and then `next`.
    fn then(self, next: Start) -> Start {
        Start { bytes: self.followed_by(next.bytes), is_nullable: self.is_nullable && next.is_nullable }
    }

    /// The first bytes of this and then something that begins with `next`.
    pub(super) fn followed_by(self, next: ByteSet) -> ByteSet {
        if self.is_nullable { self.bytes.union(next) } else { self.bytes }
    }
}

/// For every rule, how it starts and what follows it.
pub(super) struct Contexts {
    starts: Vec<Start>,
    pub(super) follows: Vec<ByteSet>,
}

impl Contexts {
    pub(super) fn new(rules: &Rules) -> Contexts {
        let n = rules.bodies.len();
        let mut contexts = Contexts { starts: vec![Start::default(); n], follows: vec![ByteSet::default(); n] };
        // Both grow to their smallest fixed points.
        loop {
            let starts = rules.bodies.iter().map(|body| contexts.start(body)).collect();
            if contexts.starts == starts {
                break;
            }
            contexts.starts = starts;
        }
        loop {
            let mut follows = contexts.follows.clone();
            for (body, after) in rules.bodies.iter().zip(&contexts.follows) {
                contexts.follow(body, *after, &mut follows);
            }
            if contexts.follows == follows {
                return contexts;
            }
            contexts.follows = follows;
        }
    }

    pub(super) fn start(&self, expr: &Expr) -> Start {
        match expr {
            Expr::Class(ranges) => {
                let mut bytes = ByteSet::default();
                for (first, last) in ranges {
                    bytes.insert_range(first_byte(*first), first_byte(*last));
                }
                Start { bytes, is_nullable: false }
            }
            Expr::Text(text) => {
                let mut start = Start { bytes: ByteSet::default(), is_nullable: text.is_empty() };
                if let Some(first) = text.bytes().next() {
                    start.bytes.insert_range(first, first);
                }
                start
            }
            Expr::Rule(number) => self.starts[*number],
            Expr::Sequence(all) => self.start_of_all(all),
            Expr::Choice(all) => all.iter().map(|one| self.start(one)).fold(Start::default(), |a, b| Start {
                bytes: a.bytes.union(b.bytes),
                is_nullable: a.is_nullable || b.is_nullable,
            }),
            Expr::Repeat { max: Some(0), .. } => Start::EMPTY,
            Expr::Repeat { body, min, .. } => {
                let start = self.start(body);
                Start { is_nullable: start.is_nullable || *min == 0, ..start }
            }
        }
    }

    /// How a sequence starts.
    pub(super) fn start_of_all(&self, all: &[Expr]) -> Start {
        all.iter().rev().fold(Start::EMPTY, |rest, one| self.start(one).then(rest))
    }

    /// Adds to `follows` what comes behind each rule in `expr`, behind which comes `after`.
    fn follow(&self, expr: &Expr, after: ByteSet, follows: &mut [ByteSet]) {
        match expr {
            Expr::Class(_) | Expr::Text(_) => {}
            Expr::Rule(number) => follows[*number] = follows[*number].union(after),
            Expr::Sequence(all) => {
                let mut after = after;
                for one in all.iter().rev() {
                    self.follow(one, after, follows);
                    after = self.start(one).followed_by(after);
                }
            }
            Expr::Choice(all) => all.iter().for_each(|one| self.follow(one, after, follows)),
            Expr::Repeat { body, .. } => self.follow(body, after.union(self.start(body).bytes), follows),
        }
    }
}

/// The first byte of a character in UTF-8, whose order is that of the characters.
fn first_byte(c: char) -> u8 {
    c.encode_utf8(&mut [0; 4]).as_bytes()[0]
}
