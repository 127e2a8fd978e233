//! `plan`: what a model needs of memory, and how fast it would be.

use engine::ModelFile;
use serde_json::json;
use store::{Residency, ResidencyPlan};

use crate::flags::PlanArgs;
use crate::{output, size};

/// Prints a table or a JSON object.
pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<()> {
    let file = ModelFile::open(&args.model)?;
    let options = args.engine.options();
    let plan = file.plan(&options)?;
    let ctx = file.context(&options)?;
    let predicted = file.predict(&options)?;
    if args.json {
        let object = json!({
            "budget_bytes": plan.budget.limit_bytes,
            "weights_bytes": plan.weights_bytes,
            "pinned_bytes": plan.pinned_bytes,
            "streamed_bytes_per_pass": plan.streamed_bytes_per_pass,
            "slots_bytes": plan.slots_bytes,
            "kv_bytes": plan.budget.kv_bytes,
            "fixed_bytes": plan.budget.fixed_bytes,
            "minimum_budget_bytes": plan.minimum_budget_bytes,
            "predicted_tokens_per_second": predicted,
        });
        output::print(&format!("{object}\n"))?;
        return Ok(());
    }
    let rows = [
        ("budget", size::show(plan.budget.limit_bytes), String::new()),
        ("weights", size::show(plan.weights_bytes), format!("in {} slabs", plan.residency.len())),
        ("pinned", size::show(plan.pinned_bytes), "of them, read once and kept".to_owned()),
        ("streamed", size::show(plan.streamed_bytes_per_pass), "of them, read again in every pass".to_owned()),
        ("slots", size::show(plan.slots_bytes), "for weights on their way".to_owned()),
        ("KV cache", size::show(plan.budget.kv_bytes), format!("at {ctx} tokens of context")),
        ("fixed", size::show(plan.budget.fixed_bytes), "activations, tokenizer, the program".to_owned()),
        ("needed", size::show(plan.minimum_budget_bytes), "the smallest budget that works".to_owned()),
        ("predicted", format!("{predicted:.1} tokens/s"), "from a short measurement of this machine".to_owned()),
    ];
    let table: String = rows.iter().map(|(name, value, note)| format!("{name:<10} {value:>16}  {note}\n")).collect();
    output::print(&(table + "\n" + &picture(&plan)))?;
    Ok(())
}

/// The pass from left to right, a letter for each part of it: how much of the part is pinned.
fn picture(plan: &ResidencyPlan) -> String {
    const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];
    let part = plan.residency.len().div_ceil(64).max(1);
    let shade = |part: &[Residency]| {
        let pinned = part.iter().filter(|r| **r == Residency::Pinned).count();
        // Only what is wholly streamed or wholly pinned looks so.
        SHADES[(pinned * (SHADES.len() - 2)).div_ceil(part.len()) + usize::from(pinned == part.len())]
    };
    let line: String = plan.residency.chunks(part).map(shade).collect();
    format!("{line}\none pass, first layer to output head: █ pinned, · streamed\n")
}
