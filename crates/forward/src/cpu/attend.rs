//! Attention on the CPU: a task is a KV head and a block of rows, and for few rows also a span of positions.
//!
//! A context is cut into spans of a fixed length. Each row attends to each span on its own and merges the results in the
//! order of the spans, so its bits do not depend on who does which part: one task may go through all spans of many
//! rows, or each span of one row may be a task. Rows that follow one another in a sequence share a block, and so every load
//! of a key and value.
//!
//! A row of a draft tree sees its ancestors, whose keys and values lie among those of other branches. They are copied into
//! the order of their positions first, so that the row has the bits that it would have in a sequence without the others.

use std::ops::Range;
use std::sync::Mutex;

use kernels::{AttendArgs, Kernels, PartLayout};
use model::ModelSpec;
use store::{Buffer, Ledger, StoreError};

use super::kv::cache::LayerKv;
use super::pool::Pool;
use super::shared::SharedRows;
use super::tensor::CpuTensor;
use crate::kv::page::{KvRow, PAGE_TOKENS};
use crate::kv::window::Window;
use crate::ops::AttendShape;
use crate::placement::{Placement, Row};

/// Positions that a row attends to at once: the kernels' tiles and a context of a usual length divide or are divided by
/// it, and merging is one pass over a value against one over a thousand.
const SPAN: usize = 1024;

const SPAN_PAGES: usize = SPAN / PAGE_TOKENS;

/// Queries that share a block. What belongs to 64 of them stays in the second-level cache, and a key is converted once
/// for all of them.
const BLOCK_QUERIES: usize = 64;

/// Tasks a thread should have, so that a thread that is held up does not hold up the others for long. Where there are
/// no more than that many KV heads of rows, their spans become tasks.
const TASKS_PER_THREAD: usize = 4;

/// Buffers of the attention step, reused from call to call.
pub(super) struct AttendScratch {
    workers: Vec<Mutex<Worker>>,
    /// What the spans of few rows came to.
    parts: Buffer<f32>,
    blocks: Vec<Block>,
}

/// A thread's buffers.
struct Worker {
    /// The kernel's scratch, and two sets of parts.
    numbers: Buffer<f32>,
    /// Keys and values of a row that is not in place.
    packed: Vec<u8>,
}

/// A row's last keys and its last values in the order of their positions, from the start of a page on.
struct Packed<'a> {
    first_page: usize,
    parts: [&'a [u8]; 2],
}

/// Rows `first..first + n_rows` of a batch, which follow one another in a sequence.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    n_rows: usize,
}

/// One attention step.
struct Step<'a> {
    kernels: &'a Kernels,
    kv: LayerKv<'a>,
    shape: AttendShape,
    placement: &'a Placement,
    rows: &'a [Row],
    q: &'a CpuTensor,
}

/// The numbers that a worker's buffers and the parts must hold.
struct Lens {
    worker: usize,
    parts: usize,
}

impl Lens {
    fn new(spec: &ModelSpec, threads: usize, ctx: usize) -> Lens {
        let mut lens = Lens { worker: 0, parts: 0 };
        for a in spec.attentions() {
            let n_group = a.n_heads / a.n_kv_heads;
            let part_len = PartLayout::new(a.value_dim).len();
            let n_queries = BLOCK_QUERIES.max(n_group);
            let scratch = AttendArgs::scratch_len(n_queries, a.head_dim, a.value_dim);
            lens.worker = lens.worker.max(scratch + 2 * n_queries * part_len);
            // A row alone has tasks enough where it has many KV heads or one span.
            let n_spans = ctx.div_ceil(SPAN);
            if n_spans > 1 && a.n_kv_heads <= threads * TASKS_PER_THREAD {
                lens.parts = lens.parts.max(threads * TASKS_PER_THREAD * n_spans * n_group * part_len);
            }
        }
        lens
    }
}

