//! The thread that reads and writes.
//!
//! Jobs are done one after another; buffers come with a job and go back with its answer.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::SystemTime;

use crate::io::mode::Fits;
use crate::io::open_file::OpenFile;
use crate::io::span::Span;
use crate::prompt_cache::entry::{Entry, open_file, remove_damaged};
use crate::prompt_cache::writer::{Draft, Writer};
use crate::slot::Slot;

/// Names a restore.
pub(super) type Key = u64;

/// What the thread is asked to do.
pub(super) enum Job {
    /// Fill a buffer with a page of a file.
    Read(Key, PathBuf, Slot, Span),
    /// Begin a file.
    Begin(Draft),
    /// Append a page to it. The last one finishes it.
    Append(Slot, Span),
    /// Discard it.
    Abandon,
    /// Note that a file was of use.
    Touch(PathBuf, SystemTime),
    RemoveDamaged(PathBuf, &'static str),
}

/// What has been done.
pub(super) enum Done {
    Read(Key, Slot, io::Result<()>),
    Appended(Slot),
    Saved(io::Result<Entry>),
}

/// The thread's state.
struct Transfer {
    done: Sender<Done>,
    open: Option<(PathBuf, OpenFile)>,
    writer: Option<Writer>,
}

/// Starts the thread, which ends when its jobs do. Errors: the system has no thread.
pub(super) fn start() -> io::Result<(Sender<Job>, Receiver<Done>)> {
    let (jobs, todo) = channel();
    let (done, answers) = channel();
    let transfer = Transfer { done, open: None, writer: None };
    std::thread::Builder::new().name("prompt-files".to_owned()).spawn(move || transfer.run(&todo))?;
    Ok((jobs, answers))
}

impl Transfer {
    fn run(mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            let answer = self.carry_out(job);
            // Without anybody to answer there are no more jobs either.
            answer.into_iter().flatten().for_each(|done| drop(self.done.send(done)));
        }
    }

    fn carry_out(&mut self, job: Job) -> [Option<Done>; 2] {
        match job {
            Job::Read(key, path, mut page, span) => {
                let result = self.read(&path, &mut page, span);
                return [Some(Done::Read(key, page, result)), None];
            }
            Job::Begin(draft) => match Writer::new(draft) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => return [Some(Done::Saved(Err(error))), None],
            },
            Job::Append(mut page, span) => {
                let saved = self.append(&mut page, span);
                return [Some(Done::Appended(page)), saved];
            }
            Job::Abandon => self.writer = None,
            Job::Touch(path, at) => {
                // Only the order in which files are deleted depends on it.
                let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(at));
            }
            Job::RemoveDamaged(path, why) => remove_damaged(&path, why),
        }
        [None, None]
    }

    fn read(&mut self, path: &Path, page: &mut Slot, span: Span) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(open, _)| open != path) {
            drop(open_file(path)?);
            let file = OpenFile::open_direct(path).or_else(|_| OpenFile::open_buffered(path, Fits::No))?;
            self.open = Some((path.to_owned(), file));
        }
        let (_, file) = self.open.as_ref().expect("it has just been opened");
        let is_last = file.file().metadata()?.len() <= span.offset + span.needed as u64;
        let result = file.read(page.target(span).expect("buffers of pages are memory"), span.offset, span.needed);
        if is_last || result.is_err() {
            self.open = None;
        }
        result
    }

    fn append(&mut self, page: &mut Slot, span: Span) -> Option<Done> {
        let mut writer = self.writer.take()?;
        match writer.append(page, span) {
            Ok(()) if writer.is_complete() => Some(Done::Saved(writer.finish())),
            Ok(()) => {
                self.writer = Some(writer);
                None
            }
            Err(error) => Some(Done::Saved(Err(error))),
        }
    }
}
