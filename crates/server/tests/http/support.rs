//! A server on a tiny random model, in this process, and just enough of HTTP to ask it.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::{EngineOptions, Limits, ModelFile, ServiceOptions};
use serde_json::Value;
use server::{Server, ServerOptions};
use testkit::{TinySpec, temp_model};
use tokio::sync::oneshot;

/// The model's name.
pub(crate) const MODEL: &str = "tiny:latest";

/// Tokens of context of the models of [`serve`].
pub(crate) const CTX: usize = 512;

/// A server on a free port; it ends with its test.
pub(crate) struct Running {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a server has answered.
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Starts a server on a model with this chat template.
pub(crate) fn serve(template: &str) -> Running {
    serve_with(template, None)
}

/// Starts a server that wants a key.
pub(crate) fn serve_with(template: &str, api_key: Option<&str>) -> Running {
    let mut spec = TinySpec::from_line(&format!("llama context={CTX}"));
    spec.chat_template = Some(template.to_owned());
    Running::of(&spec, api_key)
}

impl Running {
    /// Serves the model of a testkit's line.
    pub(crate) fn start(line: &str) -> Running {
        Running::of(&TinySpec::from_line(line), None)
    }

    fn of(spec: &TinySpec, api_key: Option<&str>) -> Running {
        let path = temp_model(&spec.clone().build().gguf_bytes());
        let engine = EngineOptions { threads: 1, max_sequences: 4, ..EngineOptions::default() };
        let file = ModelFile::open(&path).expect("the model is whole");
        let model = file.load(&engine).expect("the model loads");
        let limits = Limits { max_batch: 4, max_queue: 32, cache_pages: 8 };
        let options = ServerOptions {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            host: "tiny.example.com".to_owned(),
            api_key: api_key.map(str::to_owned),
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

    pub(crate) fn get(&self, path: &str) -> Response {
        self.ask("GET", path, b"")
    }

    /// Sends JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.ask("POST", path, body.to_string().as_bytes())
    }

    /// Sends a request; a body is sent whatever the method.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Response {
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len()), body)
    }

    /// Sends a request whose head is this, besides its end.
    pub(crate) fn send(&self, head: &str, body: &[u8]) -> Response {
        let mut stream = TcpStream::connect(self.address).expect("the server accepts");
        let head = format!("{head}Connection: close\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).expect("the server reads");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("the server answers");
        Response::read(&all)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.end.take());
        // A panic of its thread has been reported.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}, {:?}, {:?}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Response {
    fn read(all: &[u8]) -> Response {
        let at = all.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(all[..at].to_vec()).expect("a head is text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let mut response =
            Response { status, headers: lines.filter_map(header).collect(), body: all[at + 4..].to_vec() };
        if response.header("transfer-encoding") == "chunked" {
            response.body = without_chunks(&response.body);
        }
        response
    }

    /// A header's value; an empty one if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON of an answer that is no error.
    #[track_caller]
    pub(crate) fn answer(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// The objects of a stream of events, `[DONE]` as a string.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        assert_eq!((self.status, self.header("content-type")), (200, "text/event-stream"), "{self:?}");
        let data = self.text().lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::from(data))).collect()
    }
}

fn without_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let at = body.windows(2).position(|end| end == b"\r\n").expect("a chunk's length");
        let length = std::str::from_utf8(&body[..at]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let length = length.expect("a chunk's length");
        if length == 0 {
            return all;
        }
        all.extend_from_slice(&body[at + 2..at + 2 + length]);
        body = &body[at + 4 + length..];
    }
}
