//! The steps of attention on vectors of any length, for the loop in [`crate::ops::attend::tiles`].
//!
//! A tier brings its vectors as [`Lanes`] and makes its table of steps with [`attend_steps`]. A score is one chain of lanes
//! over the head's dimensions, summed in an order that is the tier's own; a number of the output is one chain over the
//! positions. So the bits depend on the tier's vectors, and on nothing that meets in a register.
//!
//! All functions are inlined into a tier's steps, which have the instructions.

use crate::ops::attend::part::PADDING;
use crate::ops::attend::positions::TILE;
use crate::ops::attend::steps::{Ahead, CachedRows, QUERIES, Rows, ScoreArgs, Softened, ValueArgs};
use crate::ops::kv::{KvType, widen_q8_0};

/// The vectors of a tier: `N` numbers each, of which [`Lanes::sums`] sums `G` and four queries meet `K` at a time.
///
/// A value of an implementing type proves that the function has the tier's instructions.
pub(in crate::simd) trait Lanes<const N: usize, const G: usize, const K: usize>: Copy {
    type Vector: Copy;

    fn load(self, x: &[f32; N]) -> Self::Vector;
    fn load_halves(self, x: &[[u8; 2]; N]) -> Self::Vector;
    fn load_singles(self, x: &[[u8; 4]; N]) -> Self::Vector;
    fn store(self, x: Self::Vector, out: &mut [f32; N]);
    fn splat(self, x: f32) -> Self::Vector;
    fn add(self, x: Self::Vector, y: Self::Vector) -> Self::Vector;
    fn subtract(self, x: Self::Vector, y: Self::Vector) -> Self::Vector;
    fn multiply(self, x: Self::Vector, y: Self::Vector) -> Self::Vector;

    /// `x * y + sum`, rounded once.
    fn fuse(self, x: Self::Vector, y: Self::Vector, sum: Self::Vector) -> Self::Vector;

    /// The greater of two numbers; of a NaN and a number, the number if it is in `y`.
    fn max(self, x: Self::Vector, y: Self::Vector) -> Self::Vector;

    fn exp(self, x: Self::Vector) -> Self::Vector;

    /// The greatest number.
    fn greatest(self, x: Self::Vector) -> f32;

    /// The sum of the numbers of a vector.
    fn sum(self, x: Self::Vector) -> f32;

    /// The sums of the numbers of each vector.
    fn sums(self, x: [Self::Vector; G]) -> [f32; G];

    /// Asks for row `i`, into the second-level cache.
    fn prefetch_row(self, ahead: Ahead, i: usize);

    /// Writes a row of Q8_0 as f32 with zeros behind.
    #[inline(always)]
    fn widen_q8_0(self, row: &[u8], out: &mut [f32]) {
        widen_q8_0(row, out);
    }
}

/// A number as memory has it.
trait Number<L: Lanes<N, G, K>, const N: usize, const G: usize, const K: usize>: Copy + Default {
    /// `N` of them as f32.
    fn load(lanes: L, x: &[Self; N]) -> L::Vector;
}

/// Implements [`Number`] for types that lanes load.
macro_rules! numbers {
    ($($number:ty: $load:ident),*) => {
        $(impl<L: Lanes<N, G, K>, const N: usize, const G: usize, const K: usize> Number<L, N, G, K> for $number {
            #[inline(always)]
            fn load(lanes: L, x: &[Self; N]) -> L::Vector {
                lanes.$load(x)
            }
        })*
    };
}

numbers!(f32: load, [u8; 2]: load_halves, [u8; 4]: load_singles);

/// Writes cached rows as f32 with zeros behind.
#[inline(always)]
pub(in crate::simd) fn widen<L: Lanes<N, G, K>, const N: usize, const G: usize, const K: usize>(
    lanes: L,
    rows: CachedRows<'_>,
    n: usize,
    dim: usize,
    out: &mut [f32],
) {
    for (i, out) in (0..n).zip(out.chunks_exact_mut(dim.next_multiple_of(PADDING))) {
        let row = rows.row(i, dim);
        match rows.kv_type {
            KvType::F16 => widen_row(lanes, row.as_chunks::<2>().0, out),
            KvType::Q8_0 => lanes.widen_q8_0(row, out),
            KvType::F32 => widen_row(lanes, row.as_chunks::<4>().0, out),
        }
    }
}

