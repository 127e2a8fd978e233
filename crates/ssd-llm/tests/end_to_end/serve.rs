//! `serve`: the same answers as `run`, however they are asked for; and a server that holds when clients misbehave.

use std::io::Read;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::Server;
use testkit::real_model;

use crate::support::{Tiny, call, json as run_json};

/// Waits for what happens soon.
#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(20));
    }
}

fn is_quiet(server: &Server) -> bool {
    ["queued", "prefilling", "decoding"].iter().all(|name| server.stat(&format!("/now/{name}")) == 0.0)
}

/// A request that goes on and on.
fn endless(model: &str) -> Value {
    json!({ "model": model, "prompt": "hello", "raw": true, "options": { "temperature": 0, "num_predict": 100_000 } })
}

/// The text of a stream of lines.
fn text_of(lines: &[Value], pointer: &str) -> String {
    lines.iter().map(|line| line.pointer(pointer).and_then(Value::as_str).unwrap_or("")).collect()
}

#[test]
fn streamed_or_not_and_with_run_the_text_is_the_same() {
    let model = real_model!();
    let server = Server::start(&model, &["--memory-budget=200M", "--ctx=512", "--name=smol"]);
    for (seed, temperature) in [(1, 0.0), (7, 0.8)] {
        let run = run_json(&[
            "run",
            &model,
            "-p",
            "Name three rivers, with emoji.",
            "-n40",
            "--ctx=512",
            "--memory-budget=200M",
            &format!("--seed={seed}"),
            &format!("--temperature={temperature}"),
        ]);
        let options = json!({ "seed": seed, "temperature": temperature, "num_predict": 40 });
        let messages = json!([{ "role": "user", "content": "Name three rivers, with emoji." }]);
        let wanted =
            |stream: bool| json!({ "model": "smol", "messages": messages, "options": options, "stream": stream });
        let streamed = server.post("/api/chat", &wanted(true));
        assert_eq!(streamed.header("content-type"), Some("application/x-ndjson"));
        let lines = streamed.lines();
        let whole = server.post("/api/chat", &wanted(false)).json();
        assert_eq!(json!(text_of(&lines, "/message/content")), run["text"]);
        assert_eq!(whole["message"]["content"], run["text"]);
        assert_eq!((&whole["done"], &whole["done_reason"]), (&json!(true), &run["finish_reason"]));
        assert_eq!(
            (&whole["prompt_eval_count"], &whole["eval_count"]),
            (&run["prompt_tokens"], &json!(run["tokens"].as_array().unwrap().len()))
        );
        assert!(lines[..lines.len() - 1].iter().all(|line| line["done"] == false && line.get("eval_count").is_none()));
        let generate =
            json!({ "model": "smol:latest", "prompt": "Name three rivers, with emoji.", "options": options });
        assert_eq!(json!(text_of(&server.post("/api/generate", &generate).lines(), "/response")), run["text"]);
        assert!(!streamed.body.contains('\u{FFFD}'));
    }
    let outcome = server.end();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!outcome.stderr.contains("three rivers"), "no prompts in the log: {outcome:?}");
}

#[test]
fn a_client_that_leaves_is_not_answered_further() {
    let tiny = Tiny::chat();
    let server = Server::start(tiny.path(), &["--max-batch=2", "--max-queue=2", "--log-prompts", "--name=t"]);
    let begin = || server.begin("POST", "/api/generate", &[], &endless("t").to_string());
    let mut streams = Vec::new();
    for n in 1..=4 {
        streams.push(begin());
        eventually("requests are taken in", || {
            let load: f64 =
                ["queued", "prefilling", "decoding"].iter().map(|name| server.stat(&format!("/now/{name}"))).sum();
            load >= f64::from(n)
        });
    }
    // Two run and two wait: there is no place for a fifth.
    let refused = server.post("/api/generate", &endless("t"));
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{refused:?}");
    assert!(refused.json()["error"].as_str().unwrap().starts_with("server busy"));
    drop(streams);
    eventually("all are given up", || is_quiet(&server));
    assert_eq!(
        server
            .post(
                "/api/generate",
                &json!({ "model": "t", "prompt": "a", "stream": false, "options": { "num_predict": 3 } })
            )
            .status,
        200
    );
    assert!(server.get("/metrics").body.contains("ssd_llm_requests_cancelled_total"));
    let log = server.end().stderr;
    assert!(log.contains("\"num_predict\":100000"), "prompts are logged where that is asked for: {log}");
}

