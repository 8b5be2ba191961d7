use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where a delivery stands in this worker. One that is settled, or whose lease was lost, is not held any more.
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
    /// Its handler was cancelled and has not ended. Its lease is not extended any more, so that a handler that does not
    /// end does not hold the event for ever.
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
    /// A settle was sent, and whether it was carried out is not known.
    tried: bool,
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

/// The leases that one subscription holds, by lease token.
#[derive(Debug)]
pub(crate) struct Leases {
    held: watch::Sender<HashMap<String, Lease>>,
}

impl Leases {
    pub(crate) fn new() -> Self {
        Self { held: watch::Sender::new(HashMap::new()) }
    }

    /// Takes a new delivery, waiting.
    pub(crate) fn add(&self, token: &str) {
        let lease = Lease { stage: Stage::Waiting, cause: None, cancelled: CancellationToken::new(), tried: false };
        self.held.send_modify(|held| drop(held.insert(token.to_owned(), lease)));
    }

    /// Returns what cancels the handler; none when the lease was lost or released before its handler began.
    pub(crate) fn start(&self, token: &str) -> Option<CancellationToken> {
        self.change(token, |lease| {
            let waiting = lease.stage == Stage::Waiting;
            waiting.then(|| {
                lease.stage = Stage::Running;
                lease.cancelled.clone()
            })
        })?
    }

    /// Cancels a handler that runs.
    pub(crate) fn cancel(&self, token: &str, cause: Cause) {
        self.change(token, |lease| lease.cancel(cause));
    }

    /// Cancels all handlers that run.
    pub(crate) fn cancel_all(&self, cause: Cause) {
        self.held.send_modify(|held| held.values_mut().for_each(|lease| lease.cancel(cause)));
    }

    /// Says that a lease is to be settled now. Returns why its handler was cancelled, if it was; none when the lease is
    /// gone or is being settled already.
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
            false // nobody waits for a change of a stage
        });
        result
    }

    /// Ends leases that were settled.
    pub(crate) fn discard<'a>(&self, tokens: impl Iterator<Item = &'a str>) {
        self.held.send_modify(|held| tokens.for_each(|token| drop(held.remove(token))));
    }

    /// Ends leases that the server says are lost, and cancels their handlers. Counts those that were not being settled
    /// already: a settle that overtook the question is no loss.
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

    /// Notes that a settle was sent whose answer did not come.
    pub(crate) fn note_try(&self, token: &str) {
        self.change(token, |lease| lease.tried = true);
    }

    pub(crate) fn was_tried(&self, token: &str) -> bool {
        self.held.borrow().get(token).is_some_and(|lease| lease.tried)
    }

    pub(crate) fn holds(&self, token: &str) -> bool {
        self.held.borrow().contains_key(token)
    }

    /// All leases, those that are being settled included.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.held.borrow().keys().cloned().collect()
    }

    /// The leases to be extended.
    pub(crate) fn extendable(&self) -> Vec<String> {
        let held = self.held.borrow();
        held.iter().filter(|(_, lease)| lease.stage != Stage::Cancelled).map(|(token, _)| token.clone()).collect()
    }

    /// Waits until none is held; false when that takes longer.
    pub(crate) async fn none_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.held.subscribe().wait_for(HashMap::is_empty)).await.is_ok()
    }
}
