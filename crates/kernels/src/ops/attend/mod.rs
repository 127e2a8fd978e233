//! Attention of query heads over cached positions, with a running softmax and no matrix of scores.
//!
//! `AttendArgs` is a block of queries that share a key-value head and a run of positions; what a query has gathered
//! is its part (`PartLayout`), which further runs add to, which merges with the part of another run and which in the
//! end becomes the query's output. Positions are taken in tiles that lie at fixed places of the sequence, so a query's
//! bits do not depend on its neighbours or on where runs are cut. [`scalar`] is the oracle; [`tiles`] is the loop of
//! the other tiers, which bring the [`steps`] inside.

pub(crate) mod args;
pub(crate) mod part;
pub(crate) mod positions;
pub(crate) mod scalar;
mod scratch;
pub(crate) mod steps;
pub(crate) mod tiles;
