//! `plan`: what a model needs of memory, and how fast it would be.

use std::fmt::Write;

use engine::{EngineOptions, ModelFile};
use serde_json::json;
use store::{Residency, ResidencyPlan, SlabTable};

use crate::flags::PlanArgs;
use crate::{output, size};

/// How much more memory the plan is compared with.
const MORE_BYTES: u64 = 1 << 30;

/// Prints a table or a JSON object.
pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<()> {
    let file = ModelFile::open(&args.model)?;
    let options = args.engine.options()?;
    let plan = file.plan(&options)?;
    let spilled_kv_bytes = file.spilled_kv_bytes(&options)?;
    output::warn_if_capped(&options, &plan);
    let speed = file.measure(&options)?;
    let predicted = speed.tokens_per_second(&plan);
    let more = EngineOptions { memory_budget: Some(plan.budget.limit_bytes + MORE_BYTES), ..options.clone() };
    // What the system does not have cannot be planned with.
    let more = file.plan(&more).ok().filter(|more| more.budget.limit_bytes > plan.budget.limit_bytes);
    let with_more = more.as_ref().map(|more| speed.tokens_per_second(more));
    if args.json {
        let object = json!({
            "budget_bytes": plan.budget.limit_bytes,
            "weights_bytes": plan.weights_bytes,
            "pinned_bytes": plan.pinned_bytes,
            "streamed_bytes_per_pass": plan.streamed_bytes_per_pass,
            "slots_bytes": plan.slots_bytes,
            "kv_bytes": plan.budget.kv_bytes,
            "kv_spilled_bytes": spilled_kv_bytes,
            "fixed_bytes": plan.budget.fixed_bytes,
            "lent_bytes": plan.budget.lent_bytes,
            "minimum_budget_bytes": plan.minimum_budget_bytes,
            "predicted_tokens_per_second": predicted,
            "predicted_tokens_per_second_with_1g_more": with_more,
            "request_bytes": plan.slot_len,
            "read_depth": plan.depth,
            "disk_bytes_per_second": speed.disk_bytes_per_second,
            "compute_bytes_per_second": speed.compute_bytes_per_second,
        });
        output::print(&format!("{object}\n"))?;
        return Ok(());
    }
    let percent = |bytes: u64| format!("{:.0}%", 100.0 * bytes as f64 / plan.weights_bytes.max(1) as f64);
    let rate = |bytes: f64| format!("{}/s", size::show(bytes as u64));
    let mut rows = vec![
        ("budget", size::show(plan.budget.limit_bytes), String::new()),
        ("weights", size::show(plan.weights_bytes), format!("in {} slabs", plan.residency.len())),
        (
            "pinned",
            size::show(plan.pinned_bytes),
            format!("{} of them, read once and kept", percent(plan.pinned_bytes)),
        ),
        (
            "streamed",
            size::show(plan.streamed_bytes_per_pass),
            format!("{} of them, read again in every pass", percent(plan.streamed_bytes_per_pass)),
        ),
        ("slots", size::show(plan.slots_bytes), "for weights on their way".to_owned()),
        ("KV cache", size::show(plan.budget.kv_bytes), format!("at {} tokens of context", file.context(&options)?)),
        ("fixed", size::show(plan.budget.fixed_bytes), "the program, its tokenizer, activations".to_owned()),
        ("lent", size::show(plan.budget.lent_bytes), "by pinned weights to long prompts, while they last".to_owned()),
        ("needed", size::show(plan.minimum_budget_bytes), "the smallest budget that works".to_owned()),
        ("disk", rate(speed.disk_bytes_per_second), "measured just now".to_owned()),
        ("processor", rate(speed.compute_bytes_per_second), "of weights with one token, measured just now".to_owned()),
        ("predicted", format!("{predicted:.2} tokens/s"), String::new()),
    ];
    if spilled_kv_bytes > 0 {
        let note = "more, in a file and read in every pass, once the context is full".to_owned();
        rows.insert(6, ("KV spilled", size::show(spilled_kv_bytes), note));
    }
    if let Some(with_more) = with_more {
        rows.push(("1 GiB more", format!("{with_more:.2} tokens/s"), "predicted".to_owned()));
    }
    let table: String = rows
        .iter()
        .map(|(name, value, note)| format!("{name:<11} {value:>16}  {note}").trim_end().to_owned() + "\n")
        .collect();
    output::print(&(table + "\n" + &picture(&file, &plan)?))?;
    Ok(())
}

/// Layers in a line of the picture, and signs for each of them.
const LAYERS_A_LINE: usize = 8;
const SIGNS: usize = 6;

/// Which part of each layer is pinned: a few signs a layer, in the order of the pass, and a line for the output head.
fn picture(file: &ModelFile, plan: &ResidencyPlan) -> anyhow::Result<String> {
    let table = SlabTable::new(&file.spec)?;
    let mut of_layers = vec![Vec::new(); file.spec.layers.len() + 1];
    for (slab, residency) in table.all().iter().zip(&plan.residency) {
        let layer = file.spec.walk().find(|used| used.matrix.part == slab.part).and_then(|used| used.layer);
        of_layers[layer.unwrap_or(file.spec.layers.len())].push(*residency);
    }
    let (head, layers) = of_layers.split_last().expect("the head comes last");
    let mut text = String::new();
    for (first, line) in (0..).step_by(LAYERS_A_LINE).zip(layers.chunks(LAYERS_A_LINE)) {
        let cells: Vec<String> = line.iter().map(|slabs| signs(slabs, SIGNS)).collect();
        writeln!(text, "layers {first:>3}-{:<3} {}", first + line.len() - 1, cells.join(" "))?;
    }
    writeln!(text, "output head    {}", signs(head, LAYERS_A_LINE * (SIGNS + 1) - 1))?;
    writeln!(text, "█ pinned, · streamed, between them in part")?;
    Ok(text)
}

/// A sign for each of `n` parts of some slabs, or for each slab if they are fewer.
fn signs(slabs: &[Residency], n: usize) -> String {
    const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];
    let n = n.min(slabs.len());
    let sign = |i: usize| {
        let part = &slabs[i * slabs.len() / n..(i + 1) * slabs.len() / n];
        let pinned = part.iter().filter(|r| **r == Residency::Pinned).count();
        // Only what is wholly streamed or wholly pinned looks so.
        SHADES[(pinned * (SHADES.len() - 2)).div_ceil(part.len()) + usize::from(pinned == part.len())]
    };
    (0..n).map(sign).collect()
}
