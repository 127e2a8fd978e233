//! The residency plan: from sizes and a budget to what is kept in memory. Pure, so that it can be tested and shown.

use crate::SlabTable;

/// What there is to spend, and what is spent before the first weight is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// All that the program may use, in bytes.
    pub limit_bytes: u64,
    /// The KV cache at its full context.
    pub kv_bytes: u64,
    /// Activations, logits, tokenizer, small vectors and the program itself.
    pub fixed_bytes: u64,
}

/// What is in memory and what a pass reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResidencyPlan {
    /// The budget that the plan obeys.
    pub budget: Budget,
    /// Weights that a pass needs.
    pub weights_bytes: u64,
    /// Of them, kept in memory.
    pub pinned_bytes: u64,
    /// Of them, read again in every pass.
    pub streamed_bytes_per_pass: u64,
    /// The smallest limit that a plan exists for.
    pub minimum_budget_bytes: u64,
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The limit is below the smallest that works.
    #[error(
        "a budget of {} is too small for this model: it needs at least {} ({} weights, {} KV cache, {} fixed); \
         use a larger --memory-budget, a smaller --ctx or a smaller model",
        show(.budget.limit_bytes), show(*.minimum_budget_bytes), show(*.weights_bytes), show(.budget.kv_bytes),
        show(.budget.fixed_bytes)
    )]
    TooSmall {
        /// What was asked for.
        budget: Budget,
        /// Weights that have to be in memory.
        weights_bytes: u64,
        /// The smallest limit that works.
        minimum_budget_bytes: u64,
    },
}

/// Decides what is kept in memory. All weights are: a model has to fit the budget.
///
/// Errors: the limit is below what the model, its KV cache and the fixed part need together.
pub fn plan(slabs: &SlabTable, budget: Budget) -> Result<ResidencyPlan, PlanError> {
    let weights_bytes = slabs.all().iter().map(|s| s.len as u64).sum::<u64>();
    let minimum_budget_bytes = weights_bytes + budget.kv_bytes + budget.fixed_bytes;
    if budget.limit_bytes < minimum_budget_bytes {
        return Err(PlanError::TooSmall { budget, weights_bytes, minimum_budget_bytes });
    }
    Ok(ResidencyPlan {
        budget,
        weights_bytes,
        pinned_bytes: weights_bytes,
        streamed_bytes_per_pass: 0,
        minimum_budget_bytes,
    })
}

/// Bytes as people say them.
fn show(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let bytes = bytes as f64;
    match bytes {
        b if b >= 1e9 => format!("{:.2} GiB", b / f64::from(1 << 30)),
        b => format!("{:.1} MiB", b / f64::from(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit_bytes: u64) -> Budget {
        Budget { limit_bytes, kv_bytes: 300 << 20, fixed_bytes: 100 << 20 }
    }

    #[test]
    fn the_smallest_budget_that_an_error_names_works() {
        let slabs = SlabTable::default();
        let Err(error @ PlanError::TooSmall { minimum_budget_bytes, .. }) = plan(&slabs, budget(1 << 20)) else {
            panic!("1 MiB is too small");
        };
        assert!(error.to_string().contains("400.0 MiB"), "{error}");
        let plan = plan(&slabs, budget(minimum_budget_bytes)).unwrap();
        assert_eq!((plan.minimum_budget_bytes, plan.streamed_bytes_per_pass), (400 << 20, 0));
    }
}
