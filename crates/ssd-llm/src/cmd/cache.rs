//! Where computed prompts are kept.

use std::path::PathBuf;

use crate::cmd::Usage;
use crate::flags::CacheFlags;

impl CacheFlags {
    /// The folder, if prompts are kept.
    pub(crate) fn folder(&self) -> anyhow::Result<Option<PathBuf>> {
        match &self.prompt_cache {
            None => Ok(None),
            Some(Some(folder)) => Ok(Some(folder.clone())),
            Some(None) => match dirs::cache_dir() {
                Some(folder) => Ok(Some(folder.join("ssd-llm"))),
                None => Err(Usage("this system names no folder for caches: use --prompt-cache=DIR".to_owned()).into()),
            },
        }
    }
}
