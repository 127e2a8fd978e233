//! Decoding with most of a context in a file, beside decoding with all of it in memory, and how near it comes to its bound:
//! the disk bringing what is in the file, or the arithmetic, whichever takes longer.
//!
//!     cargo run --release -p engine --example mmap_kv_speed -- MODEL CTX KV_BUDGET_MIB FOLDER [ROUNDS]
//!
//! Both are loaded at once and take turns of eight tokens, with the disk alone measured before each; they must answer with
//! the same bits. Their contexts are the pages of a short prompt over and over, which are as fast as any others and do not
//! take half an hour to compute.

use std::path::{Path, PathBuf};
use std::time::Instant;

use engine::{EngineOptions, ModelFile};
use forward::{Batch, ForwardError, LanguageModel, LogitRows, PAGE_TOKENS, SeqId};

const SEQ: SeqId = SeqId(1);

/// Tokens of the prompt whose pages are used.
const SHORT_PROMPT: usize = 256;

/// Tokens of a turn.
const TURN: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, ctx, kv_mib, folder, rest @ ..] = &args[..] else {
        return Err("usage: mmap_kv_speed MODEL CTX KV_BUDGET_MIB FOLDER [ROUNDS]".into());
    };
    let rounds: usize = rest.first().map_or(Ok(7), |n| n.parse())?;
    let file = ModelFile::open(Path::new(model))?;
    let all = EngineOptions { ctx: Some(ctx.parse()?), memory_budget: Some(4 << 30), ..EngineOptions::default() };
    let some = EngineOptions {
        mmap_kv: Some(PathBuf::from(folder)),
        kv_budget: Some(kv_mib.parse::<u64>()? << 20),
        ..all.clone()
    };
    let (mut whole, mut spilled) = (file.load(&all)?, file.load(&some)?);
    let ctx = whole.model.kv().context();
    let n_prompt = ctx - (rounds + 1) * TURN;
    let n_vocab = file.spec.n_vocab as u32;
    let token = |i: usize| (i as u32).wrapping_mul(2_654_435_761) % n_vocab;
    let pages = short_prompt(whole.model.as_mut(), &(0..SHORT_PROMPT).map(token).collect::<Vec<u32>>())?;
    for loaded in [&mut whole, &mut spilled] {
        loaded.model.insert(SEQ, n_prompt)?;
        for i in 0..n_prompt.div_ceil(PAGE_TOKENS) {
            loaded.model.page_mut(SEQ, i).ok_or("a page is missing")?.copy_from_slice(&pages[i % pages.len()]);
        }
    }
    println!("{n_prompt} tokens, {} MiB of the KV cache's memory", spilled.plan.budget.kv_bytes >> 20);

    println!("in memory    with file    compute in it    MiB a token    disk MiB/s    share of the bound");
    let mut shares = Vec::new();
    for round in 0..=rounds {
        let start = n_prompt + round * TURN;
        let tokens: Vec<u32> = (start..start + TURN).map(token).collect();
        let disk = file.measure_disk(&some)?.bytes_per_second;
        let in_memory = decode(whole.model.as_mut(), start, &tokens)?;
        let with_file = decode(spilled.model.as_mut(), start, &tokens)?;
        assert!(with_file.logits == in_memory.logits, "other logits in round {round}");
        // The first turn reads the weights.
        if round > 0 {
            let share = in_memory.seconds.max(with_file.bytes / disk) / with_file.seconds;
            let [whole, all, own] = [in_memory.seconds, with_file.seconds, with_file.compute].map(|s| s * 1e3);
            let [read, rate] = [with_file.bytes, disk].map(|bytes| bytes / f64::from(1 << 20));
            println!("{whole:6.1} ms    {all:6.1} ms    {own:10.1} ms    {read:11.1}    {rate:10.0}    {share:18.3}");
            shares.push(share);
        }
    }
    println!("median share of the bound {:.3}; the same bits", median(shares));
    Ok(())
}

/// The logits of a turn, and of a token the median of its seconds, the mean of what it read, and the seconds in which it did
/// not wait.
struct Turn {
    logits: Vec<Vec<f32>>,
    seconds: f64,
    compute: f64,
    bytes: f64,
}

/// The pages of a prompt, which is forgotten again.
fn short_prompt(model: &mut dyn LanguageModel, prompt: &[u32]) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    model.forward(&Batch::prompt(SEQ, 0, prompt.to_vec(), LogitRows::None, prompt.len()))?;
    let page = |i| model.page(SEQ, i).map(<[u8]>::to_vec).ok_or("a page is missing");
    let pages = (0..prompt.len() / PAGE_TOKENS).map(page).collect::<Result<_, _>>()?;
    model.kv().remove(SEQ);
    Ok(pages)
}

/// Decodes tokens, whatever the model thinks of them.
fn decode(model: &mut dyn LanguageModel, start: usize, tokens: &[u32]) -> Result<Turn, ForwardError> {
    let before = model.read_stats();
    let (mut logits, mut times) = (Vec::new(), Vec::new());
    for (i, token) in tokens.iter().enumerate() {
        let begun = Instant::now();
        logits.push(model.forward(&Batch::one(SEQ, start + i, vec![*token], LogitRows::Last))?.row(0).to_vec());
        times.push(begun.elapsed().as_secs_f64());
    }
    let reads = model.read_stats().since(&before);
    let n = tokens.len() as f64;
    let compute = (times.iter().sum::<f64>() - reads.stall.as_secs_f64()) / n;
    Ok(Turn { logits, seconds: median(times), compute, bytes: reads.bytes_read as f64 / n })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
