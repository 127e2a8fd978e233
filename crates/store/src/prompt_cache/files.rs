//! The folder as its user sees it: which prompts are there, pages on their way in and out.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};

use xxhash_rust::xxh3::xxh3_128;

use crate::io::reader::DISK_PATIENCE;
use crate::ledger::{Ledger, Reservation};
use crate::prompt_cache::entry::{CacheIdentity, Entry, Format};
use crate::prompt_cache::folder::{oldest, read_folder};
use crate::prompt_cache::transfer::{Done, Job, Key, start};
use crate::prompt_cache::writer::Draft;
use crate::slot::{Slot, slot_bytes};

/// One buffer is filled while the other is copied.
const N_BUFFERS: usize = 2;

/// What a disk is assumed to deliver before it has been measured, in bytes per second.
const FIRST_RATE: f64 = 300e6;

/// Which files a folder is used for.
#[derive(Clone, Debug)]
pub struct PromptFilesOptions {
    /// The folder, which is created if it is missing.
    pub folder: PathBuf,
    /// What the pages belong to.
    pub identity: CacheIdentity,
    /// Tokens of a page.
    pub page_tokens: usize,
    /// Bytes of a page.
    pub page_bytes: usize,
    /// The most bytes that the files of this identity may take; the least recently used are deleted first.
    pub max_bytes: u64,
}

/// A folder of computed prompts.
pub struct PromptFiles {
    folder: PathBuf,
    format: Format,
    max_bytes: u64,
    entries: Vec<Entry>,
    bytes_per_second: f64,
    jobs: Sender<Job>,
    done: Receiver<Done>,
    free: Vec<Slot>,
    /// The first of them is under way.
    restores: VecDeque<Restore>,
    /// Filled buffers of the restore under way, in order.
    arrived: VecDeque<(Slot, io::Result<()>)>,
    save: Option<Save>,
    /// When the thread last answered.
    heard: Instant,
    _counted: Reservation,
}

/// Pages on their way in.
struct Restore {
    key: Key,
    path: PathBuf,
    len: usize,
    pages_at: u64,
    checksums: Vec<u128>,
    n_asked: usize,
    n_taken: usize,
    since: Option<Instant>,
}

/// Pages on their way out.
struct Save {
    n_tokens: usize,
    n_given: usize,
    /// The files that are gone once this one is there.
    replaces: Vec<PathBuf>,
    ended: Option<io::Result<Entry>>,
}

/// How a restore has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// All pages have been taken.
    Complete {
        /// As the restore was named.
        key: u64,
        /// Its tokens.
        len: usize,
    },
    /// The file is not what it was, or pages were not taken.
    Failed {
        /// As the restore was named.
        key: u64,
    },
}

/// How far a save has got.
#[derive(Debug)]
pub enum Saving {
    /// There is none.
    Idle,
    /// The page with this index is wanted next.
    Page(usize),
    /// All pages have been given, but are not on the disk yet.
    Last,
}

impl PromptFiles {
    /// Opens a folder and reads what its files of this identity hold. Damaged and half-written files of this program are
    /// deleted; those of other models stay, and so do foreign files.
    ///
    /// Errors: the folder cannot be created or read, the budget does not hold the buffers, or there is no thread.
    pub fn open(options: PromptFilesOptions, ledger: &Ledger) -> io::Result<PromptFiles> {
        let PromptFilesOptions { folder, identity, page_tokens, page_bytes, max_bytes } = options;
        let format = Format { identity, page_tokens, page_bytes };
        fs::create_dir_all(&folder)?;
        let mut entries = read_folder(&folder, &format)?;
        for path in oldest(&entries, max_bytes, &format) {
            entries.retain(|entry| entry.path != path);
            let _ = fs::remove_file(path);
        }
        let counted = ledger.reserve("prompt cache", PromptFiles::buffer_bytes(page_bytes));
        let counted = counted.map_err(io::Error::other)?;
        let free = (0..N_BUFFERS).map(|_| Slot::new(page_bytes)).collect::<Result<_, _>>().map_err(io::Error::other)?;
        let (jobs, done) = start()?;
        Ok(PromptFiles {
            folder,
            format,
            max_bytes,
            entries,
            bytes_per_second: FIRST_RATE,
            jobs,
            done,
            free,
            restores: VecDeque::new(),
            arrived: VecDeque::new(),
            save: None,
            heard: Instant::now(),
            _counted: counted,
        })
    }

    /// Memory that a folder's buffers take, for pages of this many bytes.
    pub fn buffer_bytes(page_bytes: usize) -> u64 {
        (N_BUFFERS * slot_bytes(page_bytes)) as u64
    }

