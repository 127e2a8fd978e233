//! Runs the built binary and makes what it reads.
//!
//! [`call`] and [`call_with_stdin`] run it to its end and return an [`Outcome`]; [`json`] expects success and one JSON
//! object. [`spawn`] starts it for tests that look while it runs; [`finish`] waits, and kills what hangs. [`Tiny`] is a
//! model file made on the spot.

use std::fmt;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempPath;
use testkit::{TinyModel, TinySpec};

/// A run that lasts longer than this hangs: it is killed, so that its test fails instead of never ending.
const HANGS_AFTER: Duration = Duration::from_secs(240);

/// How a run of the binary ended. `code` is `None` when a signal ended it.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        write!(f, "status {:?}, stdout {stdout:?}, stderr {:?}", self.code, self.stderr)
    }
}

impl Outcome {
    /// The standard output of a run that succeeded.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        assert_eq!(self.code, Some(0), "the run succeeds: {self:?}");
        String::from_utf8(self.stdout.clone()).expect("the output is UTF-8")
    }

    /// The one JSON value that a successful run printed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("stdout is one JSON value ({e}): {text}"))
    }

    /// What is true of every refusal: its status, nothing on stdout, one `error:` line, which is returned.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32) -> String {
        self.refusal(code).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// [`refused`](Self::refused) for tests that go through a list and tell all that is wrong at its end.
    pub(crate) fn refusal(&self, code: i32) -> Result<String, String> {
        if self.code != Some(code) {
            return Err(format!("the status is not {code}: {self:?}"));
        }
        if !self.stdout.is_empty() {
            return Err(format!("a refusal prints nothing on stdout: {self:?}"));
        }
        self.error_line()
    }

    /// The one line of stderr that starts with `error:`.
    pub(crate) fn error_line(&self) -> Result<String, String> {
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error:")).collect();
        match errors[..] {
            [error] if !self.panicked() => Ok(error.to_owned()),
            _ => Err(format!("not one line says what is wrong: {self:?}")),
        }
    }

    pub(crate) fn panicked(&self) -> bool {
        ["panicked", "RUST_BACKTRACE", "stack backtrace"].iter().any(|word| self.stderr.contains(word))
    }
}

/// The binary with `args`, no input, and its outputs captured.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssd-llm"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
    command
}

pub(crate) fn spawn(args: &[&str]) -> Child {
    command(args).spawn().expect("the binary starts")
}

/// Waits for the end of `child`, collecting what it still writes.
pub(crate) fn finish(mut child: Child) -> Outcome {
    let (ended, end) = mpsc::channel::<()>();
    let id = child.id();
    let guard = thread::spawn(move || {
        if end.recv_timeout(HANGS_AFTER) == Err(RecvTimeoutError::Timeout) {
            signal("KILL", id);
        }
    });
    let stdout = child.stdout.take().map(|mut pipe| thread::spawn(move || read_all(&mut pipe)));
    let stderr = child.stderr.take().map(|mut pipe| read_all(&mut pipe)).unwrap_or_default();
    let stdout = stdout.map(|reader| reader.join().expect("the reader ends")).unwrap_or_default();
    let status = child.wait().expect("the child can be waited for");
    drop(ended);
    guard.join().expect("the guard ends");
    Outcome { code: status.code(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
}

fn read_all(pipe: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).expect("a pipe can be read");
    bytes
}

/// Sends a signal, such as `INT`, to a process that a test started.
pub(crate) fn signal(name: &str, id: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().expect("sh starts");
    assert!(sent.success(), "kill -{name} {id} works");
}

pub(crate) fn call(args: &[&str]) -> Outcome {
    finish(spawn(args))
}

/// Runs the binary with `input` on its standard input. It may end without reading it.
pub(crate) fn call_with_stdin(args: &[&str], input: &[u8]) -> Outcome {
    let mut child = command(args).stdin(Stdio::piped()).spawn().expect("the binary starts");
    let mut pipe = child.stdin.take().expect("stdin is a pipe");
    let input = input.to_vec();
    let writer = thread::spawn(move || drop(pipe.write_all(&input)));
    let outcome = finish(child);
    writer.join().expect("the writer ends");
    outcome
}

/// The JSON object of a run that must succeed; `args` need not contain `--json`.
#[track_caller]
pub(crate) fn json(args: &[&str]) -> Value {
    call(&[args, &["--json"]].concat()).json()
}

/// The numbers of a JSON array.
#[track_caller]
pub(crate) fn ids(value: &Value) -> Vec<u64> {
    let items = value.as_array().unwrap_or_else(|| panic!("an array, not {value}"));
    items.iter().map(|id| id.as_u64().expect("a token id is a number")).collect()
}

/// The keys of a JSON object, sorted.
#[track_caller]
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap_or_else(|| panic!("an object, not {value}"));
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// A number of a JSON object, by keys joined with dots.
#[track_caller]
pub(crate) fn number(value: &Value, path: &str) -> f64 {
    let found = path.split('.').fold(value, |value, key| &value[key]);
    found.as_f64().unwrap_or_else(|| panic!("{path} is a number in {value}"))
}

/// Fails with everything that a test found wrong on its way through a list.
#[track_caller]
pub(crate) fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// A model file that lives as long as its test.
pub(crate) struct Tiny(TempPath);

impl Tiny {
    /// A file of these bytes, right or wrong.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Tiny {
        Tiny(testkit::temp_model(bytes))
    }

    pub(crate) fn of_spec(spec: TinySpec) -> Tiny {
        Tiny::of_bytes(&spec.build().gguf_bytes())
    }

    /// A llama with byte-level BPE and without a chat template.
    pub(crate) fn plain() -> Tiny {
        Tiny::of_spec(TinyModel::llama())
    }

    /// A llama that talks ChatML.
    pub(crate) fn chat() -> Tiny {
        Tiny::of_spec(TinySpec { chat_template: Some(testkit::CHATML.to_owned()), ..TinyModel::llama() })
    }

    pub(crate) fn path(&self) -> &str {
        text_of(&self.0)
    }
}

pub(crate) fn text_of(path: &Path) -> &str {
    path.to_str().expect("the path of a test's file is UTF-8")
}

/// The cases that `tests/data/record.py` recorded.
pub(crate) fn recorded(json: &str) -> Vec<Value> {
    let cases: Vec<Value> = serde_json::from_str(json).expect("a recorded file is a JSON array");
    assert!(!cases.is_empty(), "something was recorded");
    cases
}

/// The first `n_bytes` of the prose that figures are measured on.
pub(crate) fn prose(n_bytes: usize) -> &'static str {
    &include_str!("../../../../benches/data/prose.txt")[..n_bytes]
}
