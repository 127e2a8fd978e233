//! A second backend, as plain as can be, that keeps weights: it fits behind the same traits, agrees with the reference, and
//! the store reads nothing again that it has.

use std::collections::HashMap;
use std::sync::Arc;

use forward::{
    AttendShape, Backend, Batch, BatchSize, Device, ForwardError, KvPages, KvRow, LanguageModel, LogitRows, Ops,
    PAGE_TOKENS, PageId, Placement, Projection, Runner, RunnerOptions, SeqId, Sequences, Window,
};
use kernels::{Activation, Kernels, QuantType};
use model::gguf::Gguf;
use model::{Matrix, ModelSpec, Norm, Part, Rope};
use store::{Buffer, IoMode, Ledger, ReadStats, SlabGuard, SlabId, StoreError, StoreOptions, WeightStore};
use testkit::compare::relative_to_spread;
use testkit::{TinyModel, TinySpec, reference, temp_model};

use crate::common::{LIMIT_BYTES, PROMPT, SEQ, plan_for, rows};

/// Rows of numbers, `[rows][width]`.
type Rows = Vec<Vec<f32>>;

/// Rows of a matrix in the device's memory.
#[derive(Clone)]
struct Kept {
    part: Part,
    first_row: usize,
    bytes: Arc<Vec<u8>>,
}

/// The device.
#[derive(Default)]
struct Keeper {
    kept: HashMap<SlabId, Kept>,
    /// It keeps no more slabs than this.
    room: usize,
    input: Rows,
}

/// Keys and values by layer and place.
#[derive(Default)]
struct Pages(HashMap<(usize, u32, usize), [Vec<f32>; 2]>);

fn page_number(page: PageId) -> u32 {
    // Its only public form; a device would have its own table.
    format!("{page:?}").chars().filter(char::is_ascii_digit).collect::<String>().parse().expect("a page has a number")
}

fn key(layer: usize, place: KvRow) -> (usize, u32, usize) {
    (layer, page_number(place.page), place.row)
}

impl Device for Keeper {
    type Tensor = Rows;
    type Weights<'a> = Kept;

    fn tensor(&self, _rows: usize, _width: usize) -> Result<Rows, StoreError> {
        Ok(Rows::new())
    }

    fn vector(&self, values: Vec<f32>) -> Rows {
        vec![values]
    }

    fn read(&self, x: &Rows) -> Result<Buffer<f32>, StoreError> {
        Ok(x.concat().into())
    }

    fn prepare(&mut self, _spec: &ModelSpec, _rows: usize) -> Result<(), StoreError> {
        Ok(())
    }

    fn buffer_bytes(&self, _spec: &ModelSpec, _rows: usize) -> u64 {
        0
    }

    fn kept<'a>(&self, slab: SlabId) -> Option<Self::Weights<'a>> {
        self.kept.get(&slab).cloned()
    }

    fn n_kept(&self) -> usize {
        self.kept.len()
    }

    fn bring<'a>(&mut self, slab: SlabGuard<'a>) -> Result<Self::Weights<'a>, StoreError> {
        let bytes = Arc::new(slab.bytes().to_vec());
        let weights = Kept { part: slab.part(), first_row: slab.first_row(), bytes };
        if self.kept.len() < self.room {
            self.kept.insert(slab.id(), weights.clone());
        }
        Ok(weights)
    }
}

impl Ops for Keeper {
    fn expand(&mut self, matrix: &Matrix, bytes: &[u8], first: usize, n_rows: usize, out: &mut Rows) {
        out.resize(n_rows, Vec::new());
        let row_bytes = matrix.quant.row_bytes(matrix.cols).expect("whole blocks");
        for (row, bytes) in (first..).zip(bytes.chunks_exact(row_bytes)) {
            out[row] = vec![0.0; matrix.cols];
            Kernels::scalar().dequantise(matrix.quant, bytes, &mut out[row]);
        }
    }

    fn norm(&mut self, x: &Rows, norm: &Norm, weight: &Rows, out: &mut Rows) {
        out.clone_from(x);
        self.norm_in_place(out, norm, weight);
    }

    fn norm_in_place(&mut self, x: &mut Rows, norm: &Norm, weight: &Rows) {
        for run in x.iter_mut().flat_map(|row| row.chunks_exact_mut(weight[0].len())) {
            Kernels::scalar().rms_norm_in_place(run, &weight[0], norm.eps);
        }
    }

    fn input(&mut self, x: &Rows, _quant: QuantType) {
        self.input.clone_from(x);
    }

