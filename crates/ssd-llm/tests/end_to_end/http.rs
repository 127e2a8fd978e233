//! A client that is as simple as can be: one request a connection, and a server that a test has started.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::thread::JoinHandle;

use serde_json::Value;

use crate::support::{Outcome, command, finish, signal};

/// A server on a free port.
pub(crate) struct Server {
    child: Option<Child>,
    /// Reads what it writes to stderr: a pipe that is full would stop it.
    log: Option<JoinHandle<String>>,
    pub(crate) port: u16,
}

impl Server {
    /// Starts `serve` and waits until it listens.
    pub(crate) fn start(model: &str, flags: &[&str]) -> Server {
        let mut child = command(&[&["serve", model, "--port=0"], flags].concat()).spawn().expect("the binary starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let mut line = String::new();
        while !line.contains(" at http://") {
            line.clear();
            assert!(stderr.read_line(&mut line).expect("stderr can be read") > 0, "the server listens");
        }
        let port = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split([',', ';']).next()?.rsplit(':').next()?.parse().ok());
        let port = port.unwrap_or_else(|| panic!("a port in {line:?}"));
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).expect("stderr can be read");
            log
        });
        Server { child: Some(child), log: Some(log), port }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[], &body.to_string())
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut stream = self.begin(method, path, headers, body);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the server answers");
        Reply::parse(&bytes)
    }

    /// Sends a request whose answer the caller reads.
    pub(crate) fn begin(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server accepts");
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "Content-Length") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head += "Host: localhost\r\n";
        }
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        stream.write_all((head + "\r\n" + body).as_bytes()).expect("the server reads");
        stream
    }

    /// A number of `/stats`.
    pub(crate) fn stat(&self, pointer: &str) -> f64 {
        let stats = self.get("/stats").json();
        stats.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} in {stats}"))
    }

    /// Asks the server to end; how it did, with its log.
    pub(crate) fn end(mut self) -> Outcome {
        let child = self.child.take().expect("it has not ended");
        signal("TERM", child.id());
        let outcome = finish(child);
        let log = self.log.take().expect("it has not ended");
        Outcome { stderr: log.join().expect("the log is text"), ..outcome }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Reply {
        let at = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..at].to_vec()).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut rest = &bytes[at + 4..];
        let mut body = Vec::new();
        if !head.to_lowercase().contains("transfer-encoding: chunked") {
            body = rest.to_vec();
            rest = &[];
        }
        while let Some(line) = rest.windows(2).position(|end| end == b"\r\n") {
            let len = std::str::from_utf8(&rest[..line]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
            let Some(len) = len.filter(|len| *len > 0) else { break };
            body.extend(&rest[line + 2..line + 2 + len]);
            rest = &rest[line + 4 + len..];
        }
        Reply { status, head, body: String::from_utf8(body).expect("a body is UTF-8") }
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")))?;
        Some(line[name.len() + 1..].trim())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("JSON ({e}): {self:?}"))
    }

    /// The objects of a body of lines, each of which ends.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        assert!(self.body.ends_with('\n'), "{self:?}");
        self.body.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }
}
