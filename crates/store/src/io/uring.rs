//! io_uring: the kernel takes requests from a queue in shared memory, so that no thread waits for each of them.
//!
//! The slots that are filled most often are registered as one buffer, which saves the kernel a look-up of their pages on
//! every read. If it refuses to register memory, reads work without.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};

use crate::io::open_file::OpenFile;
use crate::io::reader::{ReadDone, ReadRequest, Reader};
use crate::io::short_reads::advance;
use crate::io::span::ALIGNMENT;
use crate::slot::{Arena, Slot};

/// How long a ring that is dropped waits for reads in flight before it leaves them and their memory to the system.
const PATIENCE: Duration = Duration::from_secs(5);

/// Minimum length of the queue, more than the usual number of requests in flight.
const MIN_ENTRIES: u32 = 8;

/// A queue of reads.
pub(crate) struct Uring {
    /// There until it is dropped; the ring may have to outlive this.
    ring: Option<IoUring>,
    files: Arc<[OpenFile]>,
    /// The requests in flight; an entry's `user_data` is its index here.
    pending: Vec<Option<Pending>>,
    /// Requests that wait for room in the queue.
    waiting: VecDeque<usize>,
    registered: Option<Arc<Arena>>,
}

struct Pending {
    request: ReadRequest,
    done: usize,
    start: Instant,
}

impl Uring {
    /// Creates a queue for `depth` requests at once. `slots` are those that it will fill most often.
    ///
    /// Errors: the system lacks io_uring or a part of it, or refuses it.
    pub(crate) fn new(files: &Arc<[OpenFile]>, depth: usize, slots: &[Slot]) -> Result<Uring> {
        let entries = u32::try_from(depth).unwrap_or(MIN_ENTRIES).max(MIN_ENTRIES).next_power_of_two();
        let ring = open(entries)?;
        let registered = slots.first().and_then(Slot::arena).map(Arc::clone);
        let registered = registered.filter(|arena| register(&ring, arena).is_ok());
        Ok(Uring {
            ring: Some(ring),
            files: Arc::clone(files),
            pending: Vec::new(),
            waiting: VecDeque::new(),
            registered,
        })
    }

    /// Why io_uring is not available, if it is not.
    pub(crate) fn refused() -> Option<Error> {
        open(MIN_ENTRIES).err()
    }

    fn ring(&mut self) -> &mut IoUring {
        self.ring.as_mut().expect("there until the end")
    }

    /// Queues requests as long as there is room.
    fn push(&mut self) {
        while let Some(&index) = self.waiting.front() {
            let entry = self.entry(index);
            // SAFETY: the entry's buffer is the target of a slot that `pending` owns until the entry's completion has been
            // seen, or until the process ends; the file is open as long as `files`, which the ring does not outlive.
            if unsafe { self.ring().submission().push(&entry) }.is_err() {
                break;
            }
            self.waiting.pop_front();
        }
    }

    fn entry(&mut self, index: usize) -> squeue::Entry {
        let Pending { request, done, .. } = self.pending[index].as_mut().expect("a waiting request is pending");
        let fd = Fd(self.files[request.span.file].file().as_raw_fd());
        let fixed = match (request.slot.arena(), &self.registered) {
            (Some(arena), Some(registered)) => Arc::ptr_eq(arena, registered),
            _ => false,
        };
        let span = request.span;
        let target = &mut request.slot.target(span).expect("io_uring fills slots that have memory")[*done..];
        let (at, len) = (target.as_mut_ptr(), u32::try_from(target.len()).expect("a slab is a few MiB"));
        let offset = span.offset + *done as u64;
        let entry = match fixed {
            true => opcode::ReadFixed::new(fd, at, len, 0).offset(offset).build(),
            // On the first read into memory the kernel has to find pages for it, which one of its threads can do.
            false => opcode::Read::new(fd, at, len).offset(offset).build().flags(squeue::Flags::ASYNC),
        };
        entry.user_data(index as u64)
    }

    /// Hands the queue to the kernel and waits for `want` completions, or until the time is up.
    fn enter(&mut self, want: usize, timeout: Duration) {
        self.push();
        let time = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&time);
        let entered = match want {
            0 => self.ring().submit(),
            _ => self.ring().submitter().submit_with_args(want, &args),
        };
        match entered {
            Ok(_) => {}
            // The time was up, a signal came, or the kernel has completions that must be taken first.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
            Err(e) => panic!("io_uring refuses a queue that it accepted before: {e}"),
        }
    }

    /// Takes a completion that finishes a request, if there is one, and resubmits those that came short. If these come short
    /// again they are seen by the next call, so that this one ends.
    fn finished(&mut self) -> Option<ReadDone> {
        loop {
            let Some(entry) = self.ring().completion().next() else {
                if !self.waiting.is_empty() {
                    self.enter(0, Duration::ZERO);
                }
                return None;
            };
            let index = usize::try_from(entry.user_data()).expect("an index");
            let pending = self.pending[index].as_mut().expect("a completion belongs to a request");
            let Some(result) = arrived(pending, entry.result()) else {
                self.waiting.push_back(index);
                continue;
            };
            let Pending { request: ReadRequest { tag, slot, .. }, start, .. } =
                self.pending[index].take().expect("looked at just now");
            return Some(ReadDone { tag, slot, result, time: start..Instant::now() });
        }
    }
}

