use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::client::Client;
use crate::connection::Connection;
use crate::error::Error;
use crate::pages::{Page, all_pages};
use crate::proto::event_bus_admin_client::EventBusAdminClient;
use crate::proto::{
    CancelEventsRequest, CancelEventsResponse, ConfigureTopicRequest, DeleteGroupRequest, DeleteTopicRequest, Engine,
    EventInfo, GetEventRequest, GetTopicRequest, KeyInfo, ListEventsRequest, ListKeysRequest, ListTopicsRequest,
    PauseGroupRequest, PurgeEventsRequest, RedriveEventsRequest, RescheduleEventsRequest, ResumeGroupRequest,
    TopicConfig, TopicInfo,
};

type Stub = EventBusAdminClient<Connection>;

/// The admin calls about one engine. Messages of [`proto`](crate::proto) say what to do, with as many fields as the
/// caller wants to set, and what was found; their comments are the reference:
///
/// ```no_run
/// # async fn example(bus: duebus::Client) -> Result<(), duebus::Error> {
/// use duebus::proto::{DeadLetterFilter, RedriveEventsRequest};
///
/// let filter = DeadLetterFilter { error_contains: "card".into(), ..Default::default() };
/// let request = RedriveEventsRequest { topic: "orders".into(), filter: Some(filter), ..Default::default() };
/// println!("{} events are ready again", bus.admin().redrive(request).await?);
/// # Ok(())
/// # }
/// ```
///
/// [`proto::duration`](crate::proto::duration) makes their durations; a `SystemTime` is converted by `into`, and both come
/// back by `try_into`:
///
/// ```no_run
/// # async fn example(bus: duebus::Client) -> Result<(), Box<dyn std::error::Error>> {
/// # use std::time::Duration;
/// use duebus::proto::{TopicConfig, duration};
///
/// let config = TopicConfig { lease: Some(duration(Duration::from_secs(60))), ..Default::default() };
/// let now = bus.admin().configure("orders", "", config).await?;
/// let lease: Option<Duration> = now.lease.map(TryInto::try_into).transpose()?;
/// # Ok(())
/// # }
/// ```
///
/// A field of an enum is an `i32`, and the method of the same name returns the enum:
///
/// ```no_run
/// # async fn example(bus: duebus::Client) -> Result<(), duebus::Error> {
/// use duebus::proto::EventState;
///
/// let event = bus.admin().event("orders", "order-42").await?;
/// let is_dead = event.groups.iter().any(|group| group.state() == EventState::Dead);
/// # Ok(())
/// # }
/// ```
///
/// Calls that read, and `configure`, `pause_group` and `resume_group`, are retried like a dispatch. The others are not,
/// because their answers count what they did. Those that delete, redrive or purge take as long as their work takes.
///
/// Each fails with [`Reason::NotFound`](crate::Reason::NotFound) if there is no such topic, group or event, and with
/// [`Reason::PermissionDenied`](crate::Reason::PermissionDenied). An empty group is "default".
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
    engine: Engine,
}

impl Client {
    /// The admin calls about the server's default engine.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin { client: self.clone(), engine: Engine::Unspecified }
    }
}

impl Admin {
    /// Those about another engine.
    #[must_use]
    pub fn on(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    /// All topics by name, fetched a page at a time: `page_size` is 1 to 1,000, 0 means 100. An error ends the stream.
    #[must_use]
    pub fn topics(&self, page_size: u32) -> BoxStream<'static, Result<TopicInfo, Error>> {
        let admin = self.clone();
        all_pages(move |page_token| {
            let admin = admin.clone();
            async move {
                let request = ListTopicsRequest { engine: admin.engine.into(), page_size, page_token };
                let answer = admin.repeated(request, |mut stub, r| async move { stub.list_topics(r).await }).await?;
                Ok(Page { items: answer.topics, next_page_token: answer.next_page_token })
            }
        })
    }

    /// A topic: its settings, and what its groups hold.
    ///
    /// # Errors
    /// See [`Admin`].
    pub async fn topic(&self, topic: &str) -> Result<TopicInfo, Error> {
        let request = GetTopicRequest { engine: self.engine.into(), topic: topic.to_owned() };
        let answer = self.repeated(request, |mut stub, r| async move { stub.get_topic(r).await }).await?;
        Ok(answer.topic.unwrap_or_default())
    }

    /// Changes the settings of a topic that `config` has; with a group, those of the group. Returns all that are now
    /// set.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`](crate::Reason::InvalidArgument) names the field, for example `config.lease`.
    pub async fn configure(&self, topic: &str, group: &str, config: TopicConfig) -> Result<TopicConfig, Error> {
        let request = ConfigureTopicRequest {
            engine: self.engine.into(),
            topic: topic.to_owned(),
            group: group.to_owned(),
            config: Some(config),
        };
        let answer = self.repeated(request, |mut stub, r| async move { stub.configure_topic(r).await }).await?;
        Ok(answer.config.unwrap_or_default())
    }

    /// Removes a topic with its groups and events. Returns how many events that were.
    ///
    /// # Errors
    /// [`Reason::TopicHasSchedules`](crate::Reason::TopicHasSchedules).
    pub async fn delete_topic(&self, topic: &str) -> Result<u64, Error> {
        let request = DeleteTopicRequest { engine: self.engine.into(), topic: topic.to_owned() };
        let mut stub = self.client.admin_stub();
        Ok(self.client.unlimited(stub.delete_topic(request)).await?.removed)
    }