#[inline(always)]
fn widen_row<L: Lanes<N, G, K>, T: Number<L, N, G, K>, const N: usize, const G: usize, const K: usize>(
    lanes: L,
    row: &[T],
    out: &mut [f32],
) {
    let (vectors, rest) = row.as_chunks::<N>();
    let (whole, padded) = out.as_chunks_mut().0.split_at_mut(vectors.len());
    for (vector, out) in vectors.iter().zip(whole) {
        lanes.store(T::load(lanes, vector), out);
    }
    // What is left, with zeros behind, and then zeros alone.
    let mut last = [T::default(); N];
    last[..rest.len()].copy_from_slice(rest);
    for out in padded {
        lanes.store(T::load(lanes, &last), out);
        last = [T::default(); N];
    }
}

/// The products of queries and keys.
#[inline(always)]
pub(in crate::simd) fn score<L: Lanes<N, G, K>, const N: usize, const G: usize, const K: usize>(
    lanes: L,
    args: &mut ScoreArgs<'_>,
) {
    match args.keys {
        Rows::Wide(keys) => score_keys(lanes, args, keys.as_chunks().0),
        Rows::Halves(keys) => score_keys(lanes, args, keys.as_chunks::<2>().0.as_chunks().0),
        Rows::Singles(keys) => score_keys(lanes, args, keys.as_chunks::<4>().0.as_chunks().0),
    }
}

/// Alone, a query meets as many keys as are summed together.
#[inline(always)]
fn score_keys<L: Lanes<N, G, K>, T: Number<L, N, G, K>, const N: usize, const G: usize, const K: usize>(
    lanes: L,
    args: &mut ScoreArgs<'_>,
    keys: &[[T; N]],
) {
    let n_queries = args.queries.len() / args.dim.max(1);
    if n_queries == 1 {
        for k in (0..args.n_keys).step_by(G) {
            prefetch_rows::<L, G, N, G, K>(lanes, args.ahead, k);
            score_tile::<L, T, 1, G, N, G, K>(lanes, args, keys, 0, k);
        }
        return;
    }
    for k in (0..args.n_keys).step_by(K) {
        prefetch_rows::<L, K, N, G, K>(lanes, args.ahead, k);
        for q in (0..n_queries).step_by(QUERIES) {
            match n_queries - q {
                1 => score_tile::<L, T, 1, K, N, G, K>(lanes, args, keys, q, k),
                2 => score_tile::<L, T, 2, K, N, G, K>(lanes, args, keys, q, k),
                3 => score_tile::<L, T, 3, K, N, G, K>(lanes, args, keys, q, k),
                _ => score_tile::<L, T, QUERIES, K, N, G, K>(lanes, args, keys, q, k),
            }
        }
    }
}

#[inline(always)]
fn prefetch_rows<L: Lanes<N, G, K>, const ROWS: usize, const N: usize, const G: usize, const K: usize>(
    lanes: L,
    ahead: Ahead,
    first: usize,
) {
    for i in first..first + ROWS {
        lanes.prefetch_row(ahead, i);
    }
}

/// Writes the products of `Q` queries from `q` on and `KEYS` keys from `k` on. Keys behind the last repeat it.
#[inline(always)]
fn score_tile<
    L: Lanes<N, G, K>,
    T: Number<L, N, G, K>,
    const Q: usize,
    const KEYS: usize,
    const N: usize,
    const G: usize,
    const K: usize,
