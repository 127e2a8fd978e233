//! The program as a stranger meets it: the built binary, its arguments, its two streams and its exit status.
//!
//! These stories hold the promises of the command line and know nothing of the code behind it. Most run tiny random
//! models from `testkit`, made on the spot; what only a real model shows runs SmolLM2-135M-Instruct, whose answers are
//! held against what llama.cpp said about the same file (`tests/data`, recorded by `record.py` there). The real model is
//! the file that `SSD_LLM_TEST_MODEL` names, else the one that `scripts/get-model.sh` fetches; without it they are skipped.
//!
//! [`support`] runs the binary and makes models; every other module tells the story of one part of the promise.

mod bad_input;
mod bench;
mod chat;
mod closing;
mod commands;
mod hostile_models;
mod http;
mod info;
mod mmap_kv;
mod perplexity;
mod plan;
mod prompt_cache;
mod run;
mod run_json;
mod run_text;
mod sampling;
mod serve;
mod streaming;
mod structured_output;
mod support;
mod tokenize;
