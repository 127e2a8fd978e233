//! A server in this process with a tiny random model, and a client that is as simple as can be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::{EngineOptions, Limits, ModelFile, ServiceOptions};
use serde_json::Value;
use server::{Server, ServerOptions};
use testkit::{TinySpec, temp_model};
use tokio::sync::oneshot;

/// A server on a free port; it ends with its test.
pub(crate) struct Running {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Running {
    /// Serves the model of a testkit's line under the name `tiny`.
    pub(crate) fn start(line: &str) -> Running {
        let path = temp_model(&TinySpec::from_line(line).build().gguf_bytes());
        let engine = EngineOptions { threads: 1, max_sequences: 4, ..EngineOptions::default() };
        let file = ModelFile::open(&path).expect("the model is whole");
        let model = file.load(&engine).expect("the model loads");
        let limits = Limits { max_batch: 4, max_queue: 32, cache_pages: 8 };
        let options = ServerOptions {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            api_key: None,
            origins: Vec::new(),
            keep_alive: None,
            drain: Duration::from_secs(1),
            name: "tiny".to_owned(),
            logs_prompts: false,
            max_connections: 64,
        };
        let service = ServiceOptions { engine, limits, cache: None };
        let server = Server::new(&file, model, service, None, options).expect("the server starts");
        let (end, ended) = oneshot::channel::<()>();
        let (ready, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _path = path;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let ended = async { drop(ended.await) };
            runtime
                .block_on(server.run(ended, |at| ready.send(at).expect("the test waits")))
                .expect("the port is free");
        });
        Running { address: address.recv().expect("the server listens"), end: Some(end), thread: Some(thread) }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &body.to_string())
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).expect("the server accepts");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).expect("the server reads");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the server answers");
        Reply::parse(&bytes)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        // A panic of its thread has been reported.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Reply {
    fn parse(bytes: &[u8]) -> Reply {
        let at = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..at].to_vec()).expect("a head is text").to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let rest = &bytes[at + 4..];
        let body = if head.contains("transfer-encoding: chunked") { unchunked(rest) } else { rest.to_vec() };
        Reply { status, head, body: String::from_utf8(body).expect("a body is UTF-8") }
    }

    /// The body of a response that is as it should be.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The objects of a stream of events, `[DONE]` as a string.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        assert!(self.status == 200 && self.head.contains("content-type: text/event-stream"), "{self:?}");
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::from(data))).collect()
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|end| end == b"\r\n") {
        let len = std::str::from_utf8(&rest[..line]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let Some(len) = len.filter(|len| *len > 0) else { break };
        body.extend(&rest[line + 2..line + 2 + len]);
        rest = &rest[line + 4 + len..];
    }
    body
}
