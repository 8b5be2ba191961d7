use std::time::Duration;

use crate::client::Client;
use crate::error::Error;
use crate::proto::lease_failure::Reason;
use crate::proto::{self, AckRequest, ExtendRequest, NackRequest, nack};

/// In a request of lease tokens or nacks, the bytes of its other fields, and those of an item besides its text.
const OTHER_FIELDS: usize = 4 << 10;
const ITEM_FIELDS: usize = 32;

/// The most leases that the server accepts in one Ack, Nack or Extend.
pub(crate) const MAX_LEASES: usize = 10_000;

/// A lease that was not settled or extended. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseFailure {
    /// The lease token.
    pub lease_token: String,
    /// The reason.
    pub reason: Reason,
}

/// What happens to an event that is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Retried after the topic's backoff, or dead if no retries are left.
    #[default]
    Retry,
    /// Retried after this delay, up to 10 years, or dead if no retries are left.
    RetryAfter(Duration),
    /// Make it a dead letter at once.
    DeadLetter,
    /// Ready again at once, without counting the attempt.
    Release,
}

/// What a pause holds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PauseScope {
    /// The events with the key of the one that is given back.
    #[default]
    Key,
    /// All events of the group.
    Group,
}

/// Holds up deliveries for a while, because a service that the handler calls is overloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How long, from now: 1 ms to 1 h.
    pub duration: Duration,
    /// What is held up.
    pub scope: PauseScope,
}

/// Gives one delivery back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nack {
    /// The lease of the delivery.
    pub lease_token: String,
    /// Becomes the event's last error, cut to 4 KiB.
    pub error: String,
    /// What happens to the event.
    pub action: Action,
    /// Also holds up the deliveries of the event's key or of its group; with [`Action::Retry`], the event is then
    /// released.
    pub pause: Option<Pause>,
}

impl Nack {
    /// The size of its texts in bytes.
    pub(crate) fn size(&self) -> usize {
        self.lease_token.len() + self.error.len()
    }

    pub(crate) fn encode(self) -> proto::Nack {
        let action = match self.action {
            Action::Retry => None,
            Action::RetryAfter(delay) => Some(nack::Action::Delay(to_proto(delay))),
            Action::DeadLetter => Some(nack::Action::DeadLetter(true)),
            Action::Release => Some(nack::Action::Release(true)),
        };
        let pause = self.pause.map(|Pause { duration, scope }| {
            let scope = match scope {
                PauseScope::Key => nack::pause::Scope::Key,
                PauseScope::Group => nack::pause::Scope::Group,
            };
            nack::Pause { duration: Some(to_proto(duration)), scope: scope.into() }
        });
        proto::Nack { lease_token: self.lease_token, error: self.error, action, pause }
    }

    /// Whether it pauses the event's key.
    pub(crate) fn pauses_key(&self) -> bool {
        self.pause.is_some_and(|pause| pause.scope == PauseScope::Key)
    }

    /// Makes of a pause a retry after the same time.
    pub(crate) fn retry_instead(self) -> Self {
        let action = self.pause.map_or(self.action, |pause| Action::RetryAfter(pause.duration));
        Self { action, pause: None, ..self }
    }
}

impl Client {
    /// Acks deliveries. Returns the leases that could not be settled. A worker does this automatically: `ack`, `nack`
    /// and `extend` are for programs that read [`Client::subscribe`].
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`](crate::Reason::InvalidArgument),
    /// [`Reason::Unavailable`](crate::Reason::Unavailable). Some of more than 10,000 tokens may be settled then.
    pub async fn ack(&self, lease_tokens: Vec<String>) -> Result<Vec<LeaseFailure>, Error> {
        let mut failures = Vec::new();
        for batch in batches(&lease_tokens, self.max_request_bytes(), String::len) {
            let request = AckRequest { lease_tokens: batch.to_vec() };
            let answer = self.repeated(request, |mut bus, r| async move { bus.ack(r).await }).await?;
            failures.extend(read(answer.response.failures, answer.again, &[Reason::Settled]));
        }
        Ok(failures)
    }

    /// Gives deliveries back. Returns the leases that could not be settled.
    ///
    /// # Errors
    /// Those of [`Client::ack`].
    pub async fn nack(&self, nacks: Vec<Nack>) -> Result<Vec<LeaseFailure>, Error> {
        let mut failures = Vec::new();
        for batch in batches(&nacks, self.max_request_bytes(), Nack::size) {
            let request = NackRequest { nacks: batch.iter().cloned().map(Nack::encode).collect() };
            let answer = self.repeated(request, |mut bus, r| async move { bus.nack(r).await }).await?;
            failures.extend(read(answer.response.failures, answer.again, &[Reason::Settled, Reason::Expired]));
        }
        Ok(failures)
    }

    /// Renews leases: they expire `lease` from now, 100 ms to 12 h; `None`: the topic's setting. Returns the
    /// leases that could not be extended.
    ///
    /// # Errors
    /// Those of [`Client::ack`].
    pub async fn extend(&self, lease_tokens: Vec<String>, lease: Option<Duration>) -> Result<Vec<LeaseFailure>, Error> {
        let mut failures = Vec::new();
        for batch in batches(&lease_tokens, self.max_request_bytes(), String::len) {
            let request = ExtendRequest { lease_tokens: batch.to_vec(), lease: lease.map(to_proto) };
            let answer = self.repeated(request, |mut bus, r| async move { bus.extend(r).await }).await?;
            failures.extend(read(answer.response.failures, answer.again, &[]));
        }
        Ok(failures)
    }
}

/// Splits items into parts that fit into one request each.
fn batches<T>(items: &[T], max_bytes: usize, size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut batches = Vec::new();
    let mut rest = items;
    while !rest.is_empty() {
        let (batch, others) = rest.split_at(fitting(rest, max_bytes, &size).min(MAX_LEASES));
        batches.push(batch);
        rest = others;
    }
    batches
}

/// How many of the first items fit into one request: at least one.
pub(crate) fn fitting<'a, T: 'a>(
    items: impl IntoIterator<Item = &'a T, IntoIter: ExactSizeIterator>,
    max_bytes: usize,
    size: impl Fn(&T) -> usize,
) -> usize {
    let items = items.into_iter();
    let count = items.len();
    let mut taken = OTHER_FIELDS;
    let fits = items.take_while(|item| {
        taken += size(item) + ITEM_FIELDS;
        taken <= max_bytes
    });
    fits.count().max(1).min(count)
}

/// Leaves out the failures of a retried settle whose first attempt may have taken effect: the lease is over, and
/// nothing is left for the caller to do.
fn read(failures: Vec<proto::LeaseFailure>, again: bool, done_by_lost_try: &[Reason]) -> Vec<LeaseFailure> {
    failures
        .into_iter()
        .map(|each| LeaseFailure { reason: each.reason(), lease_token: each.lease_token })
        .filter(|each| !(again && done_by_lost_try.contains(&each.reason)))
        .collect()
}

/// A length of time, as messages have it; cut to the range of protobuf, which is more than the server accepts.
#[must_use]
pub fn to_proto(length: Duration) -> prost_types::Duration {
    let longest = prost_types::Duration { seconds: 315_576_000_000, nanos: 0 };
    prost_types::Duration::try_from(length).ok().filter(|each| each.seconds < longest.seconds).unwrap_or(longest)
}

/// None if the duration is negative.
pub(crate) fn to_std(length: prost_types::Duration) -> Duration {
    length.try_into().unwrap_or_default()
}
