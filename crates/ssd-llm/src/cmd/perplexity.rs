//! `perplexity`: how well a model predicts a text.

use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::Context;
use engine::{EngineOptions, ModelFile, ScoreRequest, score};
use model::EncodeOptions;
use serde_json::json;

use crate::flags::PerplexityArgs;
use crate::progress::Progress;
use crate::usage::Usage;
use crate::{interrupt, output};

/// The window of published figures.
const DEFAULT_WINDOW: usize = 512;

/// Scores the second half of each window of a text.
pub(crate) fn run(args: &PerplexityArgs) -> anyhow::Result<()> {
    let window = args.engine.ctx.unwrap_or(DEFAULT_WINDOW);
    if window < 4 {
        return Err(Usage(format!("--ctx {window} is too small to score a text: use at least 4")).into());
    }
    // Half of a window is scored.
    let options = EngineOptions { ctx: Some(window), max_logit_rows: window.div_ceil(2), ..args.engine.options()? };
    let model = ModelFile::open(&args.model)?;
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let mut loaded = model.load(&options)?;
    output::warn_if_capped(&options, &loaded.plan);
    let tokens = loaded.tokenizer.encode(&text, EncodeOptions { add_special: true, parse_special: false });
    // If texts start with BOS, so does every window.
    let bos = loaded.tokenizer.bos().filter(|bos| tokens.first() == Some(bos));
    interrupt::listen(&Arc::default())?;

    let progress = Progress::new(&loaded.bytes_read);
    let request = ScoreRequest { tokens: &tokens, window, bos, logprobs: args.logprobs };
    let result = score(loaded.model.as_mut(), request, &mut |done, total, so_far| {
        progress.say(format!("window {done}/{total}, perplexity {:.4}", so_far.perplexity()));
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    progress.clear();
    let score = result?;
    if args.json {
        let mut object = json!({
            "perplexity": score.perplexity(),
            "mean_nll": score.mean_nll,
            "n_scored": score.n_scored,
        });
        if args.logprobs.is_some() {
            object["logprobs"] = score.logprobs.iter().map(output::step_json).collect();
        }
        output::print(&format!("{object}\n"))?;
    } else {
        output::print(&format!("perplexity {:.4} over {} tokens\n", score.perplexity(), score.n_scored))?;
    }
    Ok(())
}
