use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::leases::Leases;
use super::outage::Outage;
use crate::client::Client;
use crate::error::Error;
use crate::proto::lease_failure::Reason;
use crate::proto::{AckRequest, LeaseFailure, NackRequest};
use crate::retry::Backoff;
use crate::settle::{MAX_LEASES, Nack, fitting};

/// Sends acks and nacks, in batches. What is settled while no call is in flight is sent at once; what accumulates
/// during a call goes into the next. Nothing is dropped while its lease is held.
#[derive(Debug)]
pub(crate) struct Settler {
    acks: Lane,
    nacks: Lane,
}

impl Settler {
    pub(crate) fn new(client: &Client, leases: &Arc<Leases>) -> Self {
        let lane = |kind| Lane {
            kind,
            client: client.clone(),
            leases: Arc::clone(leases),
            pending: Mutex::default(),
            wanted: Notify::new(),
            again: Notify::new(),
        };
        Self { acks: lane(Kind::Ack), nacks: lane(Kind::Nack) }
    }

    pub(crate) fn ack(&self, lease_token: String) {
        self.acks.put(Nack { lease_token, ..Nack::default() });
    }

    pub(crate) fn nack(&self, nack: Nack) {
        self.nacks.put(nack);
    }

    /// Sends nothing until `resume`, because each settle makes the server send more.
    pub(crate) fn hold(&self) {
        self.acks.hold(true);
        self.nacks.hold(true);
    }

    pub(crate) fn resume(&self) {
        self.acks.hold(false);
        self.nacks.hold(false);
    }

    /// Sends now what waits for the next try, because the server can be reached again.
    pub(crate) fn retry_now(&self) {
        self.acks.again.notify_waiters();
        self.nacks.again.notify_waiters();
    }

    /// Sends until it is dropped, or until an error that no retry can cure.
    pub(crate) async fn run(&self) -> Error {
        tokio::select! {
            error = self.acks.run() => error,
            error = self.nacks.run() => error,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Ack,
    Nack,
}

/// The settlements of one kind, one call at a time. Of an ack only the token counts.
#[derive(Debug)]
struct Lane {
    kind: Kind,
    client: Client,
    leases: Arc<Leases>,
    pending: Mutex<Pending>,
    /// Something may be sent.
    wanted: Notify,
    /// The next try may be made now.
    again: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    outage: Outage,
    queue: VecDeque<Nack>,
    held: bool,
}

impl Lane {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, nack: Nack) {
        self.pending().queue.push_back(nack);
        self.wanted.notify_one();
    }

    fn hold(&self, held: bool) {
        self.pending().held = held;
        self.wanted.notify_one();
    }

    async fn run(&self) -> Error {
        let mut pauses = Backoff::of_reconnects();
        loop {
            self.wanted.notified().await;
            while let Some(batch) = self.take() {
                let again = self.again.notified();
                tokio::pin!(again);
                again.as_mut().enable(); // a stream that opens during the call counts
                match self.deliver(batch).await {
                    Ok(true) => pauses.reset(),
                    Ok(false) => tokio::select! {
                        () = sleep(pauses.next()) => {}
                        () = again => {}
                    },
                    Err(error) => return error,
                }
            }
        }
    }

    /// The next batch, without those whose lease was lost meanwhile; none if there is nothing to send.
    fn take(&self) -> Option<Vec<Nack>> {
        let mut pending = self.pending();
        if pending.held {
            return None;
        }
        pending.queue.retain(|nack| self.leases.holds(&nack.lease_token));
        let count = fitting(&pending.queue, self.client.max_request_bytes(), Nack::size).min(MAX_LEASES);
        let batch: Vec<Nack> = pending.queue.drain(..count).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// Returns false when some of the batch must be retried.
    async fn deliver(&self, batch: Vec<Nack>) -> Result<bool, Error> {
        match self.send(&batch).await {
            Ok(failures) => Ok(self.conclude(batch, &failures)),
            Err(error) if !error.reason().heals() => Err(error),
            Err(error) => {
                let count = batch.len();
                if self.pending().outage.warns() {
                    tracing::warn!(kind = ?self.kind, count, %error, "settles failed; they will be retried");
                } else {
                    tracing::debug!(kind = ?self.kind, count, %error, "settles failed; they will be retried");
                }
                for each in &batch {
                    self.leases.note_try(&each.lease_token);
                }
                self.put_back(batch);
                Ok(false)
            }
        }
    }

    /// Makes one attempt.
    async fn send(&self, batch: &[Nack]) -> Result<Vec<LeaseFailure>, Error> {
        let deadline = Instant::now() + self.client.timeout;
        match self.kind {
            Kind::Ack => {
                let lease_tokens = batch.iter().map(|each| each.lease_token.clone()).collect();
                let request = AckRequest { lease_tokens };
                let call = self.client.once(deadline, request, |mut bus, r| async move { bus.ack(r).await });
                Ok(call.await?.failures)
            }
            Kind::Nack => {
                let request = NackRequest { nacks: batch.iter().cloned().map(Nack::encode).collect() };
                let call = self.client.once(deadline, request, |mut bus, r| async move { bus.nack(r).await });
                Ok(call.await?.failures)
            }
        }
    }

    fn conclude(&self, batch: Vec<Nack>, failures: &[LeaseFailure]) -> bool {
        let reasons: HashMap<&str, Reason> =
            failures.iter().map(|each| (each.lease_token.as_str(), each.reason())).collect();
        let reason = |each: &Nack| reasons.get(each.lease_token.as_str()).copied();
        let (stopped, settled): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|each| reason(each) == Some(Reason::EngineStopped));
        let (unpaused, settled): (Vec<_>, Vec<_>) =
            settled.into_iter().partition(|each| reason(each) == Some(Reason::NoKey) && each.pause.is_some());
        for each in &settled {
            // A try whose answer was lost may have settled it.
            if let Some(reason) = reason(each).filter(|_| !self.leases.was_tried(&each.lease_token)) {
                tracing::warn!(kind = ?self.kind, ?reason, "a settle had no effect");
            }
        }
        self.leases.discard(settled.iter().map(|each| each.lease_token.as_str()));
        self.put_back(unpaused.into_iter().map(Nack::retry_instead).collect());
        if stopped.is_empty() {
            self.pending().outage.over();
            return true;
        }
        let (kind, count) = (self.kind, stopped.len());
        if self.pending().outage.warns() {
            tracing::warn!(?kind, count, "the engine is stopped; settles will be retried");
        } else {
            tracing::debug!(?kind, count, "the engine is stopped; settles will be retried");
        }
        self.put_back(stopped);
        false
    }

    fn put_back(&self, batch: Vec<Nack>) {
        let mut pending = self.pending();
        batch.into_iter().rev().for_each(|each| pending.queue.push_front(each));
    }
}