    fn multiply(&mut self, _n_few: usize, targets: &mut [Projection<Rows>], weights: &[Kept]) {
        for slab in weights {
            let target = targets.iter_mut().find(|target| target.weight.part == slab.part).expect("one of the targets");
            let Matrix { quant, rows, cols, .. } = target.weight;
            target.out.resize(self.input.len(), Vec::new());
            target.out.truncate(self.input.len());
            let mut weight = vec![0.0; cols];
            let row_bytes = quant.row_bytes(cols).expect("whole blocks");
            for (r, bytes) in (slab.first_row..).zip(slab.bytes.chunks_exact(row_bytes)) {
                Kernels::scalar().dequantise(quant, bytes, &mut weight);
                for (x, out) in self.input.iter().zip(target.out.iter_mut()) {
                    out.resize(rows, 0.0);
                    let product: f64 = x.iter().zip(&weight).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    out[r] = product as f32 + target.bias.map_or(0.0, |bias| bias[0][r]);
                }
            }
        }
    }

    fn rope(&mut self, x: &mut Rows, head_dim: usize, rope: &Rope, angles: &[[f32; 2]]) {
        for (row, angles) in x.iter_mut().zip(angles.chunks_exact(rope.dims / 2)) {
            row.chunks_exact_mut(head_dim).for_each(|head| Kernels::scalar().rope(head, angles, rope.layout));
        }
    }

    fn gate(&mut self, activation: Activation, gate: &mut Rows, up: &Rows) {
        gate.iter_mut().zip(up).for_each(|(gate, up)| Kernels::scalar().gate(activation, gate, up));
    }

    fn add(&mut self, x: &mut Rows, y: &Rows) {
        x.iter_mut().zip(y).for_each(|(x, y)| Kernels::scalar().add(x, y));
    }

    fn scale(&mut self, x: &mut Rows, factor: f32) {
        x.iter_mut().for_each(|x| Kernels::scalar().scale(x, factor));
    }

    fn soft_cap(&mut self, x: &mut Rows, cap: f32) {
        x.iter_mut().for_each(|x| Kernels::scalar().soft_cap(x, cap));
    }

    fn select(&mut self, x: &Rows, indices: &[usize], out: &mut Rows) {
        *out = indices.iter().map(|row| x[*row].clone()).collect();
    }
}

impl KvPages for Pages {
    type Tensor = Rows;

    fn page_bytes(&self) -> usize {
        0
    }

    fn begin(&mut self, placement: &Placement, _sequences: &Sequences) -> Result<(), StoreError> {
        assert!(placement.copies.is_empty(), "nothing is forked here");
        Ok(())
    }

    fn append(&mut self, layer: usize, placement: &Placement, k: &Rows, v: &Rows) {
        for (row, (k, v)) in placement.rows.iter().zip(k.iter().zip(v)) {
            self.0.insert(key(layer, placement.place(row)), [k.clone(), v.clone()]);
        }
    }

    fn copy_rows(&mut self, pairs: &[(KvRow, KvRow)]) {
        for (from, to) in pairs {
            let of = |place: &KvRow, layer| key(layer, *place);
            let layers = (0..).map_while(|layer| self.0.get(&of(from, layer)).cloned()).collect::<Vec<_>>();
            layers.into_iter().enumerate().for_each(|(layer, row)| drop(self.0.insert(of(to, layer), row)));
        }
    }

    fn page(&mut self, _page: PageId) -> Result<&[u8], StoreError> {
        Ok(&[])
    }

    fn page_mut(&mut self, _page: PageId, _sequences: &Sequences) -> Result<&mut [u8], StoreError> {
        Ok(&mut [])
    }

    fn stats(&self) -> ReadStats {
        ReadStats::default()
    }
}

impl Backend for Keeper {
    type Kv = Pages;

    fn attend(
        &mut self,
        kv: &mut Pages,
        shape: AttendShape,
        placement: &Placement,
        q: &Rows,
        out: &mut Rows,
    ) -> Result<(), StoreError> {
        *out = (0..q.len()).map(|r| attend_row(kv, shape, placement, r, &q[r])).collect();
        Ok(())
    }
}

