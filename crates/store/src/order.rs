//! The order in which a pass needs slabs: a cycle that repeats from pass to pass, and what is expected before it goes on.
//!
//! [`Order`] knows which slab the pass needs next and how far ahead of the pass read-ahead has come; its cursor runs
//! through the expected slabs first and then through the cycle. The cycle suits what every pass needs. What a pass finds
//! out as it runs, such as a router's choice of experts, is expected.
//!
//! Deliberately absent: slots, reads, and what is in memory.

use std::collections::VecDeque;

use crate::slab::SlabId;

/// Where a pass is in its order, and read-ahead in front of it.
pub(crate) struct Order {
    cycle: Vec<SlabId>,
    /// Place in the cycle of the slab that the pass needs next.
    position: usize,
    /// Slabs of the cycle from there on that the cursor has passed.
    n_passed: usize,
    /// Slabs that are needed before the cycle goes on.
    expected: VecDeque<SlabId>,
    /// Of these, those that the cursor has passed.
    n_expected_passed: usize,
    /// The cycle has gone on since the last call of [`Order::expect`].
    has_gone_on: bool,
}

/// What a slab is in memory for, or will be once it has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Nothing at present: it stays until its slot is needed.
    No,
    /// The cycle.
    Cycle,
    /// The pass expects it before the cycle goes on.
    Expected,
}

impl Order {
    /// Begins before the first slab of a cycle.
    pub(crate) fn new(cycle: Vec<SlabId>) -> Order {
        let expected = VecDeque::new();
        Order { cycle, position: 0, n_passed: 0, expected, n_expected_passed: 0, has_gone_on: false }
    }

    /// Adds slabs that are needed before the cycle goes on, behind those that are expected already. Returns whether it
    /// dropped the latter, which it does if the cycle has gone on without them.
    pub(crate) fn expect(&mut self, slabs: &[SlabId]) -> bool {
        let is_outdated = std::mem::take(&mut self.has_gone_on) && !self.expected.is_empty();
        if is_outdated {
            self.drop_expected();
        }
        self.expected.extend(slabs);
        is_outdated
    }

    /// The slab that the cursor is at, unless it has come all the way around to the pass.
    pub(crate) fn cursor(&self) -> Option<(SlabId, Wanted)> {
        if let Some(&id) = self.expected.get(self.n_expected_passed) {
            return Some((id, Wanted::Expected));
        }
        let n = self.cycle.len();
        // The slab before the position may still be in use.
        let most = n.saturating_sub(1).max(1).min(n);
        (self.n_passed < most).then(|| (self.cycle[(self.position + self.n_passed) % n], Wanted::Cycle))
    }

    /// Moves the cursor past the slab that it is at.
    pub(crate) fn advance(&mut self) {
        if self.n_expected_passed < self.expected.len() {
            self.n_expected_passed += 1;
        } else {
            self.n_passed += 1;
        }
    }

    /// The pass asks for a slab. If that is out of order but in the cycle, the pass goes on from there, and nothing is
    /// expected any more; returns whether it does.
    pub(crate) fn jump_to(&mut self, id: SlabId) -> bool {
        let n = self.cycle.len();
        if self.is_next_in_cycle(id) || self.expected.contains(&id) {
            return false;
        }
        let Some(distance) = (1..n).find(|d| self.cycle[(self.position + d) % n] == id) else { return false };
        (self.position, self.n_passed) = ((self.position + distance) % n, 0);
        self.drop_expected();
        true
    }

    /// The pass has taken a slab.
    pub(crate) fn consume(&mut self, id: SlabId) {
        let expected = self.expected.iter().position(|expected| *expected == id);
        if let Some(at) = expected {
            self.expected.remove(at);
            self.n_expected_passed -= usize::from(at < self.n_expected_passed);
        }
        if self.is_next_in_cycle(id) {
            self.position = (self.position + 1) % self.cycle.len();
            self.n_passed = self.n_passed.saturating_sub(1);
            self.has_gone_on |= expected.is_none();
        }
    }

    /// The slab that the pass asks for is not in memory. If the cursor has passed it, its read has failed or it had to go,
    /// as may be true of those behind it: the cursor goes back to it.
    pub(crate) fn missed(&mut self, id: SlabId) {
        if self.is_next_in_cycle(id) {
            self.n_passed = 0;
        }
        if let Some(at) = self.expected.iter().position(|expected| *expected == id) {
            self.n_expected_passed = self.n_expected_passed.min(at);
        }
    }

    /// A slab of the cycle that the cursor has passed had to go: the cursor goes back to it.
    pub(crate) fn evicted(&mut self, id: SlabId) {
        let n = self.cycle.len();
        if let Some(at) = (0..self.n_passed).rev().find(|at| self.cycle[(self.position + at) % n] == id) {
            self.n_passed = at;
        }
    }

    fn is_next_in_cycle(&self, id: SlabId) -> bool {
        self.cycle.get(self.position) == Some(&id)
    }

    fn drop_expected(&mut self) {
        self.expected.clear();
        (self.n_expected_passed, self.has_gone_on) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(indices: &[usize]) -> Vec<SlabId> {
        indices.iter().map(|i| SlabId::at(*i)).collect()
    }

    /// All that the cursor comes to.
    fn ahead(order: &mut Order) -> Vec<usize> {
        let next = || order.cursor().inspect(|_| order.advance()).map(|(id, _)| id.index());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn the_expected_comes_before_the_cycle_and_does_not_move_it() {
        let mut order = Order::new(ids(&[0, 1, 2, 3]));
        assert!(!order.expect(&ids(&[7, 2])));
        assert_eq!(ahead(&mut order), [7, 2, 0, 1, 2]);
        ids(&[2, 7]).iter().for_each(|id| assert!(!order.jump_to(*id)));
        ids(&[2, 7, 0]).iter().for_each(|id| order.consume(*id));
        assert_eq!(ahead(&mut order), [3]);
    }

    #[test]
    fn what_the_cycle_has_left_behind_is_dropped_by_the_next_call_or_a_jump() {
        let mut order = Order::new(ids(&[0, 1, 2, 3]));
        order.expect(&ids(&[7]));
        assert!(!order.expect(&ids(&[8])), "the cycle has not gone on");
        order.consume(SlabId::at(0));
        assert!(order.expect(&ids(&[9])));
        assert_eq!(ahead(&mut order), [9, 1, 2, 3]);
        assert!(order.jump_to(SlabId::at(3)));
        assert_eq!(ahead(&mut order), [3, 0, 1]);
        assert!(!order.jump_to(SlabId::at(9)), "it is neither expected nor in the cycle");
    }

    #[test]
    fn a_slab_that_is_used_twice_in_a_pass_comes_twice() {
        let mut order = Order::new(ids(&[0, 5, 1, 5]));
        let mut seen = Vec::new();
        for _ in 0..8 {
            let (id, wanted) = order.cursor().expect("the pass is right behind");
            assert_eq!(wanted, Wanted::Cycle);
            order.advance();
            assert!(!order.jump_to(id));
            order.consume(id);
            seen.push(id.index());
        }
        assert_eq!(seen, [0, 5, 1, 5, 0, 5, 1, 5]);
    }
}
