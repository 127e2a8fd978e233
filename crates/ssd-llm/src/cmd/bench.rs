//! `bench`: measures speed at several memory budgets, how close it comes to the machine's limit, and the time to first token.
//!
//! For each budget it loads the model, prefills a prompt and decodes a few tokens, and measures the disk alone before and
//! after, since many disks have burst rates. Budgets go from small to large, so that the peak memory of the process is that
//! of the latest one. `measured` defines the figures, `plot` draws them.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use engine::{DiskSpeed, EngineOptions, ModelFile, PassesRequest, TimedPasses, time_passes};
use store::{Budget, PlanOptions, ResidencyPlan, SlabTable, forget_file, peak_memory};

use crate::flags::BenchArgs;
use crate::measured::{self, Measured, Start};
use crate::plot::{Picture, Point};
use crate::progress::Progress;
use crate::usage::Usage;
use crate::{interrupt, output, size};

/// Context length if none is given.
const DEFAULT_CONTEXT: usize = 1024;

/// Length of the prompt for the time to first token.
const SHORT_PROMPT: usize = 16;

/// Most tokens of the warm-up prompt: those of one pass.
const WARM_UP_PROMPT: usize = 512;

/// Ratios of weights to budget.
const RATIOS: [f64; 4] = [4.0, 2.0, 1.5, 1.25];

/// Points of the limit's curve.
const CURVE_POINTS: u64 = 60;

/// Resolution of the search for budgets.
const BUDGET_STEP: u64 = 1 << 20;

/// Prints a table or a JSON object, and draws a plot if asked to.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    args.plot.as_deref().map_or(Ok(()), check_plot)?;
    interrupt::listen(&Arc::default())?;
    let file = ModelFile::open(&args.model)?;
    let bench = Bench::new(args, &file)?;
    let budgets = bench.budgets(&file)?;
    let curve = if args.plot.is_some() { bench.streamed_by_budget(&file)? } else { Vec::new() };
    // Its memory would count against the budgets.
    drop(file);
    let mut all = Vec::new();
    for budget in budgets {
        if interrupt::asked() {
            break;
        }
        all.extend(bench.measure(budget)?);
    }
    let Some(last) = all.last() else { bail!("interrupted before any token was decoded") };
    let no_start = args.warm || interrupt::asked();
    let start = if no_start { None } else { Some(bench.start(last.plan.budget.limit_bytes)?) };
    bench.progress.clear();
    let text = if args.json { json(&all, start) } else { measured::table(&all, start) };
    output::print(&text)?;
    match &args.plot {
        Some(path) => picture(&args.model, &all, &curve).draw(path),
        None => Ok(()),
    }
}

/// Refuses a bad path before minutes of measuring.
fn check_plot(path: &Path) -> anyhow::Result<()> {
    if !path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("svg")) {
        let path = path.display();
        return Err(Usage(format!("--plot {path}: the file name must end in .svg")).into());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => bail!("cannot write {}: {} is not a directory", path.display(), folder.display()),
        None => Ok(()),
    }
}

/// What all budgets share.
struct Bench<'a> {
    model: &'a Path,
    options: EngineOptions,
    prompt: Vec<u32>,
    n_decode: usize,
    n_sequences: usize,
    is_warm: bool,
    progress: Progress,
}

