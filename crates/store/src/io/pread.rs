//! A pool of threads that read; it works on every system and with every file.
//!
//! Each thread takes a request, serves it with positioned reads, or by fetching if its slot is a window on a mapped file,
//! and hands the slot back. As many requests are in flight as there are threads.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::io::open_file::OpenFile;
use crate::io::reader::{ReadDone, ReadRequest, Reader};
use crate::io::span::Span;
use crate::slot::Slot;

/// How long a pool that is dropped waits for reads in flight before it leaves them to the system.
const PATIENCE: Duration = Duration::from_secs(5);

/// Threads that wait for reads.
pub(crate) struct PreadPool {
    requests: Option<Sender<ReadRequest>>,
    done: Receiver<ReadDone>,
    in_flight: usize,
    threads: Vec<JoinHandle<()>>,
}

impl PreadPool {
    /// Starts `depth` threads that read from `files`.
    pub(crate) fn new(files: &Arc<[OpenFile]>, depth: usize) -> PreadPool {
        let (requests, take) = channel();
        let (give, done) = channel();
        let take = Arc::new(Mutex::new(take));
        let threads = (0..depth)
            .map(|i| {
                let (files, take, give) = (Arc::clone(files), Arc::clone(&take), give.clone());
                std::thread::Builder::new()
                    .name(format!("read-{i}"))
                    .stack_size(128 << 10)
                    .spawn(move || serve(&files, &take, &give))
                    .expect("the system starts a thread")
            })
            .collect();
        PreadPool { requests: Some(requests), done, in_flight: 0, threads }
    }
}

/// Serves requests until there are no more.
fn serve(files: &[OpenFile], take: &Mutex<Receiver<ReadRequest>>, give: &Sender<ReadDone>) {
    loop {
        let request = take.lock().expect("nothing panics while it is held").recv();
        let Ok(ReadRequest { tag, span, mut slot }) = request else { return };
        let start = Instant::now();
        let result = read_into(&mut slot, span, files);
        if give.send(ReadDone { tag, slot, result, time: start..Instant::now() }).is_err() {
            return;
        }
    }
}

/// Fills a slot, waiting for it. Errors: the read failed.
pub(crate) fn read_into(slot: &mut Slot, span: Span, files: &[OpenFile]) -> std::io::Result<()> {
    match slot.target(span) {
        Some(target) => files[span.file].read(target, span.offset, span.needed),
        None => slot.fetch(),
    }
}

impl Reader for PreadPool {
    fn submit(&mut self, request: ReadRequest) {
        let requests = self.requests.as_ref().expect("open until it is dropped");
        requests.send(request).expect("the threads live until it is dropped");
        self.in_flight += 1;
    }

    fn wait(&mut self, timeout: Duration) -> Option<ReadDone> {
        let done = if timeout.is_zero() { self.done.try_recv().ok() } else { self.done.recv_timeout(timeout).ok() };
        self.in_flight -= usize::from(done.is_some());
        done
    }
}

impl Drop for PreadPool {
    fn drop(&mut self) {
        self.requests = None;
        let until = Instant::now() + PATIENCE;
        while self.in_flight > 0 && self.wait(until.saturating_duration_since(Instant::now())).is_some() {}
        if self.in_flight > 0 {
            // A disk that does not respond holds its threads; they own what they write to and end when it responds.
            return;
        }
        for thread in self.threads.drain(..) {
            // The threads do not panic, and there is no one to tell here.
            let _ = thread.join();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::io::mode::Fits;

    #[test]
    fn an_error_of_the_system_comes_back_with_its_slot() {
        // A process's memory where nothing is mapped: a file that gives EIO to anybody.
        let file = OpenFile::open_buffered(std::path::Path::new("/proc/self/mem"), Fits::Yes).unwrap();
        let files: Arc<[OpenFile]> = Arc::new([file]);
        let mut pool = PreadPool::new(&files, 2);
        for tag in 0..3 {
            let mut slot = Slot::new(5000).unwrap();
            let span = slot.fill_for(0, 4096, 5000);
            pool.submit(ReadRequest { tag, span, slot });
        }
        for _ in 0..3 {
            let done = pool.wait(PATIENCE).expect("an answer");
            let error = done.result.unwrap_err().raw_os_error();
            assert_eq!((error, done.slot.slab().len()), (Some(libc::EIO), 5000));
        }
    }
}