    /// Begins to restore the longest prefix of a prompt that a file has, under a name that is not in use, if reading it is
    /// faster than computing what the caller does not `have`. The tokens that will arrive, or 0.
    pub fn restore(&mut self, key: u64, prompt: &[u32], have: usize) -> usize {
        let common = |entry: &Entry| entry.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let all = self.entries.iter_mut().map(|entry| (common(entry), entry));
        let Some((len, entry)) = all.max_by_key(|(len, _)| *len) else { return 0 };
        // The last token is computed, because its logits are wanted.
        let len = len.min(prompt.len().saturating_sub(1));
        let n_pages = self.format.n_pages(len);
        let seconds = (n_pages * self.format.page_bytes) as f64 / self.bytes_per_second;
        if len < have + self.format.page_tokens || seconds >= (len - have) as f64 * entry.seconds_per_token {
            return 0;
        }
        entry.used = SystemTime::now();
        let touch = Job::Touch(entry.path.clone(), entry.used);
        let (path, checksums) = (entry.path.clone(), entry.checksums[..n_pages].to_vec());
        let pages_at = self.format.pages_at(entry.tokens.len());
        let restore = Restore { key, path, len, pages_at, checksums, n_asked: 0, n_taken: 0, since: None };
        self.restores.push_back(restore);
        self.send(touch);
        self.ask();
        len
    }

    /// Forgets a restore, if it is still under way.
    pub fn cancel(&mut self, key: u64) {
        self.end_restore(key);
        self.ask();
    }

    /// Whether pages are on their way in.
    pub fn is_restoring(&self) -> bool {
        !self.restores.is_empty()
    }

    /// Gives the pages that have arrived to `take`, with their restore's name and their index, waiting at most `timeout` for
    /// the first; the restores that have ended. `take` says whether it could use a page.
    pub fn arrivals(&mut self, timeout: Duration, take: &mut dyn FnMut(u64, usize, &[u8]) -> bool) -> Vec<Arrival> {
        if !self.is_restoring() {
            return Vec::new();
        }
        self.listen(if self.arrived.is_empty() { timeout } else { Duration::ZERO });
        let mut ended = Vec::new();
        while let Some((page, result)) = self.arrived.pop_front() {
            ended.extend(self.take(&page, result, take));
            self.recycle(page);
            self.listen(Duration::ZERO);
        }
        if self.heard.elapsed() > DISK_PATIENCE
            && let Some(restore) = self.restores.front()
        {
            tracing::warn!("{} of the prompt cache is not restored: the disk does not answer", restore.path.display());
            let key = restore.key;
            self.cancel(key);
            ended.push(Arrival::Failed { key });
        }
        ended
    }

    /// Takes a page of the restore under way; how that has ended, if it has.
    fn take(
        &mut self,
        page: &Slot,
        result: io::Result<()>,
        take: &mut dyn FnMut(u64, usize, &[u8]) -> bool,
    ) -> Option<Arrival> {
        let restore = self.restores.front_mut()?;
        let (key, len, index) = (restore.key, restore.len, restore.n_taken);
        if result.is_err() || xxh3_128(page.slab()) != restore.checksums[index] {
            let path = restore.path.clone();
            self.entries.retain(|entry| entry.path != path);
            self.send(Job::RemoveDamaged(path, "its pages are not what was written"));
        } else if take(key, index, page.slab()) {
            restore.n_taken += 1;
            if restore.n_taken < restore.checksums.len() {
                return None;
            }
            let bytes = restore.n_taken * self.format.page_bytes;
            let since = restore.since.expect("its pages have been asked for");
            self.bytes_per_second = bytes as f64 / since.elapsed().as_secs_f64().max(1e-6);
            self.end_restore(key);
            return Some(Arrival::Complete { key, len });
        }
        self.end_restore(key);
        Some(Arrival::Failed { key })
    }

    /// Forgets a restore and what has arrived of it.
    fn end_restore(&mut self, key: u64) {
        if self.restores.front().is_some_and(|restore| restore.key == key) {
            while let Some((page, _)) = self.arrived.pop_front() {
                self.recycle(page);
            }
        }
        self.restores.retain(|restore| restore.key != key);
    }

    /// Asks for more pages of the restore under way, as long as there are buffers.
    fn ask(&mut self) {
        let Some(restore) = self.restores.front_mut() else { return };
        restore.since.get_or_insert_with(|| {
            self.heard = Instant::now();
            self.heard
        });
        let page_bytes = self.format.page_bytes;
        while restore.n_asked < restore.checksums.len()
            && let Some(mut page) = self.free.pop()
        {
            let offset = restore.pages_at + (restore.n_asked * page_bytes) as u64;
            let span = page.fill_for(0, offset, page_bytes);
            restore.n_asked += 1;
            let _ = self.jobs.send(Job::Read(restore.key, restore.path.clone(), page, span));
        }
    }