/// What one row's heads see of its sequence and its ancestors.
fn attend_row(kv: &Pages, shape: AttendShape, placement: &Placement, r: usize, q: &[f32]) -> Vec<f32> {
    let row = placement.rows[r];
    let mut places: Vec<KvRow> = placement.ancestry(r).map(|row| placement.place(row)).collect();
    let before = (0..row.position + 1 - places.len()).rev();
    places.extend(
        before.map(|slot| KvRow { page: placement.pages[row.segment][slot / PAGE_TOKENS], row: slot % PAGE_TOKENS }),
    );
    // From the last token to the first; the window is over the last.
    places.truncate(shape.window.len);
    let seen: Vec<&[Vec<f32>; 2]> = places.iter().map(|place| &kv.0[&key(shape.layer, *place)]).collect();
    let mut out = Vec::new();
    for (head, q) in q.chunks_exact(shape.head_dim).enumerate() {
        let kv_head = head / shape.n_group();
        let of = |x: &Vec<f32>, dim: usize, i: usize| f64::from(x[kv_head * dim + i]);
        let score = |kv: &&[Vec<f32>; 2]| -> f64 {
            let product: f64 = q.iter().enumerate().map(|(i, q)| f64::from(*q) * of(&kv[0], shape.head_dim, i)).sum();
            (product * f64::from(shape.scale)).exp()
        };
        let weights: Vec<f64> = seen.iter().map(score).collect();
        let sum: f64 = weights.iter().sum();
        out.extend((0..shape.value_dim).map(|i| {
            let value: f64 = seen.iter().zip(&weights).map(|(kv, w)| w * of(&kv[1], shape.value_dim, i)).sum();
            (value / sum) as f32
        }));
    }
    out
}

/// A runner that streams what the device does not keep.
fn open(model: &TinyModel, room: usize) -> Runner<Keeper> {
    let path = temp_model(&model.gguf_bytes());
    let header = Gguf::open(&path).expect("testkit writes GGUF");
    let spec = ModelSpec::from_gguf(&header).expect("the model is complete");
    let plan = plan_for(&spec, 0.0, store::CachePolicy::Pin);
    let options = StoreOptions { io: IoMode::Auto, max_read_rate: None };
    let store =
        WeightStore::open(header.files(), &spec, &plan, options, &Ledger::new(LIMIT_BYTES)).expect("it can be read");
    let size = BatchSize { rows: 32, logit_rows: 32 };
    let limits = RunnerOptions { ctx: 128, n_pages: 4, window: Window::ALL, largest: size, always: size };
    Runner::new(spec, store, (Keeper { room, ..Keeper::default() }, Pages::default()), limits).expect("it can be read")
}

#[test]
fn it_agrees_with_the_reference_and_reads_nothing_twice_that_it_keeps() {
    for line in ["llama", "qwen2", "qwen3", "gemma3", "llama type=Q8_0"] {
        let model = TinySpec::from_line(line).build();
        let expected = reference::logits(&model, &PROMPT);
        for room in [0, 5, usize::MAX] {
            let mut runner = open(&model, room);
            let mut found = Vec::new();
            let mut read = Vec::new();
            for (start, len) in [(0, 12), (12, 1), (13, 1), (14, 6)] {
                let before = runner.read_stats().bytes_read;
                let batch = Batch::one(SEQ, start, PROMPT[start..start + len].to_vec(), LogitRows::All);
                found.extend(rows(&runner.forward(&batch).unwrap()));
                read.push(runner.read_stats().bytes_read - before);
            }
            for (found, expected) in found.iter().zip(&expected) {
                let distance = relative_to_spread(found, expected);
                assert!(distance <= 1e-4, "{line}, room for {room}: {distance:.2e} standard deviations off");
            }
            // Embedding rows aside, which are read one by one.
            let all: u64 = runner.spec().walk().map(|used| runner.spec().tensor(used.matrix.part.tensor).len).sum();
            match room {
                0 => assert!(read[2] >= all / 2, "{line}: {read:?} of {all}"),
                usize::MAX => assert!(read[2] < all / 20, "{line}: {read:?} of {all}"),
                _ => assert!(read[2] < all, "{line}: {read:?} of {all}"),
            }
        }
    }
}

#[test]
fn trees_work_on_it_too() -> Result<(), ForwardError> {
    let model = TinySpec::from_line("llama").build();
    let mut runner = open(&model, usize::MAX);
    runner.forward(&Batch::one(SEQ, 0, PROMPT[..7].to_vec(), LogitRows::None))?;
    let tree = forward::Segment {
        parents: vec![None, None, Some(1)],
        ..forward::Segment::run(SEQ, 7, vec![9, 8, 11], LogitRows::All)
    };
    let found = rows(&runner.forward(&Batch { segments: vec![tree] })?);
    let branch = [&PROMPT[..7], &[8, 11]].concat();
    let expected = reference::logits(&model, &branch);
    assert!(relative_to_spread(&found[2], &expected[8]) <= 1e-4);
    runner.accept(SEQ, &[1, 2])?;
    let next = rows(&runner.forward(&Batch::one(SEQ, 9, vec![3], LogitRows::Last))?);
    let expected = reference::logits(&model, &[&branch[..], &[3]].concat());
    assert!(relative_to_spread(&next[0], &expected[9]) <= 1e-4);
    assert_eq!(runner.kv().len(SeqId(1)), 10);
    Ok(())
}
