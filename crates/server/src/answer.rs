//! A request in flight, as handlers see it: pieces to await.
//!
//! The engine's listener must not block, so pieces go through an unbounded channel; it holds at most one answer, which the
//! context bounds. Dropping an [`Answer`] cancels the request, so a client that disconnects ends the work for it.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{EngineError, Event, FinishReason, GenerateRequest, Generation, Reply, StepLogprobs, Ticket};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::app::App;
use crate::failure::Failure;

/// Clients time out when they receive nothing for longer, so the response then starts before it is known that the request runs.
const PATIENCE: Duration = Duration::from_secs(10);

/// A piece of an answer.
pub(crate) enum Piece {
    /// A token and the text that comes with it, which may be empty; or, at the end, text that was held back.
    Text { text: String, logprobs: Option<StepLogprobs>, is_token: bool },
    /// The end; nothing follows.
    Done(Box<Generation>),
    /// The request failed; nothing follows.
    Failed(Failure),
}

/// A request in flight.
pub(crate) struct Answer {
    receiver: UnboundedReceiver<Piece>,
    /// Pieces received in advance.
    waiting: VecDeque<Piece>,
    has_ended: bool,
    app: Arc<App>,
    last: Instant,
    n_tokens: usize,
    _ticket: Ticket,
}

impl Answer {
    /// Submits a request, and waits a while until it runs, so that an error can still set the status of the response.
    ///
    /// Errors: the queue is full, the request is invalid, or its first pass failed.
    pub(crate) async fn begin(app: &Arc<App>, request: GenerateRequest) -> Result<Answer, Failure> {
        let (sender, receiver) = unbounded_channel();
        let listener = move |reply: Reply<'_>| {
            let piece = match reply {
                Reply::Event(Event::Token { text, logprobs, .. }) => {
                    Piece::Text { text: text.to_owned(), logprobs: logprobs.cloned(), is_token: true }
                }
                Reply::Event(Event::Rest { text }) => {
                    Piece::Text { text: text.to_owned(), logprobs: None, is_token: false }
                }
                Reply::Event(_) => return ControlFlow::Continue(()),
                // The client is still there, so the server is shutting down.
                Reply::Done(Ok(generation)) if generation.finish_reason == FinishReason::Cancelled => {
                    Piece::Failed(EngineError::Stopping.into())
                }
                Reply::Done(Ok(generation)) => Piece::Done(generation),
                Reply::Done(Err(error)) => Piece::Failed(error.into()),
            };
            match sender.send(piece) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        let ticket = app.service.submit(request, Box::new(listener))?;
        let mut answer = Answer {
            receiver,
            waiting: VecDeque::new(),
            has_ended: false,
            app: Arc::clone(app),
            last: Instant::now(),
            n_tokens: 0,
            _ticket: ticket,
        };
        match tokio::time::timeout(PATIENCE, answer.next()).await {
            Ok(Some(Piece::Failed(failure))) => Err(failure),
            Ok(Some(piece)) => {
                answer.has_ended = false;
                answer.waiting.push_back(piece);
                Ok(answer)
            }
            Ok(None) => Err(stopped()),
            Err(_) => Ok(answer),
        }
    }

    /// The next piece; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        if self.has_ended {
            return None;
        }
        let piece = match self.waiting.pop_front() {
            Some(piece) => piece,
            None => {
                let piece = self.receiver.recv().await.unwrap_or_else(|| Piece::Failed(stopped()));
                self.count(&piece);
                piece
            }
        };
        self.has_ended = matches!(piece, Piece::Done(_) | Piece::Failed(_));
        Some(piece)
    }

    /// Waits for the end.
    ///
    /// Errors: a pass failed.
    pub(crate) async fn whole(mut self) -> Result<Generation, Failure> {
        loop {
            match self.next().await {
                Some(Piece::Done(generation)) => return Ok(*generation),
                Some(Piece::Failed(failure)) => return Err(failure),
                Some(_) => {}
                None => return Err(stopped()),
            }
        }
    }

    fn count(&mut self, piece: &Piece) {
        if matches!(piece, Piece::Text { is_token: true, .. }) {
            self.app.metrics.token(self.n_tokens, self.last.elapsed());
            self.last = Instant::now();
            self.n_tokens += 1;
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.has_ended {
            self.app.metrics.cancelled();
        }
    }
}

fn stopped() -> Failure {
    Failure::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "the engine has stopped")
}
