use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::client::Client;
use crate::dispatcher::Kind;
use crate::error::{Error, Reason};
use crate::event::Event;
use crate::interceptor::Interceptors;
use crate::proto::{DispatchRequest, DispatchResponse, Engine};
use crate::telemetry;

/// The options of a dispatch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DispatchOptions {
    /// The engines that store the events. None: the server's default engine.
    pub engines: Vec<Engine>,
    /// Lets the caller repeat a dispatch safely: within the dedupe window the same id, of at most 255 bytes, returns
    /// the first answer and adds nothing. None: the client gives each dispatch its own id, for its retries.
    pub request_id: Option<String>,
    /// Fail with [`Reason::NoHandlerFound`] unless a subscriber of the topic is connected to some replica.
    pub require_subscriber: bool,
}

impl DispatchOptions {
    /// On these engines.
    #[must_use]
    pub fn engines(self, engines: impl Into<Vec<Engine>>) -> Self {
        Self { engines: engines.into(), ..self }
    }

    /// With a request id, which lets the caller repeat the dispatch safely.
    #[must_use]
    pub fn request_id(self, id: impl Into<String>) -> Self {
        Self { request_id: Some(id.into()), ..self }
    }

    /// Only if a subscriber of the topic is connected.
    #[must_use]
    pub fn require_subscriber(self) -> Self {
        Self { require_subscriber: true, ..self }
    }
}

/// An event that the bus has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dispatched {
    /// Its id.
    pub event_id: String,
    /// It added nothing, because the topic holds an event with that id, or held one within its dedupe window.
    pub duplicate: bool,
}

/// A dispatch, as an [interceptor](crate::ClientOptions::dispatch_interceptor) gets it and passes it on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dispatch {
    /// Where the events go.
    pub topic: String,
    /// The events; a single one of [`Client::dispatch`].
    pub events: Vec<Event>,
    /// The options.
    pub options: DispatchOptions,
    /// It is of [`Client::dispatch`], which may share its request with others.
    single: bool,
}

type Stored = Result<Vec<Dispatched>, Error>;
pub(crate) type DispatchInterceptors = Interceptors<Dispatch, Stored>;

impl Client {
    /// Stores an event, to be delivered to each group of the topic, now or when it is due.
    ///
    /// Calls for one topic that are made while another is running share the next request to the server.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`], [`Reason::NoTopicSpecified`], [`Reason::MaxQueuedEventsReached`],
    /// [`Reason::Unavailable`], [`Reason::DispatcherNotWorking`], [`Reason::DeadlineExceeded`].
    pub async fn dispatch(&self, topic: &str, event: Event) -> Result<Dispatched, Error> {
        self.dispatch_with(topic, event, DispatchOptions::default()).await
    }

    /// [`Client::dispatch`] with options. With a request id, or for several engines, it has a request of its own.
    ///
    /// # Errors
    /// Those of [`Client::dispatch`], [`Reason::NoDispatcherSpecified`], [`Reason::NoHandlerFound`].
    pub async fn dispatch_with(
        &self,
        topic: &str,
        event: Event,
        options: DispatchOptions,
    ) -> Result<Dispatched, Error> {
        if self.interceptors.is_empty() {
            return self.store_one(topic, event, options).await;
        }
        let dispatch = Dispatch { topic: topic.to_owned(), events: vec![event], options, single: true };
        let dispatched = self.store_intercepted(dispatch).await?;
        let none = || Error::new(Reason::Internal, "an interceptor has returned no result for the event");
        dispatched.into_iter().next().ok_or_else(none)
    }

    async fn store_one(&self, topic: &str, event: Event, options: DispatchOptions) -> Result<Dispatched, Error> {
        let mut events = [event];
        let span = telemetry::dispatching(topic, &mut events);
        let [event] = events;
        span.around(Box::pin(self.send_one(topic, event, options)), std::slice::from_ref).await
    }

    async fn send_one(&self, topic: &str, event: Event, options: DispatchOptions) -> Result<Dispatched, Error> {
        if options.request_id.as_ref().is_some_and(|id| !id.is_empty()) || options.engines.len() > 1 {
            return Ok(Box::pin(self.send_many(topic, vec![event], options)).await?.remove(0));
        }
        let engine = options.engines.first().map(|&engine| engine.into());
        let kind = Kind { topic: topic.to_owned(), engine, require_subscriber: options.require_subscriber };
        self.dispatch_shared(kind, event.encode()).await
    }

    /// Stores 1 to 1000 events, of at most 4 MiB together: all of them or none. Returns one [`Dispatched`] for each, in
    /// order.
    ///
    /// # Errors
    /// Those of [`Client::dispatch`], and [`Reason::NoEventSpecified`], [`Reason::NoDispatcherSpecified`],
    /// [`Reason::NoHandlerFound`].
    pub async fn dispatch_many(
        &self,
        topic: &str,
        events: Vec<Event>,
        options: DispatchOptions,
    ) -> Result<Vec<Dispatched>, Error> {
        if self.interceptors.is_empty() {
            return self.store_many(topic, events, options).await;
        }
        self.store_intercepted(Dispatch { topic: topic.to_owned(), events, options, single: false }).await
    }

    async fn store_many(&self, topic: &str, mut events: Vec<Event>, options: DispatchOptions) -> Stored {
        let span = telemetry::dispatching(topic, &mut events);
        span.around(Box::pin(self.send_many(topic, events, options)), Vec::as_slice).await
    }

    fn store_intercepted(&self, dispatch: Dispatch) -> BoxFuture<'static, Stored> {
        let client = self.clone();
        let store = move |Dispatch { topic, mut events, options, single }| -> BoxFuture<'static, Stored> {
            let client = client.clone();
            Box::pin(async move {
                if single && events.len() == 1 {
                    return Ok(vec![client.store_one(&topic, events.remove(0), options).await?]);
                }
                client.store_many(&topic, events, options).await
            })
        };
        self.interceptors.around(Arc::new(store))(dispatch)
    }

    async fn send_many(&self, topic: &str, events: Vec<Event>, options: DispatchOptions) -> Stored {
        let count = events.len();
        let request = DispatchRequest {
            topic: topic.to_owned(),
            events: events.into_iter().map(Event::encode).collect(),
            engines: options.engines.into_iter().map(Into::into).collect(),
            request_id: options.request_id.filter(|id| !id.is_empty()).unwrap_or_else(own_request_id),
            require_subscriber: options.require_subscriber,
        };
        let answer = self.repeated(request, |mut bus, r| async move { bus.dispatch(r).await }).await?;
        read(answer.response, count)
    }
}

pub(crate) fn own_request_id() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

pub(crate) fn read(response: DispatchResponse, count: usize) -> Result<Vec<Dispatched>, Error> {
    if response.event_ids.len() != count {
        let message = format!("the server answered {} event ids for {count} events", response.event_ids.len());
        return Err(Error::new(Reason::Internal, message));
    }
    let mut duplicates: HashMap<String, usize> = HashMap::new();
    for id in response.duplicate_event_ids {
        *duplicates.entry(id).or_default() += 1;
    }
    // Of several events with one id in a request, the first is the one that was stored.
    let mut dispatched: Vec<Dispatched> = response
        .event_ids
        .into_iter()
        .rev()
        .map(|event_id| {
            let left = duplicates.get_mut(&event_id).filter(|left| **left > 0);
            let duplicate = left.map(|left| *left -= 1).is_some();
            Dispatched { event_id, duplicate }
        })
        .collect();
    dispatched.reverse();
    Ok(dispatched)
}
