//! `plan`: how much memory a model needs, and how fast it would run.

use std::collections::HashMap;
use std::fmt::Write;

use engine::{EngineOptions, MachineSpeed, ModelFile};
use model::Part;
use serde_json::{Value, json};
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
    output::warn_if_capped(&options, &plan);
    let speed = file.measure(&options)?;
    let more = EngineOptions { memory_budget: Some(plan.budget.limit_bytes + MORE_BYTES), ..options.clone() };
    // The machine may not have that much.
    let more = file.plan(&more).ok().filter(|more| more.budget.limit_bytes > plan.budget.limit_bytes);
    let planned = Planned {
        context: file.context(&options)?,
        spilled_kv_bytes: file.spilled_kv_bytes(&options)?,
        predicted: speed.tokens_per_second(&plan),
        predicted_with_more: more.as_ref().map(|more| speed.tokens_per_second(more)),
        plan,
        speed,
    };
    let text = match args.json {
        true => format!("{}\n", planned.json()),
        false => planned.table() + "\n" + &picture(&file, &planned.plan)?,
    };
    output::print(&text)?;
    Ok(())
}

/// A plan, and the speed that follows from it.
struct Planned {
    plan: ResidencyPlan,
    context: usize,
    spilled_kv_bytes: u64,
    speed: MachineSpeed,
    /// Tokens per second.
    predicted: f64,
    predicted_with_more: Option<f64>,
}

impl Planned {
    fn json(&self) -> Value {
        let Planned { plan, speed, .. } = self;
        json!({
            "budget_bytes": plan.budget.limit_bytes,
            "weights_bytes": plan.weights_bytes,
            "pinned_bytes": plan.pinned_bytes,
            "streamed_bytes_per_pass": plan.streamed_bytes_per_pass,
            "slots_bytes": plan.slots_bytes,
            "kv_bytes": plan.budget.kv_bytes,
            "kv_spilled_bytes": self.spilled_kv_bytes,
            "fixed_bytes": plan.budget.fixed_bytes,
            "lent_bytes": plan.budget.lent_bytes,
            "minimum_budget_bytes": plan.minimum_budget_bytes,
            "predicted_tokens_per_second": self.predicted,
            "predicted_tokens_per_second_with_1g_more": self.predicted_with_more,
            "request_bytes": plan.slot_len,
            "read_depth": plan.depth,
            "disk_bytes_per_second": speed.disk_bytes_per_second,
            "compute_bytes_per_second": speed.compute_bytes_per_second,
        })
    }

    fn table(&self) -> String {
        let Planned { plan, speed, .. } = self;
        let budget = &plan.budget;
        let percent = |bytes: u64| format!("{:.0}%", 100.0 * bytes as f64 / plan.weights_bytes.max(1) as f64);
        let rate = |bytes: f64| format!("{}/s", size::show(bytes as u64));
        let tokens = |rate: f64| format!("{rate:.2} tokens/s");
        let bytes = |name, bytes, note: &str| Some((name, size::show(bytes), note.to_owned()));
        let slabs = format!("in {} slabs", plan.residency.len());
        let pinned = format!("{} of weights, read once and kept", percent(plan.pinned_bytes));
        let streamed = format!("{} of weights, read on every pass", percent(plan.streamed_bytes_per_pass));
        let context = format!("for a context of {} tokens", self.context);
        let spilled =
            bytes("KV spilled", self.spilled_kv_bytes, "in a file and read on every pass, once the context is full");
        let rows = [
            bytes("budget", budget.limit_bytes, ""),
            bytes("weights", plan.weights_bytes, &slabs),
            bytes("pinned", plan.pinned_bytes, &pinned),
            bytes("streamed", plan.streamed_bytes_per_pass, &streamed),
            bytes("slots", plan.slots_bytes, "for weights being read"),
            bytes("KV cache", budget.kv_bytes, &context),
            spilled.filter(|_| self.spilled_kv_bytes > 0),
            bytes("fixed", budget.fixed_bytes, "program, tokenizer and activations"),
            bytes("lent", budget.lent_bytes, "by pinned weights to long prompts during prefill"),
            bytes("needed", plan.minimum_budget_bytes, "smallest budget that works"),
            Some(("disk", rate(speed.disk_bytes_per_second), "measured just now".to_owned())),
            Some(("processor", rate(speed.compute_bytes_per_second), "for one token, measured just now".to_owned())),
            Some(("predicted", tokens(self.predicted), String::new())),
            self.predicted_with_more.map(|rate| ("1 GiB more", tokens(rate), "predicted".to_owned())),
        ];
        let line = |(name, value, note)| format!("{name:<11} {value:>16}  {note}").trim_end().to_owned() + "\n";
        rows.into_iter().flatten().map(line).collect()
    }
}

/// Layers per line of the picture, and signs per layer.
const LAYERS_A_LINE: usize = 8;
const SIGNS: usize = 6;

/// How much of each layer is pinned: a few signs per layer, in the order of the pass, and a line for the output head.
fn picture(file: &ModelFile, plan: &ResidencyPlan) -> anyhow::Result<String> {
    let table = SlabTable::new(&file.spec)?;
    let mut of_layers = vec![Vec::new(); file.spec.layers.len() + 1];
    let layer_of: HashMap<Part, Option<usize>> = file.spec.walk().map(|used| (used.matrix.part, used.layer)).collect();
    for (slab, residency) in table.all().iter().zip(&plan.residency) {
        of_layers[layer_of[&slab.part].unwrap_or(file.spec.layers.len())].push(*residency);
    }
    let (head, layers) = of_layers.split_last().expect("the head comes last");
    let mut text = String::new();
    for (first, line) in (0..).step_by(LAYERS_A_LINE).zip(layers.chunks(LAYERS_A_LINE)) {
        let cells: Vec<String> = line.iter().map(|slabs| signs(slabs, SIGNS)).collect();
        writeln!(text, "layers {first:>3}-{:<3} {}", first + line.len() - 1, cells.join(" "))?;
    }
    writeln!(text, "output head    {}", signs(head, LAYERS_A_LINE * (SIGNS + 1) - 1))?;
    writeln!(text, "█ pinned, · streamed, shades partly pinned")?;
    Ok(text)
}

/// A sign for each of `n` parts of some slabs, or for each slab if there are fewer.
fn signs(slabs: &[Residency], n: usize) -> String {
    const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];
    let n = n.min(slabs.len());
    let sign = |i: usize| {
        let part = &slabs[i * slabs.len() / n..(i + 1) * slabs.len() / n];
        let pinned = part.iter().filter(|r| **r == Residency::Pinned).count();
        // The outer shades are for parts that are wholly streamed or wholly pinned.
        SHADES[(pinned * (SHADES.len() - 2)).div_ceil(part.len()) + usize::from(pinned == part.len())]
    };
    (0..n).map(sign).collect()
}
