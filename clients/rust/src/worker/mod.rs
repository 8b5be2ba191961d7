//! Workers: handlers on topics, with a stream that is reopened whenever it ends.

mod executor;
mod failure;
mod keeper;
mod leases;
mod options;
mod outage;
mod settler;
mod stream;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use executor::Handler;
#[cfg(feature = "testing")]
pub(crate) use executor::panic_text;
pub use failure::Failure;
pub use options::WorkerOptions;

use crate::client::Client;
use crate::delivery::Delivery;
use crate::error::{Error, Reason};
use crate::interceptor::{Interceptors, Next};
use stream::Stream;

/// Runs handlers on the events of topics until it is stopped.
///
/// Leases are extended while handlers run. Acks and nacks go in batches. A broken stream is always reopened, with the
/// leases still held.
pub struct Worker {
    client: Client,
    entries: Vec<Entry>,
    pub(crate) interceptors: Interceptors<Delivery, Result<(), Failure>>,
    readiness: watch::Sender<Readiness>,
}

/// Whether a worker is ready.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// How many of its subscriptions have been open.
    pub(crate) started: usize,
    /// It was stopped or has failed, and drains.
    pub(crate) stopping: bool,
}

struct Entry {
    topic: String,
    options: WorkerOptions,
    handler: Handler,
}

impl Worker {
    /// A worker without handlers yet.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        let (interceptors, readiness) = (Interceptors::default(), watch::Sender::default());
        Self { client: client.clone(), entries: Vec::new(), interceptors, readiness }
    }

    /// Registers a handler for a topic; each handler has its own subscription, in the group that its options name.
    ///
    /// What happens to the event when the handler
    /// - returns `Ok`: acked;
    /// - returns an error or panics: nacked with the message, retried after the topic's backoff;
    /// - returns [`Failure::retry_after`], [`Failure::dead_letter`] or [`Failure::release`]: what they ask for.
    ///
    /// A handler is cancelled, that is its future is dropped, when it has run for `max_execution` (the event is
    /// nacked), when the worker stops and no longer waits (it is released), and when the lease is lost
    /// (another worker may have the event). A handler that does not yield within a second, because it blocks its
    /// thread, keeps its slot until it does, and may hold up tokio's timers; use `spawn_blocking` in it.
    #[must_use]
    pub fn handle<H, F>(mut self, topic: &str, options: WorkerOptions, handler: H) -> Self
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |delivery| Box::pin(handler(delivery)));
        self.entries.push(Entry { topic: topic.to_owned(), options, handler });
        self
    }

    /// Registers a handler that gets the payload, decoded from JSON as a `T`, as well as its delivery. A payload that
    /// can't be decoded becomes a dead letter with the reason, because no retry can help; the handler is not called.
    /// Everything else is as in [`Worker::handle`].
    ///
    /// ```
    /// # use duebus::{Client, Worker, WorkerOptions};
    /// #[derive(serde::Deserialize)]
    /// struct Order {
    ///     id: u64,
    /// }
    ///
    /// # fn register(bus: &Client) -> Worker {
    /// Worker::new(bus).handle_json("order.created", WorkerOptions::default(), async |order: Order, _delivery| {
    ///     println!("order {} is billed", order.id);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    #[cfg(feature = "json")]
    #[must_use]
    pub fn handle_json<T, H, F>(self, topic: &str, options: WorkerOptions, handler: H) -> Self
    where
        T: serde::de::DeserializeOwned + Send + 'static,
        H: Fn(T, Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.handle(topic, options, move |delivery: Delivery| {
            let handled = match delivery.json() {
                Ok(payload) => Ok(handler(payload, delivery)),
                Err(error) => Err(Failure::dead_letter(format!("the payload does not fit: {error}"))),
            };
            async move { handled?.await }
        })
    }

    /// Puts an interceptor around all handlers of this worker. Of several, the first that is added is called first.
    ///
    /// ```
    /// # use duebus::{Client, Worker, WorkerOptions};
    /// # fn register(bus: &Client) -> Worker {
    /// Worker::new(bus)
    ///     .handle("order.created", WorkerOptions::default(), async |_| Ok(()))
    ///     .interceptor(async |delivery, next| {
    ///         let (id, begun) = (delivery.event_id.clone(), std::time::Instant::now());
    ///         let handled = next.run(delivery).await;
    ///         println!("{id} took {:?}", begun.elapsed());
    ///         handled
    ///     })
    /// # }
    /// ```
    #[must_use]
    pub fn interceptor<I, F>(mut self, interceptor: I) -> Self
    where
        I: Fn(Delivery, Next<Delivery, Result<(), Failure>>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.interceptors.add_innermost(interceptor);
        self
    }

    /// Waits until the worker has subscribed for every handler: events dispatched from then on are handled. False if
    /// it was stopped or failed before that; the error of [`Worker::run`] says why.
    pub fn ready(&self) -> impl Future<Output = bool> + Send + 'static {
        let (count, mut readiness) = (self.entries.len(), self.readiness.subscribe());
        let is_ready = move |readiness: &Readiness| count > 0 && readiness.started >= count;
        async move {
            let reached = readiness.wait_for(|readiness| readiness.stopping || is_ready(readiness)).await;
            reached.is_ok_and(|readiness| is_ready(&readiness))
        }
    }

    /// Handles events until `stop` ends, then drains: handlers that run are finished and their events settled, for at
    /// most the drain timeout; after that they are cancelled and their events are released. Deliveries that were not
    /// started are released without counting an attempt. Dropping the future cancels the handlers and settles nothing.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`] for a bad option, and those that no retry can cure, after a drain: a topic or a
    /// group that the server refuses, [`Reason::NoDispatcherSpecified`], [`Reason::Unauthenticated`],
    /// [`Reason::PermissionDenied`], [`Reason::Unimplemented`], [`Reason::ClientClosed`].
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        if self.entries.is_empty() {
            return Err(Error::invalid_field("worker", "has no handler"));
        }
        for entry in &self.entries {
            entry.options.check()?;
        }
        let stopping = CancellationToken::new();
        let mut runs = JoinSet::new();
        for Entry { topic, options, handler } in self.entries {
            let handler = self.interceptors.around(handler);
            let stream = Stream::new(self.client.clone(), topic, options, handler, self.readiness.clone());
            runs.spawn(stream.run(stopping.clone()));
        }
        tokio::select! {
            () = stop => stopping.cancel(),
            // The first subscription that ends also ends the others.
            () = stopping.cancelled() => {}
        }
        self.readiness.send_modify(|readiness| readiness.stopping = true);
        first_error(runs).await
    }
}

async fn first_error(mut runs: JoinSet<Result<(), Error>>) -> Result<(), Error> {
    let mut first = Ok(());
    while let Some(ended) = runs.join_next().await {
        let result = ended.unwrap_or_else(|error| Err(Error::new(Reason::Internal, error.to_string())));
        first = first.and(result);
    }
    first
}