>(
    lanes: L,
    args: &mut ScoreArgs<'_>,
    keys: &[[T; N]],
    q: usize,
    k: usize,
) {
    let (len, zero) = (args.dim / N, lanes.splat(0.0));
    let mut query_rows: [&[[f32; N]]; Q] = [&[]; Q];
    for (i, row) in query_rows.iter_mut().enumerate() {
        *row = &args.queries[(q + i) * args.dim..][..args.dim].as_chunks().0[..len];
    }
    let mut key_rows = [&keys[..0]; KEYS];
    for i in 0..KEYS {
        key_rows[i] = &keys[(k + i).min(args.n_keys - 1) * len..][..len];
    }
    let mut sums = [[zero; KEYS]; QUERIES];
    for at in 0..len {
        let mut queries = [zero; Q];
        for i in 0..Q {
            queries[i] = lanes.load(&query_rows[i][at]);
        }
        for j in 0..KEYS {
            let key = T::load(lanes, &key_rows[j][at]);
            for i in 0..Q {
                sums[i][j] = lanes.fuse(queries[i], key, sums[i][j]);
            }
        }
    }
    let mut scores = [[0.0; KEYS]; QUERIES];
    let groups = scores.as_flattened_mut().as_chunks_mut::<G>().0.iter_mut().zip(sums.as_flattened().as_chunks().0);
    for (scores, sums) in groups.take((Q * KEYS).div_ceil(G)) {
        *scores = lanes.sums(*sums);
    }
    for (i, scores) in scores.iter().enumerate().take(Q) {
        args.scores[(q + i) * TILE + k..][..KEYS].copy_from_slice(scores);
    }
}

/// Turns scores into weights.
#[inline(always)]
pub(in crate::simd) fn soften<L: Lanes<N, G, K>, const N: usize, const G: usize, const K: usize>(
    lanes: L,
    scores: &mut [f32; TILE],
    before: f32,
) -> Softened {
    let vectors = scores.as_chunks_mut::<N>().0;
    let mut max = lanes.splat(before);
    for vector in &*vectors {
        max = lanes.max(lanes.load(vector), max);
    }
    let max = lanes.greatest(max);
    // Scores of minus infinity have no weight even when there is no other.
    let base = if max == f32::NEG_INFINITY { 0.0 } else { max };
    let mut sum = lanes.splat(0.0);
    for vector in vectors {
        let weights = lanes.exp(lanes.subtract(lanes.load(vector), lanes.splat(base)));
        sum = lanes.add(sum, weights);
        lanes.store(weights, vector);
    }
    let mut factor = [1.0; N];
    if before != max {
        lanes.store(lanes.exp(lanes.splat(before - base)), &mut factor);
    }
    Softened { max, sum: lanes.sum(sum), factor: factor[0] }
}

/// Adds weighted values.
#[inline(always)]
pub(in crate::simd) fn add_values<L: Lanes<N, G, K>, const N: usize, const G: usize, const K: usize>(
    lanes: L,
    args: &mut ValueArgs<'_>,
) {
    match args.values {
        Rows::Wide(values) => add_rows(lanes, args, values.as_chunks().0),
        Rows::Halves(values) => add_rows(lanes, args, values.as_chunks::<2>().0.as_chunks().0),
        Rows::Singles(values) => add_rows(lanes, args, values.as_chunks::<4>().0.as_chunks().0),
    }
}

#[inline(always)]
fn add_rows<L: Lanes<N, G, K>, T: Number<L, N, G, K>, const N: usize, const G: usize, const K: usize>(
    lanes: L,
    args: &mut ValueArgs<'_>,
    values: &[[T; N]],
) {
    let n = args.dim / N;
    let mut at = 0;
    if args.n_queries() == 1 {
        while at + 8 <= n {
            add_columns::<L, T, 1, 8, N, G, K>(lanes, args, values, at);
            at += 8;
        }
        (at..n).for_each(|at| add_columns::<L, T, 1, 1, N, G, K>(lanes, args, values, at));
    } else {
        while at + K <= n {
            add_columns::<L, T, QUERIES, K, N, G, K>(lanes, args, values, at);
            at += K;
        }
        (at..n).for_each(|at| add_columns::<L, T, QUERIES, 1, N, G, K>(lanes, args, values, at));
    }
}

