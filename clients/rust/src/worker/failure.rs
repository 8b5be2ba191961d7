use std::error::Error;
use std::time::Duration;

use crate::settle::{Action, Nack, Pause, PauseScope};

/// How much of an error the bus keeps, in bytes.
const MAX_ERROR: usize = 4096;
/// The longest delay that the bus accepts: 10 years.
const MAX_DELAY: Duration = Duration::from_secs(3650 * 24 * 3600);

/// The pauses that the bus accepts.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_secs(3600);

type Cause = Box<dyn Error + Send + Sync>;

/// Why a handler failed, and what happens to the event. Every error turns into one by `?`: the event is retried after
/// the topic's backoff.
#[derive(Debug)]
pub struct Failure {
    action: Action,
    pause: Option<Pause>,
    cause: Option<Cause>,
}

impl Failure {
    /// The event is retried after the topic's backoff, or dead if no retries are left.
    pub fn new(cause: impl Into<Cause>) -> Self {
        Self { action: Action::Retry, pause: None, cause: Some(cause.into()) }
    }

    /// The event is retried after `delay`, up to 10 years, or dead if no retries are left. The message of `cause`
    /// becomes the event's last error.
    pub fn retry_after(delay: Duration, cause: impl Into<Cause>) -> Self {
        Self { action: Action::RetryAfter(delay.min(MAX_DELAY)), pause: None, cause: Some(cause.into()) }
    }

    /// The work was refused because there is too much of it, for example with the HTTP status 429: nothing of the
    /// event's key, or of its group, is delivered for `after`, 1 ms to 1 h, to any worker, and the attempt is not
    /// counted. If the event has no key that could be paused, it is retried after that time. The message of `cause` is
    /// for the log.
    pub fn rate_limited(after: Duration, scope: PauseScope, cause: impl Into<Cause>) -> Self {
        let pause = Pause { duration: after.clamp(MIN_PAUSE, MAX_PAUSE), scope };
        Self { action: Action::Retry, pause: Some(pause), cause: Some(cause.into()) }
    }

    /// A retry can't help: the event is a dead letter at once.
    pub fn dead_letter(cause: impl Into<Cause>) -> Self {
        Self { action: Action::DeadLetter, pause: None, cause: Some(cause.into()) }
    }

    /// The event is released: ready again at once, and the attempt is not counted.
    #[must_use]
    pub fn release() -> Self {
        Self { action: Action::Release, pause: None, cause: None }
    }

    /// What happens to the event, in a word.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn kind(&self) -> &'static str {
        match (&self.action, &self.pause) {
            (_, Some(_)) => "rate_limited",
            (Action::Retry, None) => "retry",
            (Action::RetryAfter(_), None) => "retry_after",
            (Action::DeadLetter, None) => "dead_letter",
            (Action::Release, None) => "release",
        }
    }

    /// Calls the error's own `Display`, which may panic.
    pub(crate) fn into_nack(self, lease_token: &str) -> Nack {
        let error = self.cause.map(|cause| cut(cause.to_string())).unwrap_or_default();
        Nack { lease_token: lease_token.to_owned(), error, action: self.action, pause: self.pause }
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
