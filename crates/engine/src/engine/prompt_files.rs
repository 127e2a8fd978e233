//! Prompts in files: restored when a sequence starts, saved when the engine has time.
//!
//! The engine never waits for the disk: pages are copied into the KV cache as they arrive, while other sequences go on,
//! and out of it as buffers come free. A sequence that is being restored is admitted, so the pages are reserved for it.

use std::io;
use std::path::Path;
use std::time::Duration;

use forward::{PAGE_TOKENS, SeqId};
use store::{Arrival, CacheIdentity, PromptFiles, PromptFilesOptions, Saving};

use crate::engine::{Engine, SaveRound};
use crate::error::EngineError;

/// How long [`Engine::save`] waits for news before it looks again.
const SAVE_WAIT: Duration = Duration::from_millis(50);

impl Engine {
    /// Lets prompts start from the files of a folder, and saves prompts to it.
    ///
    /// Errors: the folder cannot be used.
    pub fn use_files(&mut self, folder: &Path, identity: CacheIdentity, max_bytes: u64) -> Result<(), EngineError> {
        let options = PromptFilesOptions {
            folder: folder.to_owned(),
            identity,
            page_tokens: PAGE_TOKENS,
            page_bytes: self.loaded.model.page_bytes(),
            max_bytes,
        };
        let files = PromptFiles::open(options, &self.loaded.ledger);
        let failed = |source| EngineError::CacheFolder { path: folder.display().to_string(), source };
        self.files = Some(files.map_err(failed)?);
        Ok(())
    }

    /// Saves the prompt cache to the folder of [`Engine::use_files`], except for what it has already, and waits for the
    /// disk.
    ///
    /// Errors: a file cannot be written. The others are whole.
    pub fn save(&mut self) -> io::Result<()> {
        while !self.save_some(SAVE_WAIT)? {}
        Ok(())
    }

    /// Does what can be done to save the prompt cache without waiting for the disk longer than `timeout`; whether nothing
    /// is left to do.
    pub(crate) fn save_some(&mut self, timeout: Duration) -> io::Result<bool> {
        let done = self.try_save(timeout);
        if !matches!(done, Ok(false)) {
            self.saving = None;
        }
        done
    }

    fn try_save(&mut self, timeout: Duration) -> io::Result<bool> {
        let Some(files) = &mut self.files else { return Ok(true) };
        let cache = &self.scheduler.cache;
        let round = self.saving.get_or_insert_with(|| {
            // Less than a page is computed at once.
            let entries = cache.entries().filter(|(_, tokens)| tokens.len() >= PAGE_TOKENS);
            SaveRound { todo: entries.map(|(seq, _)| seq).collect(), current: None }
        });
        let mut timeout = timeout;
        loop {
            match (files.saving(std::mem::take(&mut timeout))?, round.current) {
                (Saving::Idle, _) => {
                    let Some(seq) = round.todo.pop() else { return Ok(true) };
                    let tokens = cache.entries().find(|(entry, _)| *entry == seq).map(|(_, tokens)| tokens);
                    if let Some(tokens) = tokens.filter(|tokens| files.wants(tokens)) {
                        files.save(tokens, self.seconds_per_token);
                        round.current = Some(seq);
                    }
                }
                (Saving::Page(index), Some(seq)) => match self.loaded.model.page(seq, index) {
                    Some(page) if !files.save_page(page) => return Ok(false),
                    Some(_) => {}
                    // It was evicted, or a window has let go of it.
                    None => files.abandon_save(),
                },
                (Saving::Page(_), None) => files.abandon_save(),
                (Saving::Last, _) => return Ok(false),
            }
        }
    }

    /// Begins to restore the prompt of the sequence that was admitted last, if a file has much more of it than the `n_cached`
    /// tokens in the KV cache and reading is faster than computing; whether it did.
    pub(super) fn restore(&mut self, n_cached: usize) -> bool {
        let (Some(files), Some(sequence)) = (&mut self.files, self.scheduler.running.last_mut()) else { return false };
        if sequence.needs_every_row() {
            return false;
        }
        let id = sequence.id;
        let len = files.restore(id.0, sequence.prefill(), n_cached);
        if len == 0 {
            return false;
        }
        sequence.is_restoring = true;
        let kv = self.loaded.model.kv();
        while let Some(seq) = self.scheduler.evict_for_pages(len.div_ceil(PAGE_TOKENS), kv) {
            kv.remove(seq);
        }
        if self.loaded.model.insert(id, len).is_err() {
            files.cancel(id.0);
            self.give_up(id);
        }
        true
    }

    /// Copies pages that have arrived into the KV cache, waiting at most `timeout` for the first.
    pub(super) fn receive(&mut self, timeout: Duration) {
        let Some(files) = &mut self.files else { return };
        let model = &mut self.loaded.model;
        let mut copy = |key, index, bytes: &[u8]| {
            let page = model.page_mut(SeqId(key), index);
            page.map(|page| page.copy_from_slice(bytes)).is_some()
        };
        for arrival in files.arrivals(timeout, &mut copy) {
            match arrival {
                Arrival::Complete { key, len } => {
                    if let Some(sequence) = self.scheduler.find(SeqId(key)) {
                        sequence.is_restoring = false;
                        sequence.begin_with(len);
                        self.scheduler.cache.hit(SeqId(key), len);
                    }
                }
                Arrival::Failed { key } => self.give_up(SeqId(key)),
            }
        }
    }

    /// Lets a sequence compute its prompt from the start.
    fn give_up(&mut self, id: SeqId) {
        self.loaded.model.kv().remove(id);
        if let Some(sequence) = self.scheduler.find(id) {
            sequence.is_restoring = false;
        }
    }
}
