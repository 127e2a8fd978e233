//! A pool of threads that read: works on every system and every file.
//!
//! Each thread takes a request, reads it with positioned reads, or fetches it where files are mapped, and hands the slot
//! back. As many requests are under way as there are threads.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::io::mapping::Mapping;
use crate::io::open_file::OpenFile;
use crate::io::reader::{ReadDone, ReadRequest, Reader};

/// How long the end of a pool waits for reads that are under way before it leaves them to the system.
const PATIENCE: Duration = Duration::from_secs(5);

/// Threads that wait for reads.
pub(crate) struct PreadPool {
    requests: Option<Sender<ReadRequest>>,
    done: Receiver<ReadDone>,
    under_way: usize,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads read from.
#[derive(Clone)]
struct Sources {
    files: Arc<[OpenFile]>,
    mappings: Vec<Arc<Mapping>>,
}

impl PreadPool {
    /// Starts `depth` threads that read from `files`, or fetch from `mappings` what goes into windows.
    pub(crate) fn new(files: &Arc<[OpenFile]>, mappings: &[Arc<Mapping>], depth: usize) -> PreadPool {
        let (requests, take) = channel();
        let (give, done) = channel();
        let take = Arc::new(Mutex::new(take));
        let sources = Sources { files: Arc::clone(files), mappings: mappings.to_vec() };
        let threads = (0..depth)
            .map(|i| {
                let (sources, take, give) = (sources.clone(), Arc::clone(&take), give.clone());
                std::thread::Builder::new()
                    .name(format!("read-{i}"))
                    .stack_size(128 << 10)
                    .spawn(move || serve(&sources, &take, &give))
                    .expect("the system starts a thread")
            })
            .collect();
        PreadPool { requests: Some(requests), done, under_way: 0, threads }
    }
}

/// Serves requests until there are no more.
fn serve(sources: &Sources, take: &Mutex<Receiver<ReadRequest>>, give: &Sender<ReadDone>) {
    loop {
        let request = take.lock().expect("nothing panics while it is held").recv();
        let Ok(ReadRequest { tag, file, span, mut slot }) = request else { return };
        let start = Instant::now();
        let result = match slot.target(span) {
            Some(target) => sources.files[file].read(target, span.offset, span.needed),
            None => sources.mappings[file].fetch(span.offset, span.needed),
        };
        if give.send(ReadDone { tag, slot, result, time: start..Instant::now() }).is_err() {
            return;
        }
    }
}

impl Reader for PreadPool {
    fn submit(&mut self, request: ReadRequest) {
        let requests = self.requests.as_ref().expect("open until it is dropped");
        requests.send(request).expect("the threads live until it is dropped");
        self.under_way += 1;
    }

    fn wait(&mut self, timeout: Duration) -> Option<ReadDone> {
        let done = if timeout.is_zero() { self.done.try_recv().ok() } else { self.done.recv_timeout(timeout).ok() };
        self.under_way -= usize::from(done.is_some());
        done
    }
}

impl Drop for PreadPool {
    fn drop(&mut self) {
        self.requests = None;
        let until = Instant::now() + PATIENCE;
        while self.under_way > 0 && self.wait(until.saturating_duration_since(Instant::now())).is_some() {}
        if self.under_way > 0 {
            // A disk that has stopped answering holds its threads; they own what they write to and end when it answers.
            return;
        }
        for thread in self.threads.drain(..) {
            // The threads do not panic, and nobody would hear of it here.
            let _ = thread.join();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::io::mode::Fits;
    use crate::slot::Slot;

    #[test]
    fn an_error_of_the_system_comes_back_with_its_slot() {
        // A process's memory where nothing is mapped: a file that gives EIO to anybody.
        let file = OpenFile::open_buffered(std::path::Path::new("/proc/self/mem"), Fits::Yes).unwrap();
        let files: Arc<[OpenFile]> = Arc::new([file]);
        let mut pool = PreadPool::new(&files, &[], 2);
        for tag in 0..3 {
            let mut slot = Slot::new(5000).unwrap();
            let span = slot.fill_for(4096, 5000);
            pool.submit(ReadRequest { tag, file: 0, span, slot });
        }
        for _ in 0..3 {
            let done = pool.wait(PATIENCE).expect("an answer");
            let error = done.result.unwrap_err().raw_os_error();
            assert_eq!((error, done.slot.slab().len()), (Some(libc::EIO), 5000));
        }
    }
}
