//! Attention: near the exact result, and the same bits in every company and however the positions are cut into runs.

use kernels::{AttendArgs, Kernels, KvType, PartLayout};
use proptest::prelude::*;

use crate::config;
use crate::inputs::Random;
use crate::ops::{ROUNDING, assert_near};

/// The last tokens of a sequence, with the cached keys and values of all of it.
#[derive(Clone, Debug)]
struct Case {
    kv_type: KvType,
    n_group: usize,
    head_dim: usize,
    value_dim: usize,
    /// Positions in the sequence, of which the last `n_rows` are the queries' own.
    n_positions: usize,
    n_rows: usize,
    window: usize,
    n_sinks: usize,
    soft_cap: Option<f32>,
    magnitude: f32,
    seed: u64,
}

/// A [`Case`] with its numbers.
struct Attention {
    case: Case,
    queries: Vec<f32>,
    keys: Vec<u8>,
    values: Vec<u8>,
}

fn cases(max_positions: usize) -> impl Strategy<Value = Case> {
    let kv_type = prop::sample::select(vec![KvType::F16, KvType::Q8_0, KvType::F32]);
    let magnitude = prop::sample::select(vec![1e-3f32, 1.0, 8.0]);
    let dim = || prop_oneof![1..140usize, prop::sample::select(vec![16usize, 32, 48, 64, 128])];
    let rows = (1..max_positions, 1..20usize);
    let window = prop_oneof![Just((usize::MAX, 0)), (1..max_positions, 0..100usize)];
    let soft_cap = prop::sample::select(vec![None, Some(0.7f32), Some(50.0)]);
    (kv_type, 1..9usize, dim(), dim(), rows, window, (magnitude, soft_cap), any::<u64>()).prop_map(
        |(kv_type, n_group, head_dim, value_dim, rows, (window, n_sinks), (magnitude, soft_cap), seed)| {
            let (n_positions, n_rows) = rows;
            let n_rows = n_rows.min(n_positions);
            let block = if kv_type == KvType::Q8_0 { 32 } else { 1 };
            let [head_dim, value_dim] = [head_dim, value_dim].map(|dim: usize| dim.next_multiple_of(block));
            Case {
                kv_type,
                n_group,
                head_dim,
                value_dim,
                n_positions,
                n_rows,
                window,
                n_sinks,
                soft_cap,
                magnitude,
                seed,
            }
        },
    )
}

impl Attention {
    fn new(case: &Case) -> Attention {
        let mut random = Random::new(case.seed);
        let queries = random.vector(case.n_rows * case.n_group * case.head_dim, case.magnitude);
        let mut cache = |dim: usize| {
            let x = random.vector(case.n_positions * dim, case.magnitude);
            let mut bytes = vec![0; case.kv_type.row_bytes(x.len())];
            Kernels::scalar().store_kv(case.kv_type, &x, &mut bytes);
            bytes
        };
        let (keys, values) = (cache(case.head_dim), cache(case.value_dim));
        Attention { case: case.clone(), queries, keys, values }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.case.head_dim as f32).sqrt()
    }

    fn row_bytes(&self) -> [usize; 2] {
        [self.case.head_dim, self.case.value_dim].map(|dim| self.case.kv_type.row_bytes(dim))
    }

    /// Attends with some rows and heads, in runs that begin at these positions; `[rows, heads, value_dim]`.
    fn attend(
        &self,
        kernels: &Kernels,
        rows: std::ops::Range<usize>,
        heads: std::ops::Range<usize>,
        starts: &[usize],
    ) -> Vec<f32> {
        let Case { kv_type, n_group, head_dim, value_dim, n_positions, .. } = self.case;
        let n_queries = rows.len() * heads.len();
        let layout = PartLayout::new(value_dim);
        let mut parts = vec![f32::NAN; n_queries * layout.len()];
        layout.clear(&mut parts);
        let [key_bytes, value_bytes] = self.row_bytes();
        for (i, &start) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(n_positions);
            let first_query = (rows.start * n_group + heads.start) * head_dim;
            kernels.attend(AttendArgs {
                kv_type,
                n_rows: rows.len(),
                n_group: heads.len(),
                head_dim,
                value_dim,
                queries: &self.queries[first_query..],
                query_stride: n_group * head_dim,
                keys: &tiles(&self.keys[start * key_bytes..], key_bytes),
                values: &tiles(&self.values[start * value_bytes..], value_bytes),
                start,
                n_positions: end - start,
                first_row: n_positions - self.case.n_rows + rows.start,
                window: self.case.window,
                n_sinks: self.case.n_sinks,
                scale: self.scale(),
                soft_cap: self.case.soft_cap,
                scratch: &mut vec![f32::NAN; AttendArgs::scratch_len(n_queries, head_dim, value_dim)],
                parts: &mut parts,
            });
        }
        let mut out = vec![f32::NAN; n_queries * value_dim];
        layout.finish(&parts, &mut out);
        out
    }

    fn attend_all(&self, kernels: &Kernels) -> Vec<f32> {
        self.attend(kernels, 0..self.case.n_rows, 0..self.case.n_group, &[0])
    }

    /// The same by the book, in f64 throughout.
    fn exact(&self) -> Vec<f32> {
        let Case { kv_type, n_group, head_dim, value_dim, n_positions, n_rows, window, n_sinks, .. } = self.case;
        let [key_bytes, value_bytes] = self.row_bytes();
        let mut out = Vec::new();
        for q in 0..n_rows * n_group {
            let query = &self.queries[q * head_dim..][..head_dim];
            let end = n_positions - n_rows + q / n_group + 1;
            let visible: Vec<usize> = (0..end).filter(|p| end - p <= window || *p < n_sinks).collect();
            let score = |p: usize| -> f64 {
                let key = (0..head_dim).map(|i| number(kv_type, &self.keys[p * key_bytes..], i));
                let score = key.zip(query).map(|(k, &q)| k * f64::from(q)).sum::<f64>() * f64::from(self.scale());
                self.case.soft_cap.map(f64::from).map_or(score, |cap| cap * (score / cap).tanh())
            };
            let scores: Vec<f64> = visible.iter().map(|p| score(*p)).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
            out.extend((0..value_dim).map(|i| {
                let value = |p: usize| number(kv_type, &self.values[p * value_bytes..], i);
                scores.iter().zip(&visible).map(|(s, p)| (s - max).exp() / sum * value(*p)).sum::<f64>() as f32
            }));
        }
        out
    }

    /// How far a tier may be off: a score by its roundings, which moves every weight by the same factor, and the sum of
    /// the values, whose weights add up to 1, by one rounding a position and three a tile. A cap adds twelve roundings.
    fn tolerance(&self) -> f64 {
        let m = f64::from(self.case.magnitude);
        let dim = self.case.head_dim as f64;
        let greatest = f64::from(self.scale()) * dim * m * m;
        let capped = self.case.soft_cap.map_or(0.0, |cap| 12.0 * greatest.min(cap.into()));
        let score = ((2.0 * dim + 6.0) * greatest + capped) * ROUNDING;
        let rounding = (6.0 * self.case.n_positions as f64 + 32.0) * ROUNDING;
        (2.0 * score + rounding) * m
    }
}