impl Bench<'_> {
    fn new<'a>(args: &'a BenchArgs, file: &ModelFile) -> anyhow::Result<Bench<'a>> {
        let ctx = args.engine.ctx.unwrap_or(file.spec.context_length.min(DEFAULT_CONTEXT));
        let (n_decode, n_sequences) = (args.max_tokens, args.batch);
        let options = EngineOptions { ctx: Some(ctx), max_sequences: n_sequences, ..args.engine.options()? };
        if n_decode >= ctx {
            bail!("{n_decode} decode passes and a prompt do not fit in a context of {ctx} tokens: use a smaller -n");
        }
        let n_prompt = args.prompt_tokens.min(ctx - n_decode);
        if n_prompt < args.prompt_tokens {
            output::say(&format!("prompt truncated to {n_prompt} tokens to fit the context of {ctx}"));
        }
        let prompt = synthetic_prompt(n_prompt, file.spec.n_vocab);
        let (model, is_warm, progress) = (args.model.as_path(), args.warm, Progress::new(&Arc::default()));
        Ok(Bench { model, options, prompt, n_decode, n_sequences, is_warm, progress })
    }

    /// The one that was asked for, or those of [`RATIOS`] and one that holds all weights.
    fn budgets(&self, file: &ModelFile) -> anyhow::Result<Vec<u64>> {
        let asked = file.plan(&self.options)?;
        if self.options.memory_budget.is_some() {
            return Ok(vec![asked.budget.limit_bytes]);
        }
        let (least, most) = (asked.minimum_budget_bytes, asked.budget.limit_bytes);
        let mut budgets = Vec::new();
        for ratio in RATIOS {
            let budget = (asked.weights_bytes as f64 / ratio) as u64;
            let name = format!("the budget of {} (weights / {ratio})", size::show(budget));
            match budget {
                b if b < least => output::say(&format!("skipping {name}: the model needs {}", size::show(least))),
                b if b > most => output::say(&format!("skipping {name}: only {} is available", size::show(most))),
                b => budgets.push(b),
            }
        }
        let fits = |budget| Ok(self.plan_at(file, budget)?.fits());
        match smallest(least, most, fits)? {
            Some(budget) => budgets.push(budget),
            None => output::say(&format!(
                "skipping a budget that holds all weights: only {} is available",
                size::show(most)
            )),
        }
        if budgets.is_empty() {
            budgets.push(most);
        }
        Ok(budgets)
    }

    fn plan_at(&self, file: &ModelFile, budget: u64) -> anyhow::Result<ResidencyPlan> {
        Ok(file.plan(&self.at(budget))?)
    }

    fn at(&self, budget: u64) -> EngineOptions {
        EngineOptions { memory_budget: Some(budget), ..self.options.clone() }
    }

    /// Bytes read per pass, for budgets from the smallest to one that holds all weights, even if the machine has less.
    fn streamed_by_budget(&self, file: &ModelFile) -> anyhow::Result<Vec<(u64, u64)>> {
        let slabs = SlabTable::new(&file.spec)?;
        let least = file.plan(&self.options)?.minimum_budget_bytes;
        let fixed = self.plan_at(file, least)?.budget;
        let how = PlanOptions { policy: self.options.cache_policy, ..PlanOptions::default() };
        let plan = |limit_bytes| store::plan(&slabs, Budget { limit_bytes, ..fixed }, how);
        let more_than_all = 2 * (least + file.gguf.file_len());
        let all = smallest(least, more_than_all, |budget| Ok(plan(budget)?.fits()))?.unwrap_or(more_than_all);
        let budgets = (0..=CURVE_POINTS).map(|i| least + (all - least) * i / CURVE_POINTS);
        budgets.map(|budget| Ok((budget, plan(budget)?.streamed_bytes_per_pass))).collect()
    }

    /// Measures a budget; `None` if it was interrupted before the first token.
    fn measure(&self, budget: u64) -> anyhow::Result<Option<Measured>> {
        let options = self.at(budget);
        let before = self.measure_disk(&options)?;
        let mut loaded = ModelFile::open(self.model)?.load(&options)?;
        let whole = PassesRequest { prompt: &self.prompt, n_decode: self.n_decode, n_sequences: self.n_sequences };
        let total = (self.prompt.len() + self.n_decode) * self.n_sequences;
        let mut on_pass = |done| {
            self.progress.say(format!("budget {}: {done}/{total} tokens", size::show(budget)));
            if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if self.is_warm {
            let beginning = &self.prompt[..self.prompt.len().min(WARM_UP_PROMPT)];
            let warm_up = PassesRequest { prompt: beginning, n_decode: 1, ..whole };
            let _: TimedPasses = time_passes(loaded.model.as_mut(), warm_up, &mut on_pass)?;
        }
        let passes = time_passes(loaded.model.as_mut(), whole, &mut on_pass)?;
        let (plan, peak_bytes) = (loaded.plan.clone(), peak_memory());
        drop(loaded);
        let after = self.measure_disk(&options)?;
        let bytes_per_second = f64::midpoint(before.bytes_per_second, after.bytes_per_second);
        let disk = DiskSpeed { bytes_per_second, ..after };
        Ok((!passes.decode.is_empty()).then_some(Measured { plan, disk, passes, peak_bytes }))
    }

    fn measure_disk(&self, options: &EngineOptions) -> anyhow::Result<DiskSpeed> {
        self.progress.say("measuring the disk".to_owned());
        Ok(ModelFile::open(self.model)?.measure_disk(options)?)
    }

    /// Measures the time to first token twice, at first with the file dropped from the page cache.
    fn start(&self, budget: u64) -> anyhow::Result<Start> {
        self.progress.say("measuring the time to first token".to_owned());
        let file = ModelFile::open(self.model)?;
        let mut is_cold = true;
        for part in file.gguf.files() {
            is_cold &= forget_file(&part.path).with_context(|| format!("cannot open {}", part.path.display()))?;
        }
        drop(file);
        let cold_ms = self.first_token(budget)?;
        let warm_ms = self.first_token(budget)?;
        Ok(Start { cold_ms: is_cold.then_some(cold_ms), warm_ms, budget_bytes: budget })
    }

    /// Milliseconds from opening the file to the first token.
    fn first_token(&self, budget: u64) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let mut loaded = ModelFile::open(self.model)?.load(&self.at(budget))?;
        let prompt = &self.prompt[..self.prompt.len().min(SHORT_PROMPT)];
        let request = PassesRequest { prompt, n_decode: 0, n_sequences: 1 };
        let _: TimedPasses = time_passes(loaded.model.as_mut(), request, &mut |_| ControlFlow::Continue(()))?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }
}

