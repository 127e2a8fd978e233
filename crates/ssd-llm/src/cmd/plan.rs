//! `plan`: what a model needs of memory, and how fast it would be.

use engine::ModelFile;
use serde_json::json;

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
        ("weights", size::show(plan.weights_bytes), "all kept in memory".to_owned()),
        ("KV cache", size::show(plan.budget.kv_bytes), format!("at {ctx} tokens of context")),
        ("fixed", size::show(plan.budget.fixed_bytes), "activations, tokenizer, the program".to_owned()),
        ("needed", size::show(plan.minimum_budget_bytes), "the smallest budget that works".to_owned()),
        ("predicted", format!("{predicted:.1} tokens/s"), "from a short measurement of this machine".to_owned()),
    ];
    let table: String = rows.iter().map(|(name, value, note)| format!("{name:<10} {value:>16}  {note}\n")).collect();
    output::print(&table)?;
    Ok(())
}