/// Adds `V` vectors of columns from vector `at` on to the parts of `Q` queries, of which the last may be repeated.
#[inline(always)]
fn add_columns<
    L: Lanes<N, G, K>,
    T: Number<L, N, G, K>,
    const Q: usize,
    const V: usize,
    const N: usize,
    const G: usize,
    const K: usize,
>(
    lanes: L,
    args: &mut ValueArgs<'_>,
    values: &[[T; N]],
    at: usize,
) {
    let (len, last, zero) = (args.dim / N, args.n_queries() - 1, lanes.splat(0.0));
    let mut sums = [[zero; V]; Q];
    let mut weights = [&args.weights[..0]; Q];
    for q in 0..Q {
        let query = q.min(last);
        let part: &[[f32; N]; V] = columns(args.parts[query * args.part_len..].as_chunks().0, at);
        for v in 0..V {
            sums[q][v] = lanes.multiply(lanes.splat(args.factors[query]), lanes.load(&part[v]));
        }
        weights[q] = &args.weights[query * TILE..][..args.positions.end];
    }
    for p in args.positions.clone() {
        if let (0, Some(ahead)) = (at, args.ahead) {
            lanes.prefetch_row(ahead, p);
        }
        let value: &[[T; N]; V] = columns(values, p * len + at);
        let mut wide = [zero; V];
        for v in 0..V {
            wide[v] = T::load(lanes, &value[v]);
        }
        for q in 0..Q {
            let weight = lanes.splat(weights[q][p]);
            for v in 0..V {
                sums[q][v] = lanes.fuse(weight, wide[v], sums[q][v]);
            }
        }
    }
    // A loop of constant length keeps the sums in registers.
    for (q, sums) in sums.iter().enumerate() {
        if q > last {
            break;
        }
        let part = args.parts[q * args.part_len..].as_chunks_mut::<N>().0;
        let part: &mut [[f32; N]; V] = part[at..].first_chunk_mut().expect("the columns lie inside the part");
        for v in 0..V {
            lanes.store(sums[v], &mut part[v]);
        }
    }
}

/// `V` vectors from vector `at` on.
#[inline(always)]
fn columns<T, const V: usize>(vectors: &[T], at: usize) -> &[T; V] {
    vectors[at..].first_chunk().expect("the columns lie inside the row")
}

/// Makes methods of [`Lanes`] of expressions that need a tier's instructions.
macro_rules! methods {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $body:expr;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $type),*) $(-> $result)? {
            // SAFETY: `self` exists only in functions with the tier's instructions, and this is inlined into them.
            unsafe { $body }
        })*
    };
}

/// Makes `STEPS`, a tier's table of steps, of its type of lanes, which has a single value.
macro_rules! attend_steps {
    ($lanes:path, $features:literal) => {
        pub(super) const STEPS: AttendSteps = AttendSteps {
            widen: door!(|rows, n, dim, out| widen),
            score: door!(|args| score),
            cap: door!(|scores, cap| cap_scores),
            soften: door!(|scores, before| soften),
            add_values: door!(|args| add_values),
        };

        #[target_feature(enable = $features)]
        fn widen(rows: CachedRows<'_>, n: usize, dim: usize, out: &mut [f32]) {
            attend::widen($lanes(()), rows, n, dim, out);
        }

        #[target_feature(enable = $features)]
        fn score(args: &mut ScoreArgs<'_>) {
            attend::score($lanes(()), args);
        }

        #[target_feature(enable = $features)]
        fn cap_scores(scores: &mut [f32; TILE], cap: f32) {
            soft_cap(scores, cap);
        }

        #[target_feature(enable = $features)]
        fn soften(scores: &mut [f32; TILE], before: f32) -> Softened {
            attend::soften($lanes(()), scores, before)
        }

        #[target_feature(enable = $features)]
        fn add_values(args: &mut ValueArgs<'_>) {
            attend::add_values($lanes(()), args);
        }
    };
}

pub(in crate::simd) use {attend_steps, methods};
