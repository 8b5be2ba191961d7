use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::delivery::Delivery;

/// The stage of a delivery in this worker. One that is settled, or whose lease was lost, is not held any more.
///
/// ```text
/// Waiting --start--> Running --handler has ended--> Settling --settled--> (gone)
///    |                  |--cancelled--> Cancelled -----^
///    |--released---------------------------------------|
/// from every stage: --lease lost--> (gone)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its handler has not been started.
    Waiting,
    Running,
    /// Its handler was cancelled and has not ended. Its lease is no longer extended, so that a handler that doesn't
    /// end can't hold the event forever.
    Cancelled,
    /// To be acked, nacked or released; the server has not confirmed it yet.
    Settling,
}

/// Why a handler was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    MaxExecution,
    Stopped,
}

#[derive(Debug)]
struct Lease {
    stage: Stage,
    cause: Option<Cause>,
    cancelled: CancellationToken,
    /// A settle was sent, and its outcome is unknown.
    tried: bool,
    /// When the lease runs out, in µs by this host's clock, unless it has been extended meanwhile.
    expires_us: i64,
    /// How many µs this host's clock was ahead of the engine's when the delivery arrived, if it arrived instantly.
    lead_us: i64,
}

impl Lease {
    fn cancel(&mut self, cause: Cause) {
        if self.stage == Stage::Running {
            self.stage = Stage::Cancelled;
            self.cause = Some(cause);
            self.cancelled.cancel();
        }
    }
}

/// Estimates when leases run out by this host's clock, which need not agree with the engine's.
#[derive(Debug)]
struct Clock {
    /// How long the leases of future deliveries last.
    length_us: i64,
    /// The most by which this host's clock is ahead of the engine's. It starts at 0. A delivery that arrives in less
    /// time lowers it; one whose lease the server confirms although it seemed to have run out raises it.
    ahead_us: i64,
}

/// The leases that one subscription holds, by lease token.
///
/// They know when a lease may have run out while its delivery was on its way or waited here, because the process, the
/// host or the network was frozen. Such a delivery is not started until the server has confirmed its lease.
#[derive(Debug)]
pub(crate) struct Leases {
    held: watch::Sender<HashMap<String, Lease>>,
    clock: Mutex<Clock>,
    /// Signals that all leases must be extended now.
    pub(crate) doubted: Notify,
}

impl Leases {
    pub(crate) fn new(length: Duration) -> Self {
        let clock = Clock { length_us: as_us(length), ahead_us: 0 };
        Self { held: watch::Sender::new(HashMap::new()), clock: Mutex::new(clock), doubted: Notify::new() }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how long the leases of future deliveries last.
    pub(crate) fn last(&self, length: Duration) {
        self.clock().length_us = as_us(length);
    }

    /// Adds a delivery that has just arrived, waiting.
    pub(crate) fn add(&self, delivery: &Delivery) {
        let engine_us = unix_us(delivery.lease_expires_at);
        let mut clock = self.clock();
        let lead_us = unix_us(SystemTime::now()) - engine_us + clock.length_us;
        clock.ahead_us = clock.ahead_us.min(lead_us);
        let lease = Lease {
            stage: Stage::Waiting,
            cause: None,
            cancelled: CancellationToken::new(),
            tried: false,
            expires_us: engine_us + clock.ahead_us,
            lead_us,
        };
        self.held.send_modify(|held| drop(held.insert(delivery.lease_token.clone(), lease)));
    }

    /// Whether the lease of a waiting delivery has run out, unless the server confirms it.
    pub(crate) fn may_have_passed(&self, token: &str) -> bool {
        let now_us = unix_us(SystemTime::now());
        self.held.borrow().get(token).is_some_and(|lease| lease.stage == Stage::Waiting && now_us > lease.expires_us)
    }

    /// Notes that the server has extended these leases: they last their whole length from the time of the request.
    pub(crate) fn confirm<'a>(&self, tokens: impl Iterator<Item = &'a String>, asked: SystemTime, length: Duration) {
        let expires_us = unix_us(asked) + as_us(length);
        let mut clock = self.clock();
        for token in tokens {
            self.change(token, |lease| {
                lease.expires_us = expires_us;
                if lease.stage == Stage::Waiting {
                    clock.ahead_us = clock.ahead_us.max(lease.lead_us);
                }
            });
        }
    }

    /// Returns the signal that cancels the handler; none if the lease was lost or released before its handler began.
    pub(crate) fn start(&self, token: &str) -> Option<CancellationToken> {
        self.change(token, |lease| {
            let waiting = lease.stage == Stage::Waiting;
            waiting.then(|| {
                lease.stage = Stage::Running;
                lease.cancelled.clone()
            })
        })?
    }

    /// Cancels a running handler.
    pub(crate) fn cancel(&self, token: &str, cause: Cause) {
        self.change(token, |lease| lease.cancel(cause));
    }

    /// Cancels all running handlers.
    pub(crate) fn cancel_all(&self, cause: Cause) {
        self.held.send_modify(|held| held.values_mut().for_each(|lease| lease.cancel(cause)));
    }

    /// Marks a lease as being settled. Returns why its handler was cancelled, if it was; none if the lease is gone or
    /// already being settled.
    #[expect(clippy::option_option, reason = "whether it is held, and whether it was cancelled")]
    pub(crate) fn settle(&self, token: &str) -> Option<Option<Cause>> {
        self.change(token, |lease| {
            let first = lease.stage != Stage::Settling;
            lease.stage = Stage::Settling;
            first.then_some(lease.cause)
        })?
    }

    fn change<T>(&self, token: &str, change: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        let mut result = None;
        self.held.send_if_modified(|held| {
            result = held.get_mut(token).map(change);
            false // nothing waits for a change of stage
        });
        result
    }

    /// Ends leases that were settled.
    pub(crate) fn discard<'a>(&self, tokens: impl Iterator<Item = &'a str>) {
        self.held.send_modify(|held| tokens.for_each(|token| drop(held.remove(token))));
    }

    /// Ends leases that the server reports lost, and cancels their handlers. Doesn't count those being settled: there
    /// their settle was faster than the question.
    pub(crate) fn lose<'a>(&self, tokens: impl Iterator<Item = &'a str>) -> usize {
        let mut lost = 0;
        self.held.send_modify(|held| {
            for lease in tokens.filter_map(|token| held.remove(token)) {
                lost += usize::from(lease.stage != Stage::Settling);
                lease.cancelled.cancel();
            }
        });
        lost
    }

    /// Notes that a settle was sent and its answer was lost.
    pub(crate) fn note_try(&self, token: &str) {
        self.change(token, |lease| lease.tried = true);
    }

    pub(crate) fn was_tried(&self, token: &str) -> bool {
        self.held.borrow().get(token).is_some_and(|lease| lease.tried)
    }

    pub(crate) fn holds(&self, token: &str) -> bool {
        self.held.borrow().contains_key(token)
    }

    /// All leases, including those that are being settled.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.held.borrow().keys().cloned().collect()
    }

    /// The leases to extend.
    pub(crate) fn extendable(&self) -> Vec<String> {
        let held = self.held.borrow();
        held.iter().filter(|(_, lease)| lease.stage != Stage::Cancelled).map(|(token, _)| token.clone()).collect()
    }

    /// Waits until none is held; false if that takes longer.
    pub(crate) async fn none_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.held.subscribe().wait_for(HashMap::is_empty)).await.is_ok()
    }
}

fn as_us(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

/// The time by the host's clock, which keeps counting while the host is suspended.
fn unix_us(moment: SystemTime) -> i64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, as_us)
}