impl AttendScratch {
    /// Errors: the budget has no room for it.
    pub(super) fn new(
        spec: &ModelSpec,
        threads: usize,
        ctx: usize,
        ledger: &Ledger,
    ) -> Result<AttendScratch, StoreError> {
        let lens = Lens::new(spec, threads, ctx);
        let worker = || {
            let numbers = Buffer::zeroed(ledger, "activations", lens.worker)?;
            Ok(Mutex::new(Worker { numbers, packed: Vec::new() }))
        };
        Ok(AttendScratch {
            workers: (0..threads).map(|_| worker()).collect::<Result<_, _>>()?,
            parts: Buffer::zeroed(ledger, "activations", lens.parts)?,
            blocks: Vec::new(),
        })
    }

    /// Bytes of its buffers.
    pub(super) fn bytes(spec: &ModelSpec, threads: usize, ctx: usize) -> u64 {
        let lens = Lens::new(spec, threads, ctx);
        ((threads * lens.worker + lens.parts) * size_of::<f32>()) as u64
    }

    /// See [`Backend::attend`](crate::Backend::attend). The query heads `g * n_group..` share KV head `g`, so each is loaded once for all of them.
    #[expect(clippy::too_many_arguments, reason = "the operands of one operation")]
    pub(super) fn attend(
        &mut self,
        kernels: &Kernels,
        pool: &Pool,
        kv: LayerKv<'_>,
        shape: AttendShape,
        placement: &Placement,
        q: &CpuTensor,
        out: &mut CpuTensor,
    ) {
        let rows = &placement.rows[..];
        out.reshape(rows.len(), shape.n_heads * shape.value_dim);
        let n_tasks = pool.threads() * TASKS_PER_THREAD;
        let most = (BLOCK_QUERIES / shape.n_group()).min((rows.len() * shape.n_kv_heads).div_ceil(n_tasks)).max(1);
        cut_into_blocks(rows, most, &mut self.blocks);
        let step = Step { kernels, kv, shape, placement, rows, q };
        let n_spans = rows.iter().map(|row| row.position / SPAN + 1).max().unwrap_or(0);
        if n_spans > 1 && rows.len() * shape.n_kv_heads <= n_tasks {
            self.attend_by_span(&step, pool, n_spans, out);
        } else {
            self.attend_by_block(&step, pool, out);
        }
    }

    /// A task goes through all spans of a block.
    fn attend_by_block(&self, step: &Step<'_>, pool: &Pool, out: &mut CpuTensor) {
        let width = out.width;
        let out = SharedRows::new(out.values_mut(), width);
        let n_kv_heads = step.shape.n_kv_heads;
        let layout = step.layout();
        let group_len = step.group_len();
        pool.run(self.blocks.len() * n_kv_heads, &|task, worker| {
            let (block, head) = (self.blocks[task / n_kv_heads], task % n_kv_heads);
            let Worker { numbers, packed } = &mut *self.workers[worker].lock().expect("a worker's buffers are its own");
            let [total, part, scratch] = step.split(block.n_rows, numbers.values_mut());
            let packed = step.pack(head, block.first, packed);
            if !step.sees(block, 0) {
                layout.clear(total);
            }
            for span in (0..step.n_spans(block)).filter(|span| step.sees(block, *span)) {
                let seeing = step.seeing(block, span);
                let own = (seeing.start - block.first) * group_len..;
                let to = if span == 0 { &mut *total } else { &mut part[own.clone()] };
                step.attend(head, seeing, span, packed.as_ref(), scratch, to);
                if span > 0 {
                    layout.merge(&mut total[own.clone()], &part[own]);
                }
            }
            for (i, parts) in total.chunks_exact(group_len).enumerate() {
                // SAFETY: each task has heads of rows of its own.
                layout.finish(parts, unsafe { out.span(block.first + i, step.columns(head)) });
            }
        });
    }

