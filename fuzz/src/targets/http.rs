//! Bodies of HTTP requests, sent to a server with a tiny model in this process.
//!
//! The first byte of an input chooses the endpoint. Whatever comes back, it is an answer, and not the server's own fault.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use engine::{EngineOptions, Limits, ModelFile, ServiceOptions};
use server::{Server, ServerOptions};
use testkit::{CHATML, TinySpec, temp_model};

/// Endpoints that read a body, with one to start from. No seed asks for more than a few tokens.
const ENDPOINTS: &[(&str, &str)] = &[
    (
        "/api/generate",
        r#"{"model":"tiny","prompt":"a","stream":false,"options":{"num_predict":2,"seed":1},"format":"json"}"#,
    ),
    (
        "/api/chat",
        r#"{"model":"tiny","messages":[{"role":"user","content":"a","images":[]}],"options":{"num_predict":1,"stop":["x"]},"tools":[],"think":true}"#,
    ),
    ("/api/embed", r#"{"model":"tiny","input":["a","b"],"truncate":true}"#),
    ("/api/show", r#"{"model":"tiny","verbose":true}"#),
    (
        "/v1/chat/completions",
        r#"{"model":"tiny","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"max_tokens":2,"logprobs":true,"top_logprobs":2,"n":2,"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object"}}}}"#,
    ),
    (
        "/v1/completions",
        r#"{"model":"tiny","prompt":[1,2],"max_tokens":2,"echo":true,"logit_bias":{"3":-100},"stream":true,"stream_options":{"include_usage":true}}"#,
    ),
    (
        "/v1/responses",
        r#"{"model":"tiny","input":[{"role":"user","content":"a"}],"max_output_tokens":2,"tools":[{"type":"function","name":"f","parameters":{}}],"tool_choice":"auto"}"#,
    ),
    (
        "/v1/messages",
        r#"{"model":"tiny","max_tokens":2,"system":"s","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"x"}]}],"stop_sequences":["y"]}"#,
    ),
    ("/tokenize", r#"{"content":"a b","add_special":true}"#),
    ("/detokenize", r#"{"tokens":[1,2]}"#),
];

static ADDRESS: LazyLock<SocketAddr> = LazyLock::new(serve);

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    (0..).zip(ENDPOINTS).map(|(i, (_, body))| [&[i], body.as_bytes()].concat()).collect()
}

pub(crate) fn run(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let (path, _) = ENDPOINTS[usize::from(*first) % ENDPOINTS.len()];
    let mut stream = TcpStream::connect(*ADDRESS).expect("the server accepts");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers");
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    assert!(status.is_some_and(|status| status < 500), "{path}: {}", String::from_utf8_lossy(&answer));
}

fn serve() -> SocketAddr {
    let mut spec = TinySpec::from_line("llama layers=1 context=64");
    spec.chat_template = Some(CHATML.to_owned());
    let path = temp_model(&spec.build().gguf_bytes());
    let engine = EngineOptions { threads: 1, ..EngineOptions::default() };
    let file = ModelFile::open(&path).expect("the model is whole");
    let model = file.load(&engine).expect("the model loads");
    let options = ServerOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        host: String::new(),
        api_key: None,
        origins: Vec::new(),
        keep_alive: None,
        drain: Duration::ZERO,
        name: "tiny".to_owned(),
        logs_prompts: false,
        max_connections: 8,
    };
    let limits = Limits { max_batch: 1, max_queue: 8, cache_pages: 0 };
    let service = ServiceOptions { engine, limits, cache: None };
    let server = Server::new(&file, model, service, None, options).expect("the server starts");
    let (ready, address) = mpsc::channel();
    thread::spawn(move || {
        let _path = path;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let on_ready = |at| ready.send(at).expect("the target waits");
        runtime.block_on(server.run(std::future::pending(), on_ready)).expect("the port is free");
    });
    address.recv().expect("the server listens")
}
