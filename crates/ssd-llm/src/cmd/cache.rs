//! The folder of the prompt cache, and opening it.

use std::path::PathBuf;

use anyhow::Context;
use engine::{DiskCache, EngineOptions, LoadedModel, ModelFile, Scheduler};

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

/// Lets a scheduler reuse the prompts of the flags' folder, if there is one.
pub(crate) fn use_folder(
    flags: &CacheFlags,
    file: &ModelFile,
    options: &EngineOptions,
    loaded: &LoadedModel,
    scheduler: &mut Scheduler,
) -> anyhow::Result<()> {
    let Some(folder) = flags.folder()? else { return Ok(()) };
    let identity = file.cache_identity(options)?;
    let disk = DiskCache::open(&folder, identity, loaded.model.page_bytes(), flags.prompt_cache_budget);
    scheduler.use_disk(disk.with_context(|| format!("cannot use {} as a prompt cache", folder.display()))?);
    Ok(())
}
