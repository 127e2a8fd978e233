//! The folder of the prompt cache, and opening it.

use std::path::PathBuf;

use anyhow::Context;
use engine::{DiskCache, Engine, EngineOptions, ModelFile};

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
    let identity = file.cache_identity(options)?;
    let disk = DiskCache::open(&folder, identity, engine.loaded.model.page_bytes(), flags.prompt_cache_budget);
    engine.use_disk(disk.with_context(|| format!("cannot use {} as a prompt cache", folder.display()))?);
    Ok(())
}
