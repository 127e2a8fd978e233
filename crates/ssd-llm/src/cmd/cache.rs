//! The folder of the prompt cache, and opening it.

use std::path::PathBuf;

use engine::{Engine, EngineOptions, ModelFile};

use crate::flags::CacheFlags;
use crate::usage::Usage;

impl CacheFlags {
    /// The folder, if computed prompts are saved.
    pub(crate) fn folder(&self) -> anyhow::Result<Option<PathBuf>> {
        match &self.prompt_cache {
            None => Ok(None),
            Some(Some(folder)) => Ok(Some(folder.clone())),
            Some(None) => match dirs::cache_dir() {
                Some(folder) => Ok(Some(folder.join("ssd-llm"))),
                None => Err(Usage("this system has no cache directory: use --prompt-cache=DIR".to_owned()).into()),
            },
        }
    }
}

/// Lets an engine use the folder of the flags, if they name one.
pub(crate) fn use_folder(
    flags: &CacheFlags,
    file: &ModelFile,
    options: &EngineOptions,
    engine: &mut Engine,
) -> anyhow::Result<()> {
    let Some(folder) = flags.folder()? else { return Ok(()) };
    engine.use_files(&folder, file.cache_identity(options)?, flags.prompt_cache_budget)?;
    Ok(())
}