#[test]
fn asked_to_end_it_ends_in_time() {
    let tiny = Tiny::chat();
    let server = Server::start(tiny.path(), &["--drain-seconds=1", "--max-connections=8"]);
    let name = server.get("/api/tags").json()["models"][0]["name"].as_str().unwrap().to_owned();
    let mut stream = server.begin("POST", "/api/generate", &[], &endless(&name).to_string());
    stream.read_exact(&mut [0; 100]).expect("the answer begins");
    let start = Instant::now();
    let outcome = server.end();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the answer ends");
    assert!(rest.contains("{\"error\":\"the server is shutting down\"}\n"), "what is cut is not called done: {rest:?}");
}

#[test]
fn who_may_use_it() {
    let tiny = Tiny::chat();
    let refusal = call(&["serve", tiny.path(), "--port=0", "--host=0.0.0.0"]).refused(2);
    assert!(refusal.contains("--api-key") && refusal.contains("--allow-unauthenticated"), "{refusal}");
    drop(Server::start(tiny.path(), &["--host=0.0.0.0", "--allow-unauthenticated"]));
    // A name of this machine is as good as its address.
    let named = Server::start(tiny.path(), &["--host=localhost"]);
    assert_eq!(named.get("/api/tags").status, 200);

    let server = Server::start(tiny.path(), &["--api-key=secret", "--allow-origin=https://chat.example.com"]);
    let status = |headers: &[(&str, &str)]| server.send("GET", "/api/tags", headers, "").status;
    assert_eq!(status(&[]), 401);
    assert_eq!(status(&[("Authorization", "Bearer wrong")]), 401);
    assert_eq!(status(&[("Authorization", "Bearer secret")]), 200);
    assert_eq!(status(&[("X-Api-Key", "secret")]), 200);
    for (path, wanted) in [("/health", 200), ("/", 200), ("/page/app.js", 200), ("/openapi.json", 401), ("/stats", 401)]
    {
        assert_eq!(server.get(path).status, wanted, "{path}");
    }
    assert_eq!(server.get("/v1/models").json()["error"]["type"], "authentication_error");
    // A name that somebody has made to mean this machine, and pages of others.
    let key = ("Authorization", "Bearer secret");
    assert_eq!(status(&[key, ("Host", "evil.example.com")]), 403);
    assert_eq!(status(&[key, ("Origin", "https://evil.example.com")]), 403);
    let allowed = server.send("GET", "/api/tags", &[key, ("Origin", "https://chat.example.com")], "");
    assert_eq!(
        (allowed.status, allowed.header("access-control-allow-origin")),
        (200, Some("https://chat.example.com"))
    );
    let preflight = [
        ("Origin", "http://localhost:3000"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let preflight = server.send("OPTIONS", "/api/chat", &preflight, "");
    assert!(preflight.status < 300 && preflight.header("access-control-allow-headers").is_some(), "{preflight:?}");
}

#[test]
fn flags_that_make_no_sense_are_told_what_would() {
    let tiny = Tiny::chat();
    for (flag, words) in [
        ("--allow-origin=foo", "https://chat.example.com"),
        ("--allow-origin=https://chat.example.com/", "without a path"),
        ("--allow-origin=null", "* for every page"),
        ("--host=nowhere.invalid", "127.0.0.1"),
        ("--keep-alive=-1", "omit the flag to keep the model loaded"),
        ("--keep-alive=soon", "5m"),
    ] {
        let refusal = call(&["serve", tiny.path(), "--port=0", flag]).refused(2);
        assert!(refusal.contains(words) && refusal.contains(flag.split('=').next().unwrap()), "{flag}: {refusal}");
    }
    let apart = call(&["serve", tiny.path(), "--port=0", "--keep-alive", "-1"]).refused(2);
    assert!(apart.contains("omit the flag to keep the model loaded"), "{apart}");
    let flags =
        ["*", "chrome-extension://*", "moz-extension://1f-2e", "app://x", "http://[::1]:80", "http://a_b.c:3000"];
    let flags = flags.map(|origin| format!("--allow-origin={origin}"));
    drop(Server::start(tiny.path(), &flags.each_ref().map(String::as_str)));
}

#[test]
fn the_model_goes_when_its_time_is_over_and_comes_back() {
    let tiny = Tiny::chat();
    let server = Server::start(tiny.path(), &["--keep-alive=0s", "--name=t"]);
    let ask = || {
        server.post("/api/generate", &json!({ "model": "t", "prompt": "a", "stream": false, "options": { "num_predict": 5, "temperature": 0 } })).json()
    };
    let first = ask();
    eventually("it is let go of", || server.get("/api/ps").json() == json!({ "models": [] }));
    assert_eq!(ask()["response"], first["response"]);
    let kept = server.post("/api/generate", &json!({ "model": "t", "keep_alive": "1h", "stream": false })).json();
    assert_eq!(kept["done_reason"], "load");
    assert_eq!(ask()["response"], first["response"]);
    let wrong = server.post("/api/generate", &json!({ "model": "t", "keep_alive": "bogus" }));
    assert_eq!((wrong.status, wrong.json()["error"].clone()), (400, json!("time: invalid duration \"bogus\"")));
}

#[test]
fn errors_are_those_that_clients_know() {
    let tiny = Tiny::chat();
    let server = Server::start(tiny.path(), &["--name=t", "--ctx=64"]);
    let post = |path: &str, body: &str| {
        let reply = server.send("POST", path, &[], body);
        (reply.status, reply.json()["error"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned())
    };
    assert_eq!(post("/api/chat", ""), (400, "missing request body".to_owned()));
    assert!(post("/api/chat", "{bad").1.starts_with("invalid character 'b'"));
    assert_eq!(post("/api/chat", "{}"), (400, "model is required".to_owned()));
    assert_eq!(post("/api/chat", "{\"model\":\"nope\"}"), (404, "model 'nope' not found".to_owned()));
    assert_eq!(post("/api/chat", "{\"model\":3}").0, 400);
    assert_eq!(post("/api/generate", "{\"model\":\"t\",\"prompt\":\"a\",\"suffix\":\"b\"}").0, 400);
    assert_eq!(post("/api/generate", "{\"model\":\"t\",\"prompt\":\"a\",\"raw\":true,\"system\":\"b\"}").0, 400);
    assert_eq!(post("/api/generate", "{\"model\":\"t\",\"prompt\":\"a\",\"options\":{\"top_k\":\"x\"}}").0, 400);
    assert_eq!(
        post("/api/chat", "{\"model\":\"t\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"think\":true}").0,
        400
    );
    assert_eq!(post("/api/embed", "{\"model\":\"t\",\"input\":3}"), (400, "invalid input type".to_owned()));
    assert_eq!(server.get("/api/nope").status, 404);
    assert_eq!(server.send("PUT", "/api/chat", &[], "").status, 405);
    assert_eq!(server.send("POST", "/api/chat", &[("Content-Length", "9437184")], "").status, 413);
    // A prompt that is too long loses its oldest part, as in Ollama.
    let long = json!({ "model": "t", "prompt": "the ".repeat(500), "stream": false, "options": { "num_predict": 2 } });
    assert_eq!(server.post("/api/generate", &long).status, 200);
    assert!(is_quiet(&server));
}

/// A metric's value.
#[track_caller]
fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
}

#[test]
fn its_own_routes_tell_the_truth() {
    let model = real_model!();
    let flags = ["--memory-budget=120M", "--ctx=512", "--max-batch=1"];
    let server = Server::start(&model, &[&flags[..], &["--name=smol"]].concat());
    assert_eq!(server.get("/health").json()["status"], "ok");
    let text = "Hello world, ça va? 🌍";
    let tokens = server.post("/tokenize", &json!({ "content": text })).json()["tokens"].clone();
    assert_eq!(tokens, run_json(&["tokenize", &model, text])["tokens"]);
    assert_eq!(server.post("/detokenize", &json!({ "tokens": tokens })).json(), json!({ "content": text }));
    let pieces = server.post("/tokenize", &json!({ "content": "🌍", "with_pieces": true })).json();
    assert!(pieces["tokens"][0]["piece"].is_array(), "a part of a character is bytes: {pieces}");
    assert_eq!(server.post("/detokenize", &json!({ "tokens": [999_999] })).status, 400);
    let messages = json!([{ "role": "user", "content": "Say hi" }]);
    let prompt = server.post("/apply-template", &json!({ "messages": messages })).json()["prompt"].clone();
    assert!(
        prompt.as_str().unwrap().ends_with("<|im_start|>user\nSay hi<|im_end|>\n<|im_start|>assistant\n"),
        "{prompt}"
    );
    let plan = server.get("/plan").json();
    let planned = run_json(&["plan", &model, "--memory-budget=120M", "--ctx=512"]);
    for name in ["weights_bytes", "kv_bytes"] {
        assert_eq!(plan[name], planned[name], "{name}");
    }
    // A server sets memory aside for grammars too, so that fewer weights are kept.
    let bytes = |name: &str| plan[name].as_f64().unwrap();
    assert_eq!(bytes("pinned_bytes") + bytes("streamed_bytes_per_pass"), bytes("weights_bytes"));
    assert!(
        bytes("pinned_bytes") < planned["pinned_bytes"].as_f64().unwrap() && bytes("streamed_bytes_per_pass") > 1e6,
        "{plan}"
    );
    let before = server.get("/metrics").body;
    let body = json!({ "model": "smol", "messages": messages, "stream": false, "options": { "num_predict": 9, "temperature": 0 } });
    let asked = |n: usize| (0..n).map(|_| server.post("/api/chat", &body).json()).collect::<Vec<_>>();
    let answers = asked(2);
    let after = server.get("/metrics").body;
    let grown = |name: &str| metric(&after, name) - metric(&before, name);
    let n_tokens: f64 = answers.iter().map(|answer| answer["eval_count"].as_f64().unwrap()).sum();
    assert_eq!((grown("ssd_llm_requests_total"), grown("ssd_llm_generated_tokens_total")), (2.0, n_tokens));
    assert_eq!(
        (grown("ssd_llm_first_token_seconds_count"), grown("ssd_llm_between_tokens_seconds_count")),
        (2.0, n_tokens - 2.0)
    );
    assert_eq!(grown("ssd_llm_prompt_cache_hits_total"), 1.0);
    assert!(grown("ssd_llm_bytes_read_total") >= plan["streamed_bytes_per_pass"].as_f64().unwrap() * n_tokens / 2.0);
    assert!(grown("ssd_llm_responses_total{status=\"2xx\"}") >= 2.0);
    let stats = server.get("/stats").json();
    let layers = stats["layers"].as_array().unwrap();
    let sum = |name: &str| layers.iter().map(|layer| layer[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(
        (json!(sum("pinned_bytes")), json!(sum("streamed_bytes"))),
        (plan["pinned_bytes"].clone(), plan["streamed_bytes_per_pass"].clone())
    );
    assert_eq!(layers.len(), 31);
}

#[test]
fn texts_are_vectors_of_length_one() {
    let model = real_model!();
    let server = Server::start(&model, &["--memory-budget=200M", "--ctx=256", "--name=smol"]);
    let embed = |body: Value| server.post("/api/embed", &body).json();
    let texts = ["The cat sat on the mat.", "A cat is sitting on a mat.", "Stock markets fell sharply today."];
    let all = embed(json!({ "model": "smol", "input": texts }));
    let vectors: Vec<Vec<f64>> = serde_json::from_value(all["embeddings"].clone()).unwrap();
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    assert!(vectors.iter().all(|v| v.len() == 576 && (product(v, v) - 1.0).abs() < 1e-5));
    assert!(product(&vectors[0], &vectors[1]) > product(&vectors[0], &vectors[2]));
    // Alone, a text is what it is among others; long texts are cut, or refused.
    assert_eq!(embed(json!({ "model": "smol", "input": texts[1] }))["embeddings"][0], all["embeddings"][1]);
    assert_eq!(
        server.post("/api/embeddings", &json!({ "model": "smol", "prompt": texts[1] })).json()["embedding"],
        all["embeddings"][1]
    );
    assert_eq!(
        embed(json!({ "model": "smol", "input": texts[1], "dimensions": 10 }))["embeddings"][0]
            .as_array()
            .unwrap()
            .len(),
        10
    );
    let long = "word ".repeat(400);
    assert_eq!(embed(json!({ "model": "smol", "input": long }))["prompt_eval_count"], 256);
    assert_eq!(server.post("/api/embed", &json!({ "model": "smol", "input": long, "truncate": false })).status, 400);
    assert_eq!(embed(json!({ "model": "smol", "input": [] }))["embeddings"], json!([]));
}

#[test]
fn what_was_computed_is_there_after_a_restart() {
    let (model, folder) = (real_model!(), tempfile::tempdir().unwrap());
    let cache = format!("--prompt-cache={}", folder.path().display());
    let flags = ["--memory-budget=200M", "--ctx=1024", "--max-batch=1", "--name=smol", &cache];
    let prompt = "The quick brown fox jumps over the lazy dog. ".repeat(40);
    let body = json!({ "model": "smol", "prompt": prompt, "raw": true, "stream": false, "options": { "num_predict": 5, "temperature": 0 } });
    let ask = || {
        let server = Server::start(&model, &flags);
        let answer = server.post("/api/generate", &body).json();
        let saved = server.stat("/prompt_cache/saved_tokens");
        assert_eq!(server.end().code, Some(0));
        (answer["response"].clone(), answer["prompt_eval_count"].as_f64().unwrap(), saved)
    };
    let (first, n_tokens, saved) = ask();
    assert!(n_tokens > 300.0 && saved == 0.0, "{n_tokens} {saved}");
    assert_eq!(ask(), (first, n_tokens, n_tokens - 1.0));
}

#[test]
fn formats_hold_the_sampler() {
    let model = real_model!();
    let server = Server::start(&model, &["--memory-budget=200M", "--ctx=512", "--name=smol"]);
    let schema = json!({
        "type": "object",
        "properties": { "city": { "enum": ["Oslo", "Rome"] }, "degrees": { "type": "integer", "minimum": -50, "maximum": 60 } },
        "required": ["city", "degrees"],
        "additionalProperties": false,
    });
    let chat = |format: &Value, seed: u32| {
        let messages = json!([{ "role": "user", "content": "The weather somewhere?" }]);
        let options = json!({ "seed": seed, "temperature": 1.0, "num_predict": 200 });
        server.post(
            "/api/chat",
            &json!({ "model": "smol", "messages": messages, "format": format, "stream": false, "options": options }),
        )
    };
    for seed in 0..5 {
        let answer = chat(&schema, seed).json();
        let said: Value = serde_json::from_str(answer["message"]["content"].as_str().unwrap()).expect("it parses");
        assert!(
            ["Oslo", "Rome"].contains(&said["city"].as_str().unwrap())
                && (-50..=60).contains(&said["degrees"].as_i64().unwrap()),
            "{said}"
        );
        assert_eq!(answer["done_reason"], "stop");
    }
    let wrong = chat(&json!("xml"), 0);
    assert_eq!(
        (wrong.status, &wrong.json()["error"]),
        (400, &json!("invalid format: \"\\\"xml\\\"\"; expected \"json\" or a valid JSON Schema object"))
    );
    assert_eq!(chat(&json!({ "type": "bogus" }), 0).status, 400);
}