    /// Whether a file for these tokens would add something that fits the folder's budget.
    pub fn wants(&self, tokens: &[u32]) -> bool {
        let fits = self.format.file_bytes(tokens.len()) <= self.max_bytes;
        fits && !self.entries.iter().any(|entry| entry.tokens.starts_with(tokens))
    }

    /// Begins a file, which [`PromptFiles::wants`]. Once it is whole, files whose tokens are a prefix of these are deleted,
    /// and the least recently used ones for which the budget has no room.
    pub fn save(&mut self, tokens: &[u32], seconds_per_token: f64) {
        self.heard = Instant::now();
        let (redundant, others): (Vec<_>, Vec<_>) =
            self.entries.iter().partition(|entry| tokens.starts_with(&entry.tokens));
        let left = self.max_bytes - self.format.file_bytes(tokens.len());
        let mut replaces = oldest(others, left, &self.format);
        replaces.extend(redundant.into_iter().map(|entry| entry.path.clone()));
        self.save = Some(Save { n_tokens: tokens.len(), n_given: 0, replaces: replaces.clone(), ended: None });
        let (folder, format, tokens) = (self.folder.clone(), self.format, tokens.to_vec());
        self.send(Job::Begin(Draft { folder, format, tokens, seconds_per_token, replaces }));
    }

    /// How far the save has got, after waiting at most `timeout` for news.
    ///
    /// Errors: the file could not be written, or the disk does not answer. That save is over.
    pub fn saving(&mut self, timeout: Duration) -> io::Result<Saving> {
        if self.save.is_some() {
            self.listen(timeout);
        }
        let Some(save) = &mut self.save else { return Ok(Saving::Idle) };
        if let Some(result) = save.ended.take() {
            self.entries.retain(|entry| result.is_err() || !save.replaces.contains(&entry.path));
            self.save = None;
            self.rest();
            self.entries.push(result?);
            return Ok(Saving::Idle);
        }
        let is_last = save.n_given == self.format.n_pages(save.n_tokens);
        if self.heard.elapsed() > DISK_PATIENCE && (is_last || self.free.is_empty()) {
            self.save = None;
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(if is_last { Saving::Last } else { Saving::Page(save.n_given) })
    }

    /// Gives the save its next page; whether there was a buffer for it.
    pub fn save_page(&mut self, bytes: &[u8]) -> bool {
        let (Some(save), false) = (&mut self.save, self.free.is_empty()) else { return false };
        let Some(mut page) = self.free.pop() else { return false };
        let offset = self.format.pages_at(save.n_tokens) + (save.n_given * self.format.page_bytes) as u64;
        let span = page.fill_for(0, offset, self.format.page_bytes);
        save.n_given += 1;
        let target = page.target(span).expect("buffers of pages are memory");
        target[span.needed - bytes.len()..span.needed].copy_from_slice(bytes);
        self.send(Job::Append(page, span));
        true
    }

    /// Gives up the save.
    pub fn abandon_save(&mut self) {
        self.save = None;
        self.send(Job::Abandon);
    }

    /// Hears what the thread has done, waiting at most `timeout` for the first answer.
    fn listen(&mut self, timeout: Duration) {
        let mut answer = self.done.recv_timeout(timeout).ok();
        while let Some(done) = answer {
            self.heard = Instant::now();
            match done {
                Done::Read(key, page, result) => match self.restores.front() {
                    Some(restore) if restore.key == key => self.arrived.push_back((page, result)),
                    _ => self.recycle(page),
                },
                Done::Appended(page) => self.recycle(page),
                Done::Saved(result) => {
                    if let Some(save) = &mut self.save {
                        save.ended = Some(result);
                    }
                }
            }
            answer = self.done.try_recv().ok();
        }
        self.ask();
    }

    /// Takes a buffer back.
    fn recycle(&mut self, page: Slot) {
        self.free.push(page);
        self.rest();
    }

    /// Gives the buffers' memory back to the system if nothing is under way.
    fn rest(&mut self) {
        if self.free.len() == N_BUFFERS && self.restores.is_empty() && self.save.is_none() {
            self.free.iter_mut().for_each(Slot::release);
        }
    }

    fn send(&self, job: Job) {
        // A thread that has ended answers nothing, and what waits for it loses patience.
        let _ = self.jobs.send(job);
    }
}
