//! `usage`: the token counts of a request.

use engine::Generation;
use serde::Serialize;

/// Tokens of prompts and answers; a prompt with several answers counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
    pub(super) total_tokens: usize,
    pub(super) prompt_tokens_details: PromptDetails,
}

/// What is known of the prompts' tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct PromptDetails {
    /// Those that had been computed before.
    pub(super) cached_tokens: usize,
}

impl Usage {
    /// Counts an answer; its prompt too, if it is the first one to it.
    pub(super) fn add(&mut self, generation: &Generation, is_first: bool) {
        if is_first {
            self.prompt_tokens += generation.prompt_tokens;
            self.prompt_tokens_details.cached_tokens += generation.cached_tokens;
        }
        self.completion_tokens += generation.tokens.len();
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }
}