/// Tokens from all over the vocabulary, the same every time.
fn synthetic_prompt(n: usize, n_vocab: usize) -> Vec<u32> {
    // Knuth's multiplicative hash: successive multiples are spread evenly.
    let spread = |i: u32| (u64::from(i.wrapping_mul(2_654_435_761)) * n_vocab as u64) >> 32;
    (1..).take(n).map(|i| u32::try_from(spread(i)).expect("it is below the vocabulary's size")).collect()
}

/// The smallest value above `low` and up to `high` for which a monotonic condition holds, to within [`BUDGET_STEP`]; `None`
/// if it does not hold for `high`.
fn smallest(mut low: u64, mut high: u64, holds: impl Fn(u64) -> anyhow::Result<bool>) -> anyhow::Result<Option<u64>> {
    if !holds(high)? {
        return Ok(None);
    }
    while high - low > BUDGET_STEP {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(Some(high))
}

/// The object: the figures of the largest budget that streams, or of the only one, and those of all budgets.
fn json(all: &[Measured], start: Option<Start>) -> String {
    let main = all.iter().rev().find(|m| !m.plan.fits()).unwrap_or(&all[all.len() - 1]);
    let mut object = main.json();
    object["start"] = start.map(Start::json).unwrap_or_default();
    object["budgets"] = all.iter().map(Measured::json).collect();
    format!("{object}\n")
}

/// Measured points and the limit's curve. It takes the median of the disk and the fastest compute time, so that a budget
/// that holds all weights is not shown above its limit.
fn picture(model: &Path, all: &[Measured], curve: &[(u64, u64)]) -> Picture {
    let disk = measured::median(all.iter().map(|m| m.disk.bytes_per_second).collect());
    let compute = all.iter().map(Measured::compute_s).fold(f64::INFINITY, f64::min);
    let point = |m: &Measured| Point {
        budget_bytes: m.plan.budget.limit_bytes,
        tokens_per_second: m.tokens_per_second(),
        label: format!("{:.1} ({:.0}%)", m.tokens_per_second(), m.percent_of_limit()),
    };
    let n_sequences = all.first().map_or(1.0, Measured::n_sequences);
    let limit = |bytes_per_pass: f64| measured::limit(bytes_per_pass / n_sequences, disk, compute);
    let name = model.file_name().unwrap_or(model.as_os_str()).to_string_lossy();
    Picture {
        title: format!("{name}: disk {}/s, {:.1} ms of compute per token", size::show(disk as u64), compute * 1e3),
        points: all.iter().map(point).collect(),
        limit: curve.iter().map(|&(budget, bytes)| (budget, limit(bytes as f64))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_the_one_that_comparisons_give_to_others() {
        // scripts/peers/test_speed.py asserts the same numbers.
        assert_eq!(synthetic_prompt(4, 49152), [30377, 11603, 41980, 23206]);
    }
}
