//! A pool of threads that read: works on every system and every file.
//!
//! Each thread takes a request, reads it with positioned reads and hands the slot back. As many requests are under way
//! as there are threads.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use super::file::ModelFile;
use super::{ReadDone, ReadRequest, Reader};

/// Threads that wait for reads.
pub(crate) struct PreadPool {
    requests: Option<Sender<ReadRequest>>,
    done: Receiver<ReadDone>,
    threads: Vec<JoinHandle<()>>,
}

impl PreadPool {
    /// Starts `depth` threads that read from `file`.
    pub(crate) fn new(file: &Arc<ModelFile>, depth: usize) -> PreadPool {
        let (requests, take) = channel();
        let (give, done) = channel();
        let take = Arc::new(Mutex::new(take));
        let threads = (0..depth)
            .map(|i| {
                let (file, take, give) = (Arc::clone(file), Arc::clone(&take), give.clone());
                std::thread::Builder::new()
                    .name(format!("read-{i}"))
                    .spawn(move || serve(&file, &take, &give))
                    .expect("the system starts a thread")
            })
            .collect();
        PreadPool { requests: Some(requests), done, threads }
    }
}

/// Serves requests until there are no more.
fn serve(file: &ModelFile, take: &Mutex<Receiver<ReadRequest>>, give: &Sender<ReadDone>) {
    loop {
        let request = take.lock().expect("nothing panics while it is held").recv();
        let Ok(ReadRequest { slab, span, mut slot }) = request else { return };
        let start = Instant::now();
        let result = file.read(slot.target(span), span.offset, span.needed);
        if give.send(ReadDone { slab, slot, result, time: start..Instant::now() }).is_err() {
            return;
        }
    }
}

impl Reader for PreadPool {
    fn submit(&mut self, request: ReadRequest) {
        let requests = self.requests.as_ref().expect("open until it is dropped");
        requests.send(request).expect("the threads live until it is dropped");
    }

    fn try_wait(&mut self) -> Option<ReadDone> {
        self.done.try_recv().ok()
    }

    fn wait(&mut self) -> ReadDone {
        self.done.recv().expect("a thread holds a request")
    }
}

impl Drop for PreadPool {
    fn drop(&mut self) {
        self.requests = None;
        for thread in self.threads.drain(..) {
            // The threads do not panic, and nobody would hear of it here.
            let _ = thread.join();
        }
    }
}
