use std::error::Error;
use std::time::Duration;

use crate::settle::{Action, Nack};

/// What the bus keeps of an error, in bytes.
const MAX_ERROR: usize = 4096;
/// The longest delay that the bus takes: 10 years.
const MAX_DELAY: Duration = Duration::from_secs(3650 * 24 * 3600);

type Cause = Box<dyn Error + Send + Sync>;

/// Why a handler did not handle an event, and what happens to the event. Every error turns into one by `?`: the event
/// is retried after the topic's backoff.
#[derive(Debug)]
pub struct Failure {
    action: Action,
    cause: Option<Cause>,
}

impl Failure {
    /// Retried after the topic's backoff, or dead when no retries are left.
    pub fn new(cause: impl Into<Cause>) -> Self {
        Self { action: Action::Retry, cause: Some(cause.into()) }
    }

    /// Delivered again after `delay`, up to 10 years, or dead when no retries are left. The message of `cause` becomes
    /// the event's last error.
    pub fn retry_after(delay: Duration, cause: impl Into<Cause>) -> Self {
        Self { action: Action::RetryAfter(delay.min(MAX_DELAY)), cause: Some(cause.into()) }
    }

    /// A retry can't help: the event goes to the dead letters at once.
    pub fn dead_letter(cause: impl Into<Cause>) -> Self {
        Self { action: Action::DeadLetter, cause: Some(cause.into()) }
    }

    /// Not handled: ready again at once, and the attempt is not counted.
    #[must_use]
    pub fn release() -> Self {
        Self { action: Action::Release, cause: None }
    }

    /// Calls the error's own `Display`, which may panic.
    pub(crate) fn into_nack(self, lease_token: &str) -> Nack {
        let error = self.cause.map(|cause| cut(cause.to_string())).unwrap_or_default();
        Nack { lease_token: lease_token.to_owned(), error, action: self.action }
    }
}

/// Of every error, and of `anyhow::Error`, `eyre::Report`, text and boxed errors.
impl<E: Into<Cause>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

pub(crate) fn cut(mut text: String) -> String {
    let end = (0..=MAX_ERROR.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or_default());
    text
}
