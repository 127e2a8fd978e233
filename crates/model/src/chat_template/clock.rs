//! `strftime_now(format)`: the date for templates that tell the model what day it is.
//!
//! Directives are those of C's `strftime`; one that is unknown stays in the text, as with Python on Linux. The time is
//! injected by tests and by callers that want the same prompt tomorrow.

use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use minijinja::{Environment, Error, ErrorKind};

/// Gives the templates of `environment` a clock that stands at `unix_time` (UTC), or the system's local one.
pub(super) fn install(environment: &mut Environment, unix_time: Option<i64>) {
    environment.add_function("strftime_now", move |format: &str| {
        let now = now(unix_time)?;
        let config = Config::new().lenient(true).custom(PosixCustom::new());
        BrokenDownTime::from(&now).to_string_with_config(&config, format).map_err(invalid)
    });
}

fn now(unix_time: Option<i64>) -> Result<Zoned, Error> {
    match unix_time {
        None => Ok(Zoned::now()),
        Some(seconds) => Ok(Timestamp::from_second(seconds).map_err(invalid)?.to_zoned(TimeZone::UTC)),
    }
}

fn invalid(error: jiff::Error) -> Error {
    Error::new(ErrorKind::InvalidOperation, error.to_string())
}
