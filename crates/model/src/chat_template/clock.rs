//! `strftime_now(format)`: the date, for templates that state it.
//!
//! Directives are those of C's `strftime`; unknown ones stay in the text, as with Python on Linux. Tests, and callers that
//! need reproducible prompts, pass the time.

use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use minijinja::{Environment, Error, ErrorKind};

/// Adds the function to `environment`; its time is `unix_time` in UTC, or now in the local time zone.
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
