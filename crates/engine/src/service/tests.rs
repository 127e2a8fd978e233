//! The service on a tiny model, as its callers see it.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempPath;
use testkit::{TinySpec, temp_model};

use crate::error::EngineError;
use crate::load::ModelFile;
use crate::options::EngineOptions;
use crate::request::{Event, FinishReason, GenerateRequest, Generation};
use crate::scheduler::Limits;
use crate::service::handle::{Service, Ticket};
use crate::service::reply::Reply;
use crate::service::worker::ServiceOptions;

/// What a listener heard.
#[derive(Debug)]
enum Heard {
    Text(String),
    Done(Result<Box<Generation>, EngineError>),
}

fn start(max_batch: usize, max_queue: usize) -> (TempPath, Service) {
    let path = temp_model(&TinySpec::from_line("llama").build().gguf_bytes());
    let engine = EngineOptions { ctx: Some(128), threads: 1, max_sequences: max_batch, ..EngineOptions::default() };
    let file = ModelFile::open(&path).expect("the model is whole");
    let model = file.load(&engine).expect("the model loads");
    let limits = Limits { max_batch, max_queue, cache_pages: 8 };
    let service = Service::start(&file, model, ServiceOptions { engine, limits, cache: None });
    (path, service.expect("the service starts"))
}

fn request(n: usize) -> GenerateRequest {
    let sampling = crate::SamplingOptions { temperature: 0.0, ..Default::default() };
    GenerateRequest { prompt: vec![40, 41, 42], max_tokens: Some(n), sampling, ..GenerateRequest::default() }
}

fn submit(service: &Service, request: GenerateRequest) -> (Ticket, mpsc::Receiver<Heard>) {
    let (sender, receiver) = mpsc::channel();
    let listener = move |reply: Reply<'_>| {
        let heard = match reply {
            Reply::Event(Event::Token { text, .. } | Event::Rest { text }) => Heard::Text(text.to_owned()),
            Reply::Event(_) => return ControlFlow::Continue(()),
            Reply::Done(result) => Heard::Done(result),
        };
        match sender.send(heard) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let ticket = service.submit(request, Box::new(listener)).expect("there is room");
    (ticket, receiver)
}

/// The texts that came, one after another, and the end.
fn end(receiver: &mpsc::Receiver<Heard>) -> (String, Result<Box<Generation>, EngineError>) {
    let mut all = String::new();
    loop {
        match receiver.recv().expect("a request ends") {
            Heard::Text(text) => all.push_str(&text),
            Heard::Done(result) => return (all, result),
        }
    }
}

fn is_quiet(service: &Service) -> bool {
    let load = service.snapshot().load;
    load.queued + load.prefilling + load.decoding == 0
}

#[test]
fn what_is_heard_is_the_answer_and_unloading_changes_nothing() {
    let (_file, service) = start(2, 4);
    let (text, first) = end(&submit(&service, request(20)).1);
    // The ticket is gone, but the request had ended or its text would be short.
    let (_ticket, receiver) = submit(&service, request(20));
    let (again, second) = end(&receiver);
    let (first, second) = (first.expect("it runs"), second.expect("it runs"));
    assert_eq!((&again, second.tokens.len()), (&second.text, 20));
    assert!(second.text.starts_with(&first.text) && second.text.starts_with(&text));
    service.unload();
    while service.snapshot().is_loaded {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(service.snapshot().n_pages, 0);
    let (_ticket, receiver) = submit(&service, request(20));
    assert_eq!(end(&receiver).1.expect("it is loaded again").tokens, second.tokens);
    assert!(service.snapshot().totals.bytes_read > 0);
    service.stop(Duration::from_secs(5));
    assert!(service.submit(request(1), Box::new(|_| ControlFlow::Continue(()))).is_err());
}

#[test]
fn dropping_a_ticket_cancels_and_too_many_are_refused() {
    let (_file, service) = start(1, 2);
    let endless = GenerateRequest { overflow: crate::Overflow::Shift { n_keep: 1 }, ..request(1_000_000) };
    let (running, heard) = submit(&service, endless);
    assert!(matches!(heard.recv(), Ok(Heard::Text(_))));
    let waiting = [submit(&service, request(3)), submit(&service, request(3))];
    let refused = service.submit(request(3), Box::new(|_| ControlFlow::Continue(())));
    assert!(matches!(refused, Err(EngineError::QueueFull { max: 3 })));
    drop(running);
    let cancelled = end(&heard).1.expect("it was cancelled");
    assert_eq!(cancelled.finish_reason, FinishReason::Cancelled);
    for (_ticket, receiver) in &waiting {
        assert_eq!(end(receiver).1.expect("it runs").tokens.len(), 3);
    }
    while !is_quiet(&service) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(service.snapshot().totals.requests, 3);
}

#[test]
fn stopping_ends_what_will_not_end_and_errors_are_heard() {
    let (_file, service) = start(1, 4);
    let (_ticket, heard) = submit(&service, GenerateRequest { prompt: vec![1; 500], ..request(1) });
    assert!(matches!(end(&heard).1, Err(EngineError::PromptTooLong { prompt: 500, ctx: 128 })));
    let endless = GenerateRequest { overflow: crate::Overflow::Shift { n_keep: 1 }, ..request(1_000_000) };
    let (_ticket, heard) = submit(&service, endless);
    service.stop(Duration::from_millis(20));
    assert_eq!(end(&heard).1.expect("it was cancelled").finish_reason, FinishReason::Cancelled);
}
