//! How long the model stays in memory after the last request.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use jiff::SignedDuration;
use serde_json::Value;

use crate::failure::Failure;

/// How long the model stays loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// This long after the request has ended.
    For(Duration),
    Forever,
}

/// Tracks when to unload the model.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    default: Stay,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    n_running: usize,
    stay: Stay,
    last_end: Instant,
}

/// Ollama shows a date in the next century for a model that is never unloaded.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 100);

impl KeepAlive {
    pub(crate) fn new(default: Option<Duration>) -> KeepAlive {
        let default = default.map_or(Stay::Forever, Stay::For);
        KeepAlive { default, state: Mutex::new(State { n_running: 0, stay: default, last_end: Instant::now() }) }
    }

    /// Starts a request, which may say how long the model stays loaded after it.
    pub(crate) fn enter(&self, stay: Option<Stay>) {
        let mut state = self.lock();
        state.n_running += 1;
        state.stay = stay.unwrap_or(self.default);
    }

    pub(crate) fn leave(&self) {
        let mut state = self.lock();
        state.n_running -= 1;
        state.last_end = Instant::now();
    }

    /// Whether to unload the model now.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.lock();
        match state.stay {
            Stay::For(time) => state.n_running == 0 && state.last_end.elapsed() >= time,
            Stay::Forever => false,
        }
    }

    /// When that will be without further requests.
    pub(crate) fn expires_at(&self) -> SystemTime {
        let state = self.lock();
        let stay = match state.stay {
            Stay::For(time) => time,
            Stay::Forever => FOREVER,
        };
        let since = if state.n_running > 0 { Duration::ZERO } else { state.last_end.elapsed() };
        SystemTime::now() + stay.saturating_sub(since)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stay {
    /// Reads `keep_alive`: a number of seconds or a duration in Go's format; negative means forever.
    ///
    /// Errors: it is neither.
    pub(crate) fn read(value: Option<&Value>) -> Result<Option<Stay>, Failure> {
        let seconds = match value {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_f64().unwrap_or(0.0),
            Some(Value::String(text)) => go_duration(text)
                .ok_or_else(|| Failure::bad_field("keep_alive", format!("time: invalid duration \"{text}\"")))?,
            Some(_) => {
                return Err(Failure::bad_field(
                    "keep_alive",
                    "keep_alive must be a number of seconds or a duration like \"5m\"",
                ));
            }
        };
        if seconds < 0.0 {
            return Ok(Some(Stay::Forever));
        }
        Ok(Some(Stay::For(Duration::try_from_secs_f64(seconds).unwrap_or(FOREVER).min(FOREVER))))
    }
}

/// Seconds of `1h30m`, `-1.5s`, `300ms`; a bare number is in seconds.
fn go_duration(text: &str) -> Option<f64> {
    let is_number = text.ends_with(|c: char| c.is_ascii_digit() || c == '.');
    let duration = |text: &str| text.parse::<SignedDuration>().ok().map(|duration| duration.as_secs_f64());
    if is_number { text.parse().ok() } else { duration(text) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, seconds) in
            [("5m", 300.0), ("1h30m", 5400.0), ("-1m", -60.0), ("300ms", 0.3), ("1.5s", 1.5), ("10", 10.0)]
        {
            assert_eq!(go_duration(text), Some(seconds), "{text}");
        }
        for text in ["", "bogus", "5", "m", "1x", "1h bogus", "inf", "-"] {
            assert_eq!(go_duration(text).is_some(), text == "5", "{text}");
        }
        assert_eq!(Stay::read(Some(&json!(-1))).unwrap(), Some(Stay::Forever));
        assert_eq!(Stay::read(Some(&json!(0))).unwrap(), Some(Stay::For(Duration::ZERO)));
        assert_eq!(Stay::read(Some(&json!(null))).unwrap(), None);
        assert_eq!(Stay::read(Some(&json!("bogus"))).unwrap_err().message, "time: invalid duration \"bogus\"");
        assert!(Stay::read(Some(&json!([]))).is_err());
    }

    #[test]
    fn the_model_goes_when_nothing_runs() {
        let keep = KeepAlive::new(Some(Duration::ZERO));
        keep.enter(None);
        keep.enter(Some(Stay::For(Duration::ZERO)));
        keep.leave();
        assert!(!keep.is_over());
        keep.leave();
        assert!(keep.is_over());
        keep.enter(Some(Stay::Forever));
        keep.leave();
        assert!(!keep.is_over() && keep.expires_at() > SystemTime::now() + Duration::from_hours(1000));
    }
}