/// What a completion means for its request: done, failed, or nothing yet because more has to be read.
fn arrived(pending: &mut Pending, result: i32) -> Option<Result<()>> {
    let needed = pending.request.span.needed;
    let result = usize::try_from(result).map_err(|_| match -result {
        // It would have blocked; a retry may not.
        libc::EAGAIN => Error::from(ErrorKind::Interrupted),
        code => Error::from_raw_os_error(code),
    });
    match advance(pending.done, result, needed, ALIGNMENT) {
        Ok(done) => {
            pending.done = done;
            (done >= needed).then_some(Ok(()))
        }
        Err(e) => Some(Err(e)),
    }
}

fn open(entries: u32) -> Result<IoUring> {
    let ring = IoUring::new(entries)?;
    // Waiting with a timeout came with Linux 5.11.
    if !ring.params().is_feature_ext_arg() {
        return Err(Error::new(ErrorKind::Unsupported, "this kernel's io_uring is too old"));
    }
    Ok(ring)
}

fn register(ring: &IoUring, arena: &Arena) -> Result<()> {
    let (start, len) = arena.hold();
    let buffer = libc::iovec { iov_base: start.cast(), iov_len: len };
    // SAFETY: the arena lives as long as the ring, which keeps it in `registered`.
    unsafe { ring.submitter().register_buffers(&[buffer]) }
}

impl Reader for Uring {
    fn submit(&mut self, request: ReadRequest) {
        let pending = Some(Pending { request, done: 0, start: Instant::now() });
        let index = match self.pending.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.pending.push(None);
                self.pending.len() - 1
            }
        };
        self.pending[index] = pending;
        self.waiting.push_back(index);
        self.enter(0, Duration::ZERO);
    }

    fn wait(&mut self, timeout: Duration) -> Option<ReadDone> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(done) = self.finished() {
                return Some(done);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.enter(1, left);
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.pending.iter().any(Option::is_some) {
            if self.wait(until.saturating_duration_since(Instant::now())).is_none() {
                // The kernel may still write to these slots: they, and the ring, stay for the rest of the process.
                std::mem::forget(std::mem::take(&mut self.pending));
                std::mem::forget((self.ring.take(), self.registered.take(), Arc::clone(&self.files)));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::mode::Fits;
    use std::io::Write;

    fn files(bytes: &[u8]) -> Arc<[OpenFile]> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new([OpenFile::open_buffered(file.path(), Fits::Yes).unwrap()])
    }

    fn request(tag: u64, offset: u64, len: usize) -> ReadRequest {
        let mut slot = Slot::new(len).unwrap();
        let span = slot.fill_for(0, offset, len);
        ReadRequest { tag, span, slot }
    }

    #[test]
    fn more_requests_than_the_queue_holds_all_arrive() {
        if Uring::refused().is_some() {
            return;
        }
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i * 7) as u8).collect();
        let mut ring = Uring::new(&files(&bytes), 2, &[]).unwrap();
        for i in 0..40 {
            ring.submit(request(i, i * 4000, 3000 + i as usize));
        }
        for _ in 0..40 {
            let done = ring.wait(Duration::from_secs(10)).expect("the disk answers");
            let (at, slab) = (done.tag as usize * 4000, done.slot.slab());
            assert!(done.result.is_ok() && slab == &bytes[at..at + slab.len()]);
        }
        assert!(ring.wait(Duration::ZERO).is_none());
        ring.submit(request(1, 199_000, 5000));
        let done = ring.wait(Duration::from_secs(10)).unwrap();
        assert_eq!(done.result.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_a_completion_means() {
        let pending = |done| Pending { request: request(0, 0, 10_000), done, start: Instant::now() };
        assert!(matches!(arrived(&mut pending(0), 10_000), Some(Ok(()))));
        assert!(matches!(arrived(&mut pending(8192), 4096), Some(Ok(()))));
        let mut short = pending(0);
        assert!(arrived(&mut short, 5000).is_none() && short.done == 4096, "goes on at a whole block");
        assert!(matches!(arrived(&mut short, 100), Some(Err(_))), "no progress is the end");
        assert!(arrived(&mut pending(0), -libc::EINTR).is_none());
        assert!(matches!(arrived(&mut pending(0), -libc::EIO), Some(Err(e)) if e.raw_os_error() == Some(libc::EIO)));
    }
}