    /// Removes a group and its copies of events. Returns how many that were.
    ///
    /// # Errors
    /// See [`Admin`].
    pub async fn delete_group(&self, topic: &str, group: &str) -> Result<u64, Error> {
        let (engine, topic, group) = self.of(topic, group);
        let mut stub = self.client.admin_stub();
        Ok(self.client.unlimited(stub.delete_group(DeleteGroupRequest { engine, topic, group })).await?.removed)
    }

    /// Stops deliveries to a group until it is resumed. Pausing one that is paused is not an error.
    ///
    /// # Errors
    /// See [`Admin`].
    pub async fn pause_group(&self, topic: &str, group: &str) -> Result<(), Error> {
        let (engine, topic, group) = self.of(topic, group);
        let request = PauseGroupRequest { engine, topic, group };
        self.repeated(request, |mut stub, r| async move { stub.pause_group(r).await }).await.map(drop)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// See [`Admin`].
    pub async fn resume_group(&self, topic: &str, group: &str) -> Result<(), Error> {
        let (engine, topic, group) = self.of(topic, group);
        let request = ResumeGroupRequest { engine, topic, group };
        self.repeated(request, |mut stub, r| async move { stub.resume_group(r).await }).await.map(drop)
    }

    /// The events of a topic that match the request, which needs only `topic`, fetched a page at a time. An error ends
    /// the stream.
    #[must_use]
    pub fn events(&self, request: ListEventsRequest) -> BoxStream<'static, Result<EventInfo, Error>> {
        let admin = self.clone();
        all_pages(move |page_token| {
            let (admin, engine) = (admin.clone(), admin.engine_or(request.engine));
            let page = ListEventsRequest { engine, page_token, ..request.clone() };
            async move {
                let answer = admin.repeated(page, |mut stub, r| async move { stub.list_events(r).await }).await?;
                Ok(Page { items: answer.events, next_page_token: answer.next_page_token })
            }
        })
    }

    /// An event: its state and its history in each group.
    ///
    /// # Errors
    /// See [`Admin`].
    pub async fn event(&self, topic: &str, event_id: &str) -> Result<EventInfo, Error> {
        let (engine, topic, event_id) = self.of(topic, event_id);
        let request = GetEventRequest { engine, topic, event_id };
        let answer = self.repeated(request, |mut stub, r| async move { stub.get_event(r).await }).await?;
        Ok(answer.event.unwrap_or_default())
    }

    /// The keys of a group that hold something, those with the most blocked events first, fetched a page at a time as in
    /// [`Admin::topics`]. An error ends the stream.
    #[must_use]
    pub fn keys(&self, topic: &str, group: &str, page_size: u32) -> BoxStream<'static, Result<KeyInfo, Error>> {
        let (admin, (engine, topic, group)) = (self.clone(), self.of(topic, group));
        all_pages(move |page_token| {
            let (admin, topic, group) = (admin.clone(), topic.clone(), group.clone());
            async move {
                let request = ListKeysRequest { engine, topic, group, page_size, page_token };
                let answer = admin.repeated(request, |mut stub, r| async move { stub.list_keys(r).await }).await?;
                Ok(Page { items: answer.keys, next_page_token: answer.next_page_token })
            }
        })
    }

    /// Removes events that are not leased: those with the ids, or those with the key. The answer names those that were
    /// leased or missing.
    ///
    /// # Errors
    /// See [`Admin`].
    pub async fn cancel(&self, request: CancelEventsRequest) -> Result<CancelEventsResponse, Error> {
        let request = CancelEventsRequest { engine: self.engine_or(request.engine), ..request };
        let mut stub = self.client.admin_stub();
        self.client.unrepeated(request, |r| async move { stub.cancel_events(r).await }).await
    }

    /// Gives events another due time: all of them or none. Returns how many.
    ///
    /// # Errors
    /// [`Reason::ConcurrentModification`](crate::Reason::ConcurrentModification) names an event that is leased.
    pub async fn reschedule(&self, request: RescheduleEventsRequest) -> Result<u64, Error> {
        let request = RescheduleEventsRequest { engine: self.engine_or(request.engine), ..request };
        let mut stub = self.client.admin_stub();
        let answer = self.client.unrepeated(request, |r| async move { stub.reschedule_events(r).await }).await?;
        Ok(answer.rescheduled)
    }

    /// Makes dead letters ready again, with all their retries. Returns how many.
    ///
    /// # Errors
    /// See [`Admin`].
    pub async fn redrive(&self, request: RedriveEventsRequest) -> Result<u64, Error> {
        let request = RedriveEventsRequest { engine: self.engine_or(request.engine), ..request };
        let mut stub = self.client.admin_stub();
        Ok(self.client.unlimited(stub.redrive_events(request)).await?.redriven)
    }

    /// Removes dead letters. Returns how many.
    ///
    /// # Errors
    /// See [`Admin`].
    pub async fn purge(&self, request: PurgeEventsRequest) -> Result<u64, Error> {
        let request = PurgeEventsRequest { engine: self.engine_or(request.engine), ..request };
        let mut stub = self.client.admin_stub();
        Ok(self.client.unlimited(stub.purge_events(request)).await?.purged)
    }

    fn of(&self, topic: &str, name: &str) -> (i32, String, String) {
        (self.engine.into(), topic.to_owned(), name.to_owned())
    }

    /// The engine that a request names, or else this one.
    fn engine_or(&self, named: i32) -> i32 {
        if named == i32::from(Engine::Unspecified) { self.engine.into() } else { named }
    }

    async fn repeated<Q, R, F>(&self, request: Q, call: impl Fn(Stub, Request<Q>) -> F) -> Result<R, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let stub = self.client.admin_stub();
        Ok(self.client.repeated(request, |_, request| call(stub.clone(), request)).await?.response)
    }
}