    /// A task is a span of a block; the results are merged by a second round of tasks.
    fn attend_by_span(&mut self, step: &Step<'_>, pool: &Pool, n_spans: usize, out: &mut CpuTensor) {
        let n_kv_heads = step.shape.n_kv_heads;
        let layout = step.layout();
        let group_len = step.group_len();
        let len = step.rows.len() * n_kv_heads * n_spans * group_len;
        let parts = SharedRows::new(&mut self.parts.values_mut()[..len], len);
        // A block's parts are `[KV heads, spans, rows, heads of a group]`.
        let at = |block: Block, head: usize, span: usize, row: usize| {
            let n_rows = (block.first * n_kv_heads * n_spans) + (head * n_spans + span) * block.n_rows;
            (n_rows + row - block.first) * group_len
        };
        pool.run(self.blocks.len() * n_spans * n_kv_heads, &|task, worker| {
            let (head, span) = (task % n_kv_heads, task / n_kv_heads % n_spans);
            let block = self.blocks[task / n_kv_heads / n_spans];
            let seeing = step.seeing(block, span);
            if !seeing.is_empty() && step.sees(block, span) {
                let Worker { numbers, packed } =
                    &mut *self.workers[worker].lock().expect("a worker's buffers are its own");
                let packed = step.pack(head, block.first, packed);
                let (first, end) = (at(block, head, span, seeing.start), at(block, head, span, seeing.end));
                // SAFETY: each task has parts of its own.
                let parts = unsafe { parts.span(0, first..end) };
                step.attend(head, seeing, span, packed.as_ref(), numbers.values_mut(), parts);
            }
        });
        let width = out.width;
        let out = SharedRows::new(out.values_mut(), width);
        pool.run(self.blocks.len() * n_kv_heads, &|task, _| {
            let (block, head) = (self.blocks[task / n_kv_heads], task % n_kv_heads);
            for row in block.first..block.first + block.n_rows {
                let part = |span: usize| {
                    let first = at(block, head, span, row);
                    // SAFETY: each task has heads of rows of its own, and takes each of their parts once.
                    unsafe { parts.span(0, first..first + group_len) }
                };
                let total = part(0);
                if !step.sees(block, 0) {
                    layout.clear(total);
                }
                let spans = 1..=step.rows[row].position / SPAN;
                spans.filter(|span| step.sees(block, *span)).for_each(|span| layout.merge(total, part(span)));
                // SAFETY: each task has heads of rows of its own.
                layout.finish(total, unsafe { out.span(row, step.columns(head)) });
            }
        });
    }
}

