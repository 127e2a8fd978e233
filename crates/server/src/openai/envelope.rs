//! What surrounds the choices of chats and completions: ids, model and token counts, at once or in chunks.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::reply::{DONE, event, fingerprint, new_id, now};
use super::usage::Usage;
use crate::app::App;
use crate::hold::Hold;

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = openai::StreamOptions)]
pub(super) struct StreamOptions {
    include_usage: Option<bool>,
}

/// What is the same in all objects of an answer.
#[derive(Clone, Debug, Serialize)]
struct Common {
    id: String,
    created: u64,
    model: String,
    system_fingerprint: String,
}

/// An answer as a whole, or a chunk of one.
#[derive(Debug, Serialize)]
pub(super) struct Object<'a, C> {
    #[serde(flatten)]
    common: Cow<'a, Common>,
    object: &'static str,
    choices: Vec<C>,
    /// Not there if it is not wanted, and `null` until it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

/// What is around the choices of an answer.
pub(super) struct Envelope {
    common: Common,
    /// Whether a stream ends with its usage.
    shows_usage: bool,
    pub(super) usage: Usage,
    _guard: Option<Hold>,
}

impl Envelope {
    /// For an answer whose name begins with `prefix`.
    pub(super) fn new(app: &App, prefix: &str, model: String, options: Option<StreamOptions>, guard: Hold) -> Envelope {
        Envelope {
            common: Common { id: new_id(prefix), created: now(), model, system_fingerprint: fingerprint(app) },
            shows_usage: options.and_then(|options| options.include_usage) == Some(true),
            usage: Usage::default(),
            _guard: Some(guard),
        }
    }

    /// The answer as a whole.
    pub(super) fn whole<C: Serialize>(self, object: &'static str, choices: Vec<C>) -> Object<'static, C> {
        Object { common: Cow::Owned(self.common), object, choices, usage: Some(Some(self.usage)) }
    }

    /// A chunk of a stream.
    pub(super) fn chunk<C: Serialize>(&self, object: &'static str, choices: Vec<C>) -> String {
        let usage = self.shows_usage.then_some(None);
        event(&Object { common: Cow::Borrowed(&self.common), object, choices, usage })
    }

    /// The end of a stream.
    pub(super) fn end(&self, object: &'static str) -> String {
        let usage = Some(Some(self.usage));
        let last = Object::<()> { common: Cow::Borrowed(&self.common), object, choices: Vec::new(), usage };
        let last = if self.shows_usage { event(&last) } else { String::new() };
        last + DONE
    }
}

#[cfg(test)]
impl Envelope {
    /// For an answer without an engine.
    pub(super) fn of_test() -> Envelope {
        let common =
            Common { id: "x-1".to_owned(), created: 1, model: "m".to_owned(), system_fingerprint: "fp_1".to_owned() };
        Envelope { common, shows_usage: false, usage: Usage::default(), _guard: None }
    }
}
