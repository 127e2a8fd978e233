//! Errors of requests, before an API gives them its own format.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::EngineError;
use model::ModelError;

/// Why a request failed, and the HTTP status.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// If the prompt is too long, its length and the length of the context, in tokens.
    pub(crate) too_long: Option<(usize, usize)>,
    /// The name of the invalid field, if one is to blame.
    pub(crate) param: Option<Cow<'static, str>>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into(), too_long: None, param: None }
    }

    /// The request is invalid.
    pub(crate) fn bad(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    /// A field of the request is invalid.
    pub(crate) fn bad_field(param: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Failure {
        Failure { param: Some(param.into()), ..Failure::bad(message) }
    }

    /// Something does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, message)
    }
}

/// Carries the failure to the layer that writes it in the format of an API.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        let message = error.to_string();
        match error {
            EngineError::QueueFull { .. } => {
                let message = "server busy, please try again.  maximum pending requests exceeded";
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
            }
            EngineError::Stopping | EngineError::Stopped => Failure::new(StatusCode::SERVICE_UNAVAILABLE, message),
            EngineError::PromptTooLong { prompt, ctx } => {
                // Some clients look for the first words, and then shorten their conversation.
                let message = format!(
                    "this model's maximum context length is {ctx} tokens, the answer included, and the prompt has {prompt}: \
                     send less, or start the server with a larger --ctx"
                );
                Failure { too_long: Some((prompt, ctx)), ..Failure::bad(message) }
            }
            EngineError::EmptyPrompt | EngineError::Sampling(_) | EngineError::Grammar { .. } => Failure::bad(message),
            _ => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message),
        }
    }
}

/// A template that refuses the messages is an error of the request.
impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Failure {
        Failure::bad(error.to_string())
    }
}