impl Step<'_> {
    fn layout(&self) -> PartLayout {
        PartLayout::new(self.shape.value_dim)
    }

    /// Numbers in the parts of the query heads that share a KV head.
    fn group_len(&self) -> usize {
        self.shape.n_group() * self.layout().len()
    }

    /// The columns of the output that belong to a KV head.
    fn columns(&self, head: usize) -> Range<usize> {
        let width = self.shape.n_group() * self.shape.value_dim;
        head * width..(head + 1) * width
    }

    /// Two sets of parts for `n_rows` rows, on cache lines, and the rest of a worker's buffers.
    fn split<'b>(&self, n_rows: usize, buffers: &'b mut [f32]) -> [&'b mut [f32]; 3] {
        let len = n_rows * self.group_len();
        let (total, rest) = buffers.split_at_mut(len);
        let (part, rest) = rest.split_at_mut(len);
        [total, part, rest]
    }

    /// How many spans the last row of a block sees.
    fn n_spans(&self, block: Block) -> usize {
        self.rows[block.first + block.n_rows - 1].position / SPAN + 1
    }

    /// Whether a row of a block sees something of a span.
    fn sees(&self, block: Block, span: usize) -> bool {
        let Window { len, n_sinks } = self.shape.window;
        let first = (self.rows[block.first].position + 1).saturating_sub(len);
        span * SPAN < n_sinks || first < (span + 1) * SPAN
    }

    /// The rows of a block that see a span, if one sees something of it.
    fn seeing(&self, block: Block, span: usize) -> Range<usize> {
        let end = block.first + block.n_rows;
        let blind = (span * SPAN).saturating_sub(self.rows[block.first].position);
        (block.first + blind).min(end)..end
    }

    /// What a row that is not in place sees in the last pages, copied to `out`.
    fn pack<'b>(&self, head: usize, row: usize, out: &'b mut Vec<u8>) -> Option<Packed<'b>> {
        if self.rows[row].is_in_place() {
            return None;
        }
        let mut own: Vec<KvRow> = self.placement.ancestry(row).map(|row| self.placement.place(row)).collect();
        own.reverse();
        // The tokens before the tree are in place; those that share a page with it come first.
        let before = self.rows[row].position + 1 - own.len();
        let first_page = before / PAGE_TOKENS;
        let page = self.placement.pages[self.rows[row].segment][first_page];
        let shared = (0..before % PAGE_TOKENS).map(|row| KvRow { page, row });
        let places: Vec<KvRow> = shared.chain(own).collect();
        out.clear();
        let ends = [0, 1].map(|part| {
            for place in &places {
                let rows = self.kv.tiles(head, place.page, place.row + 1)[part];
                out.extend(&rows[rows.len() / (place.row + 1) * place.row..]);
            }
            out.len()
        });
        Some(Packed { first_page, parts: [&out[..ends[0]], &out[ends[0]..]] })
    }

    /// Attends with consecutive rows and the queries of a KV head to a span; `parts` is `[rows, heads of a group]`.
    fn attend(
        &self,
        head: usize,
        rows: Range<usize>,
        span: usize,
        packed: Option<&Packed<'_>>,
        scratch: &mut [f32],
        parts: &mut [f32],
    ) {
        let AttendShape { head_dim, value_dim, window, scale, soft_cap, .. } = self.shape;
        let (first, last) = (self.rows[rows.start], self.rows[rows.end - 1]);
        let start = span * SPAN;
        let n_positions = (last.position + 1 - start).min(SPAN);
        let mut tiles = [[&[][..]; SPAN_PAGES]; 2];
        let pages = &self.placement.pages[first.segment];
        for (i, at) in (0..n_positions).step_by(PAGE_TOKENS).enumerate() {
            let (page, n) = (start / PAGE_TOKENS + i, PAGE_TOKENS.min(n_positions - at));
            [tiles[0][i], tiles[1][i]] = match packed {
                Some(packed) if page >= packed.first_page => packed.tiles(page, n, last.position),
                _ => self.kv.tiles(head, pages[page], n),
            };
        }
        let n_tiles = n_positions.div_ceil(PAGE_TOKENS);
        let n_group = self.shape.n_group();
        self.layout().clear(parts);
        self.kernels.attend(AttendArgs {
            kv_type: self.kv.kv_type(),
            n_rows: rows.len(),
            n_group,
            head_dim,
            value_dim,
            queries: &self.q.values()[rows.start * self.q.width + head * n_group * head_dim..],
            query_stride: self.q.width,
            keys: &tiles[0][..n_tiles],
            values: &tiles[1][..n_tiles],
            start,
            n_positions,
            first_row: first.position,
            window: window.len,
            n_sinks: window.n_sinks,
            scale,
            soft_cap,
            scratch,
            parts,
        });
    }
}

impl<'a> Packed<'a> {
    /// The first `n` rows of a page, keys and values, where the row that sees them is at `position`.
    fn tiles(&self, page: usize, n: usize, position: usize) -> [&'a [u8]; 2] {
        let n_rows = position + 1 - self.first_page * PAGE_TOKENS;
        let first = (page - self.first_page) * PAGE_TOKENS;
        self.parts.map(|part| {
            let row_bytes = part.len() / n_rows;
            &part[first * row_bytes..(first + n) * row_bytes]
        })
    }
}

/// Cuts a batch into blocks of at most `most` rows.
fn cut_into_blocks(rows: &[Row], most: usize, blocks: &mut Vec<Block>) {
    blocks.clear();
    for (r, row) in rows.iter().enumerate() {
        match blocks.last_mut() {
            Some(block) if block.n_rows < most && follows(&rows[r - 1], row) => block.n_rows += 1,
            _ => blocks.push(Block { first: r, n_rows: 1 }),
        }
    }
}

/// Whether `next` is the token behind `row` in one sequence, and all that both see is in place.
fn follows(row: &Row, next: &Row) -> bool {
    row.segment == next.segment && row.position + 1 == next.position && row.is_in_place() && next.is_in_place()
}
