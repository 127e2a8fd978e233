//! Where computed prompts are kept.

use std::path::PathBuf;

use anyhow::Context;
use engine::{DiskCache, EngineOptions, LoadedModel, ModelFile, Scheduler};

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

/// Lets a scheduler begin with the prompts of the flags' folder, if they name one.
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
