//! Single dispatches. A lone one is sent at once. Those that arrive while a call of their kind is running share the next
//! call, which stores all or none of them.
//!
//! If that call is refused for a reason that may lie in one event, each event is sent alone, so that no caller gets the
//! error of another's event; those with the same key are sent one after the other. If some of its events were stored,
//! every caller gets the error: an event without an id that is sent again could be stored twice.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::dispatch::{Dispatched, own_request_id, read};
use crate::error::{Error, Reason};
use crate::proto::{DispatchRequest, Event};

/// The server accepts 1000 events and 4 MiB in one call; a quarter is left for what surrounds the events.
const MAX_EVENTS: usize = 1000;
const MAX_BYTES: usize = 3 << 20;

/// What dispatches must have in common to share a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) topic: String,
    pub(crate) engine: Option<i32>,
    pub(crate) require_subscriber: bool,
}

/// The lanes of a client. A lane is here while one of its calls is running.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Mutex<HashMap<Kind, Lane>>);

/// The dispatches that wait for the next call of their kind.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    /// The latest failure that a retry may cure, since a call last succeeded.
    failure: Option<Error>,
}

/// A dispatch that waits for its turn or its answer. Its caller drops the receiver when it gives up.
#[derive(Debug)]
struct Waiting {
    event: Event,
    deadline: Instant,
    answer: oneshot::Sender<Result<Dispatched, Error>>,
}

type Answer = oneshot::Receiver<Result<Dispatched, Error>>;

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, HashMap<Kind, Lane>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Dispatches an event, alone or with others.
    pub(crate) async fn dispatch_shared(&self, kind: Kind, mut event: Event) -> Result<Dispatched, Error> {
        let deadline = Instant::now() + self.timeout;
        let runtime = Handle::current(); // before the lane is open, which a panic would leave open for good
        match self.join(&kind, deadline, &mut event) {
            Some(answer) => self.wait(&kind, deadline, answer).await,
            None => OpenLane { client: self.clone(), kind, runtime, open: true }.send_first(deadline, event).await,
        }
    }

    /// Takes an event, which waits for the next call of its kind. None if no call is running: the caller keeps the event,
    /// has opened the lane, and makes the call.
    fn join(&self, kind: &Kind, deadline: Instant, event: &mut Event) -> Option<Answer> {
        let mut lanes = self.lanes.lock();
        let Some(lane) = lanes.get_mut(kind) else {
            lanes.insert(kind.clone(), Lane::default());
            return None;
        };
        let (answer, received) = oneshot::channel();
        lane.waiting.push_back(Waiting { event: std::mem::take(event), deadline, answer });
        Some(received)
    }

    async fn wait(&self, kind: &Kind, deadline: Instant, answer: Answer) -> Result<Dispatched, Error> {
        match timeout_at(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::new(Reason::Unavailable, "the runtime that made the call has ended")),
            Err(_) => Err(self
                .last_failure(kind)
                .unwrap_or_else(|| Error::new(Reason::DeadlineExceeded, "no answer in time"))),
        }
    }

    /// The error for a caller whose deadline has passed. None if the latest call succeeded.
    fn last_failure(&self, kind: &Kind) -> Option<Error> {
        self.lanes.lock().get(kind).and_then(|lane| lane.failure.clone())
    }

    fn note(&self, kind: &Kind, failure: Option<Error>) {
        if let Some(lane) = self.lanes.lock().get_mut(kind) {
            lane.failure = failure;
        }
    }

    async fn call(&self, kind: &Kind, deadline: Instant, events: Vec<Event>) -> Result<Vec<Dispatched>, Error> {
        let count = events.len();
        let request = DispatchRequest {
            topic: kind.topic.clone(),
            events,
            engines: kind.engine.into_iter().collect(),
            request_id: own_request_id(),
            require_subscriber: kind.require_subscriber,
        };
        let note = |failure: &Error| self.note(kind, Some(failure.clone()));
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let call = self.with_timeout(left);
        match call.repeated_noting(request, |mut bus, r| async move { bus.dispatch(r).await }, note).await {
            Ok(answer) => {
                self.note(kind, None);
                read(answer.response, count)
            }
            Err(error) if *error.reason() == Reason::DeadlineExceeded => Err(self.last_failure(kind).unwrap_or(error)),
            Err(error) => Err(error),
        }
    }

    async fn call_one(&self, kind: &Kind, deadline: Instant, event: Event) -> Result<Dispatched, Error> {
        Ok(self.call(kind, deadline, vec![event]).await?.remove(0))
    }
}

