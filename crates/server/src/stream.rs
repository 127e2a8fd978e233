//! Streamed bodies: answers that the [`Format`] of an API writes piece by piece.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::answer::{Answer, Piece};

/// After this long without output a keep-alive is sent, if the API has one, so that proxies keep the connection open.
const IDLE: Duration = Duration::from_secs(15);

/// How an API writes an answer.
pub(crate) trait Format: Send + 'static {
    /// Sent before the first piece.
    fn begin(&mut self) -> String {
        String::new()
    }

    /// Sent for a piece of answer `index`, unless empty. A failed answer ends the whole stream.
    fn piece(&mut self, index: usize, piece: Piece) -> String;

    /// Sent after all answers have ended without an error.
    fn end(&mut self) -> String {
        String::new()
    }

    /// Sent as a keep-alive, unless empty.
    fn idle(&self) -> &'static str {
        ""
    }
}

/// A body that streams all answers. It is dropped when the client disconnects, and the answers with it.
pub(crate) fn body(answers: Vec<Answer>, mut format: impl Format) -> Body {
    let first = format.begin();
    let all = answers.into_iter().enumerate().map(|(index, answer)| pieces(index, answer));
    let state = Flow { pieces: stream::select_all(all).boxed(), format, ready: VecDeque::new(), has_ended: false };
    let state = Flow { ready: VecDeque::from([first]), ..state };
    Body::from_stream(stream::unfold(state, |mut state| async move {
        let text = state.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), state))
    }))
}

fn pieces(index: usize, answer: Answer) -> BoxStream<'static, (usize, Piece)> {
    stream::unfold(answer, move |mut answer| async move {
        let piece = answer.next().await?;
        Some(((index, piece), answer))
    })
    .boxed()
}

struct Flow<F> {
    pieces: BoxStream<'static, (usize, Piece)>,
    format: F,
    ready: VecDeque<String>,
    has_ended: bool,
}

impl<F: Format> Flow<F> {
    async fn next(&mut self) -> Option<String> {
        loop {
            while let Some(text) = self.ready.pop_front() {
                if !text.is_empty() {
                    return Some(text);
                }
            }
            if self.has_ended {
                return None;
            }
            match tokio::time::timeout(IDLE, self.pieces.next()).await {
                Ok(Some((index, piece))) => {
                    self.has_ended = matches!(piece, Piece::Failed(_));
                    self.ready.push_back(self.format.piece(index, piece));
                }
                Ok(None) => {
                    self.has_ended = true;
                    self.ready.push_back(self.format.end());
                }
                Err(_) => self.ready.push_back(self.format.idle().to_owned()),
            }
        }
    }
}