/// Rows by tiles.
fn tiles(bytes: &[u8], row_bytes: usize) -> Vec<&[u8]> {
    bytes.chunks(AttendArgs::TILE * row_bytes).collect()
}

/// Number `i` of a cached row.
fn number(kv_type: KvType, row: &[u8], i: usize) -> f64 {
    match kv_type {
        KvType::F16 => half::f16::from_le_bytes(row.as_chunks().0[i]).to_f64(),
        KvType::Q8_0 => {
            let block: &[u8; 34] = &row.as_chunks().0[i / 32];
            let scale = half::f16::from_le_bytes([block[0], block[1]]).to_f64();
            scale * f64::from(block[2 + i % 32].cast_signed())
        }
        KvType::F32 => f32::from_le_bytes(row.as_chunks().0[i]).into(),
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

fn check(case: &Case) {
    let attention = Attention::new(case);
    let want = attention.exact();
    for kernels in Kernels::available() {
        let got = attention.attend_all(kernels);
        assert_near(kernels, &want, &got, 0.0, attention.tolerance());
        let width = case.n_group * case.value_dim;
        for row in 0..case.n_rows {
            let alone = attention.attend(kernels, row..row + 1, 0..case.n_group, &[0]);
            assert_eq!(bits(&got[row * width..][..width]), bits(&alone), "{kernels:?} row {row}: {case:?}");
        }
        for head in 0..case.n_group {
            let alone = attention.attend(kernels, 0..case.n_rows, head..head + 1, &[0]);
            for row in 0..case.n_rows {
                let among = &got[row * width + head * case.value_dim..][..case.value_dim];
                let alone = &alone[row * case.value_dim..][..case.value_dim];
                assert_eq!(bits(among), bits(alone), "{kernels:?} row {row} head {head}: {case:?}");
            }
        }
        let starts: Vec<usize> = (0..case.n_positions).step_by(AttendArgs::TILE * 2).collect();
        let cut = attention.attend(kernels, 0..case.n_rows, 0..case.n_group, &starts);
        assert_eq!(bits(&got), bits(&cut), "{kernels:?} in {} runs: {case:?}", starts.len());
    }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn attention_is_near_the_exact_one_and_has_the_same_bits_in_every_company(case in cases(200)) {
        check(&case);
    }
}

proptest! {
    #![proptest_config(config(8))]

    #[test]
    fn long_attention_too(case in cases(1500)) {
        check(&case);
    }
}

fn small(n_positions: usize, n_rows: usize) -> Case {
    let (kv_type, head_dim, value_dim) = (KvType::F16, 32, 48);
    Case {
        kv_type,
        n_group: 3,
        head_dim,
        value_dim,
        n_positions,
        n_rows,
        window: usize::MAX,
        n_sinks: 0,
        soft_cap: None,
        magnitude: 1.0,
        seed: 5,
    }
}

/// The number at `i` of position `p` becomes a NaN.
fn break_position(cache: &mut [u8], kv_type: KvType, row_bytes: usize, p: usize, i: usize) {
    let at = p * row_bytes + kv_type.row_bytes(i);
    Kernels::scalar().store_kv(kv_type, &[f32::NAN], &mut cache[at..at + kv_type.row_bytes(1)]);
}

/// A broken key or value breaks the rows that see it and leaves the others' bits alone; a broken query its own output.
#[test]
fn a_nan_reaches_what_sees_it_and_no_other() {
    for (window, n_sinks) in [(usize::MAX, 0), (30, 0), (30, 42)] {
        a_nan_reaches(&Case { window, n_sinks, ..small(100, 40) });
    }
}

fn a_nan_reaches(case: &Case) {
    let width = case.n_group * case.value_dim;
    for kernels in Kernels::available() {
        let whole = Attention::new(case).attend_all(kernels);
        for p in [40, 60, 63, 64, 77, 99] {
            let (mut broken_key, mut broken_value) = (Attention::new(case), Attention::new(case));
            let [key_bytes, value_bytes] = broken_key.row_bytes();
            break_position(&mut broken_key.keys, case.kv_type, key_bytes, p, 7);
            break_position(&mut broken_value.values, case.kv_type, value_bytes, p, 7);
            let by_key = broken_key.attend_all(kernels);
            let by_value = broken_value.attend_all(kernels);
            for (i, whole) in whole.iter().enumerate() {
                let row = 60 + i / width;
                let sees = (p..p.saturating_add(case.window)).contains(&row) || p < case.n_sinks && p <= row;
                assert_eq!(by_key[i].is_nan(), sees, "{kernels:?} key {p}, number {i}");
                assert!(sees || by_key[i].to_bits() == whole.to_bits(), "{kernels:?} key {p}, number {i}");
                let meets = sees && i % case.value_dim == 7;
                assert_eq!(by_value[i].is_nan(), meets, "{kernels:?} value {p}, number {i}");
                assert!(meets || by_value[i].to_bits() == whole.to_bits(), "{kernels:?} value {p}, number {i}");
            }
        }
        let mut broken = Attention::new(case);
        let query = 17;
        broken.queries[query * case.head_dim + 3] = f32::NAN;
        for (i, (got, whole)) in broken.attend_all(kernels).iter().zip(&whole).enumerate() {
            let own = i / case.value_dim == query;
            assert!(if own { got.is_nan() } else { got.to_bits() == whole.to_bits() }, "{kernels:?} number {i}");
        }
    }
}

/// Queries that see nothing, or only what their scores give no weight, end as zeros.
#[test]
fn nothing_seen_is_zeros() {
    for kernels in Kernels::available() {
        let attention = Attention::new(&small(70, 3));
        assert_eq!(attention.attend(kernels, 0..3, 0..3, &[]), [0.0; 3 * 3 * 48], "{kernels:?}: no run");
        let layout = PartLayout::new(48);
        let mut after_one = vec![0.0; 3 * 3 * layout.len()];
        layout.clear(&mut after_one);
        let cleared = after_one.clone();
        let [key_bytes, value_bytes] = attention.row_bytes();
        kernels.attend(AttendArgs {
            kv_type: KvType::F16,
            n_rows: 3,
            n_group: 3,
            head_dim: 32,
            value_dim: 48,
            queries: &attention.queries,
            query_stride: 96,
            keys: &tiles(&attention.keys, key_bytes),
            values: &tiles(&attention.values, value_bytes),
            start: 64,
            n_positions: 6,
            first_row: 61,
            window: usize::MAX,
            n_sinks: 0,
            scale: 1.0,
            soft_cap: None,
            scratch: &mut vec![f32::NAN; AttendArgs::scratch_len(9, 32, 48)],
            parts: &mut after_one,
        });
        assert_eq!(bits(&after_one), bits(&cleared), "{kernels:?}: all positions behind the rows");

        let mut hopeless = Attention::new(&Case { kv_type: KvType::F32, ..small(70, 3) });
        hopeless.queries.fill(-1e30);
        Kernels::scalar().store_kv(KvType::F32, &vec![1e30; hopeless.keys.len() / 4], &mut hopeless.keys);
        assert_eq!(hopeless.attend_all(kernels), [0.0; 3 * 3 * 48], "{kernels:?}: scores of minus infinity");
    }
}