#[cfg(test)]
impl Client {
    pub(crate) fn has_no_lanes(&self) -> bool {
        self.lanes.lock().is_empty()
    }
}

/// A lane whose call is running. If it is dropped, because the caller or the runtime has gone, what waits goes on
/// without it.
struct OpenLane {
    client: Client,
    kind: Kind,
    /// Where the calls run; the thread that drops this may have no runtime.
    runtime: Handle,
    open: bool,
}

impl OpenLane {
    /// Sends the event that found no call running; what arrives meanwhile is sent after it.
    async fn send_first(self, deadline: Instant, event: Event) -> Result<Dispatched, Error> {
        self.client.call_one(&self.kind, deadline, event).await
    }

    /// Sends a batch, and then what has arrived meanwhile, until nothing waits.
    async fn run(mut self, mut batch: Vec<Waiting>) {
        while !batch.is_empty() {
            self.send(batch).await;
            yield_now().await; // callers that just got their answers may dispatch again at once, and share the next call
            batch = self.next_batch();
        }
    }

    /// Takes as many as fit into one call, without those whose callers have given up. The lane ends if there are none.
    fn next_batch(&mut self) -> Vec<Waiting> {
        let mut lanes = self.client.lanes.lock();
        let Some(lane) = lanes.get_mut(&self.kind) else { return Vec::new() };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(first) = lane.waiting.pop_front() {
            if first.answer.is_closed() {
                continue;
            }
            bytes += first.event.encoded_len();
            if batch.len() == MAX_EVENTS || (!batch.is_empty() && bytes > MAX_BYTES) {
                lane.waiting.push_front(first);
                break;
            }
            batch.push(first);
        }
        if batch.is_empty() {
            lanes.remove(&self.kind);
            self.open = false;
        }
        batch
    }

    /// One call for all of them, until the last of their deadlines. Each caller gets the result of its own event.
    async fn send(&self, batch: Vec<Waiting>) {
        let last = batch.iter().map(|each| each.deadline).max().unwrap_or_else(Instant::now);
        let events = batch.iter().map(|each| each.event.clone()).collect();
        match self.client.call(&self.kind, last, events).await {
            Ok(dispatched) => {
                for (each, dispatched) in batch.into_iter().zip(dispatched) {
                    let _ = each.answer.send(Ok(dispatched)); // its caller may have given up
                }
            }
            Err(error) if may_lie_in_one(&error) => self.send_each(batch).await,
            Err(error) => {
                for each in batch {
                    let _ = each.answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Sends each event in a call of its own, those with the same key in turn.
    async fn send_each(&self, batch: Vec<Waiting>) {
        let mut calls = JoinSet::new();
        for in_turn in by_key(batch) {
            let (client, kind) = (self.client.clone(), self.kind.clone());
            calls.spawn(async move {
                for each in in_turn {
                    if !each.answer.is_closed() {
                        let _ = each.answer.send(client.call_one(&kind, each.deadline, each.event).await);
                    }
                }
            });
        }
        calls.join_all().await;
    }
}

/// Puts those with the same key together, in order, and each one without a key alone.
fn by_key(batch: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut lists = Vec::<Vec<Waiting>>::new();
    let mut places = HashMap::<String, usize>::new();
    for each in batch {
        let place = if each.event.key.is_empty() {
            lists.len()
        } else {
            *places.entry(each.event.key.clone()).or_insert(lists.len())
        };
        if place == lists.len() {
            lists.push(Vec::new());
        }
        lists[place].push(each);
    }
    lists
}

impl Drop for OpenLane {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let batch = self.next_batch();
        if batch.is_empty() {
            return;
        }
        let (client, kind, runtime) = (self.client.clone(), self.kind.clone(), self.runtime.clone());
        // A runtime that has ended drops what it is to run, and so the dispatches that wait, batch by batch.
        drop(self.runtime.spawn(Self { client, kind, runtime, open: true }.run(batch)));
    }
}

/// Whether the error of a shared call may lie in one of its events, and nothing was stored.
fn may_lie_in_one(error: &Error) -> bool {
    let of_an_event = error.reason().is_invalid_argument() || *error.reason() == Reason::MaxQueuedEventsReached;
    of_an_event && error.stored_engines().is_empty()
}
