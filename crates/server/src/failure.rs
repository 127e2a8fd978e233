//! What can go wrong with a request, before an API gives it its own shape.

use std::borrow::Cow;

use axum::http::StatusCode;
use engine::EngineError;
use model::ModelError;

/// A request that was not answered, with the status that says whose fault it is.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The number of tokens of a prompt that is too long, and of the context.
    pub(crate) too_long: Option<(usize, usize)>,
    /// The name of the request's field that is wrong, where one is.
    pub(crate) param: Option<Cow<'static, str>>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into(), too_long: None, param: None }
    }

    /// The request is wrong.
    pub(crate) fn bad(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    /// A field of the request is wrong.
    pub(crate) fn bad_field(param: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Failure {
        Failure { param: Some(param.into()), ..Failure::bad(message) }
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, message)
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
                // Some clients look for the first words, and then make their conversation shorter.
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

/// A template that refuses the messages is the request's fault.
impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Failure {
        Failure::bad(error.to_string())
    }
}
