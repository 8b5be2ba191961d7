use std::time::{Duration, SystemTime};

use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status};

use crate::client::Client;
use crate::connection::Connection;
use crate::dispatch::own_request_id;
use crate::error::Error;
use crate::event::Event;
use crate::pages::{Page, all_pages};
use crate::proto::event_bus_schedules_client::EventBusSchedulesClient;
use crate::proto::{self, Engine, schedule};
use crate::settle::{to_proto, to_std};

type Stub = EventBusSchedulesClient<Connection>;

/// When a schedule fires.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// Five fields, such as `0 9 * * MON-FRI`, or six with the second first.
    Cron(String),
    /// A fixed interval, 1 s to 366 days, counted from the schedule's start, or else from 1970.
    Every(Duration),
    /// A rule that this client is too old to know.
    Unknown,
}

/// What happens to a firing while the event of an earlier one is unfinished: neither acked nor dead in some group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overlap {
    /// The event is dispatched anyway.
    #[default]
    Allow,
    /// The firing is skipped, if the last event is unfinished.
    Skip,
    /// The firing is skipped, if the last two events are unfinished. An event without a key gets the schedule's name as
    /// its key, so that the second waits for the first.
    BufferOne,
}

/// What happens to nominal times that passed while nothing could fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CatchUp {
    /// The last of them fires, if it is at most a year ago.
    #[default]
    Last,
    /// Each of them fires, at most 1,000, and none older than the schedule's `catch_up_window`.
    All,
    /// None of them fires.
    None,
}

/// A rule, and the event that it dispatches:
///
/// ```
/// use duebus::{Event, Overlap, Schedule};
///
/// let weekdays = Schedule::cron("0 9 * * MON-FRI").time_zone("Europe/Berlin").event(Event::new("report"));
/// assert_eq!(weekdays.overlap(Overlap::Skip).time_zone, "Europe/Berlin");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schedule {
    /// When it fires.
    pub rule: Rule,
    /// What is dispatched, without `id` and `due`. The id of each event is NAME@TIME, for example
    /// `report@2026-11-30T08:00:00Z`, and the attributes `duebus-schedule` and `duebus-scheduled-for` are added.
    pub event: Event,
    /// The time zone of a cron rule, such as `Europe/Berlin`; empty: UTC.
    pub time_zone: String,
    /// The first moment at which it may fire.
    pub start: Option<SystemTime>,
    /// The last moment at which it may fire.
    pub end: Option<SystemTime>,
    /// How many times it fires; 0: no limit.
    pub max_runs: u64,
    /// Delays each firing by up to this much, at most 24 h.
    pub jitter: Duration,
    /// What happens while an earlier event is unfinished.
    pub overlap: Overlap,
    /// What happens to nominal times that were missed.
    pub catch_up: CatchUp,
    /// For [`CatchUp::All`]: 1 s to 31 days; none: 1 h.
    pub catch_up_window: Option<Duration>,
    /// Whether it is paused. It counts only when the schedule is created.
    pub paused: bool,
    /// For people, at most 1,000 bytes.
    pub note: String,
}

impl Schedule {
    /// By a cron expression: five fields, such as `0 9 * * MON-FRI`, or six with the second first.
    #[must_use]
    pub fn cron(expression: impl Into<String>) -> Self {
        Self::new(Rule::Cron(expression.into()))
    }

    /// At a fixed interval, 1 s to 366 days.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self::new(Rule::Every(interval))
    }

    fn new(rule: Rule) -> Self {
        Self {
            rule,
            event: Event::default(),
            time_zone: String::new(),
            start: None,
            end: None,
            max_runs: 0,
            jitter: Duration::ZERO,
            overlap: Overlap::default(),
            catch_up: CatchUp::default(),
            catch_up_window: None,
            paused: false,
            note: String::new(),
        }
    }

    /// With an event to dispatch; an empty one by default.
    #[must_use]
    pub fn event(self, event: Event) -> Self {
        Self { event, ..self }
    }

    /// In a time zone, such as `Europe/Berlin`; UTC by default.
    #[must_use]
    pub fn time_zone(self, name: impl Into<String>) -> Self {
        Self { time_zone: name.into(), ..self }
    }

    /// Not before this moment.
    #[must_use]
    pub fn start(self, moment: SystemTime) -> Self {
        Self { start: Some(moment), ..self }
    }

    /// Not after this moment.
    #[must_use]
    pub fn end(self, moment: SystemTime) -> Self {
        Self { end: Some(moment), ..self }
    }

    /// This many times at most.
    #[must_use]
    pub fn max_runs(self, count: u64) -> Self {
        Self { max_runs: count, ..self }
    }

    /// Each firing later by up to this much.
    #[must_use]
    pub fn jitter(self, most: Duration) -> Self {
        Self { jitter: most, ..self }
    }

    /// With this choice while an earlier event is unfinished.
    #[must_use]
    pub fn overlap(self, overlap: Overlap) -> Self {
        Self { overlap, ..self }
    }

    /// With this choice for what was missed.
    #[must_use]
    pub fn catch_up(self, catch_up: CatchUp) -> Self {
        Self { catch_up, ..self }
    }

    /// What was missed no longer ago than this, for [`CatchUp::All`].
    #[must_use]
    pub fn catch_up_window(self, window: Duration) -> Self {
        Self { catch_up_window: Some(window), ..self }
    }

    /// Paused, if it is new.
    #[must_use]
    pub fn paused(self) -> Self {
        Self { paused: true, ..self }
    }

    /// With a note for people.
    #[must_use]
    pub fn note(self, text: impl Into<String>) -> Self {
        Self { note: text.into(), ..self }
    }

    fn encode(self, name: &str, topic: &str) -> proto::Schedule {
        let rule = match self.rule {
            Rule::Cron(expression) => Some(schedule::Rule::Cron(expression)),
            Rule::Every(interval) => Some(schedule::Rule::Every(to_proto(interval))),
            Rule::Unknown => None,
        };
        proto::Schedule {
            name: name.to_owned(),
            topic: topic.to_owned(),
            event: Some(self.event.encode()),
            rule,
            time_zone: self.time_zone,
            start: self.start.map(Into::into),
            end: self.end.map(Into::into),
            max_runs: self.max_runs,
            jitter: (!self.jitter.is_zero()).then(|| to_proto(self.jitter)),
            overlap: self.overlap.encode().into(),
            catch_up: self.catch_up.encode().into(),
            catch_up_window: self.catch_up_window.map(to_proto),
            paused: self.paused,
            note: self.note,
        }
    }

    fn decode(message: proto::Schedule) -> Self {
        let (overlap, catch_up) = (Overlap::decode(message.overlap()), CatchUp::decode(message.catch_up()));
        let rule = match message.rule {
            Some(schedule::Rule::Cron(expression)) => Rule::Cron(expression),
            Some(schedule::Rule::Every(interval)) => Rule::Every(to_std(interval)),
            None => Rule::Unknown,
        };
        Self {
            event: message.event.map(Event::decode).unwrap_or_default(),
            time_zone: message.time_zone,
            start: message.start.and_then(to_time),
            end: message.end.and_then(to_time),
            max_runs: message.max_runs,
            jitter: message.jitter.map(to_std).unwrap_or_default(),
            overlap,
            catch_up,
            catch_up_window: message.catch_up_window.map(to_std),
            paused: message.paused,
            note: message.note,
            ..Self::new(rule)
        }
    }
}

impl Overlap {
    fn encode(self) -> schedule::Overlap {
        match self {
            Self::Allow => schedule::Overlap::Allow,
            Self::Skip => schedule::Overlap::Skip,
            Self::BufferOne => schedule::Overlap::BufferOne,
        }
    }

    fn decode(value: schedule::Overlap) -> Self {
        match value {
            schedule::Overlap::Unspecified | schedule::Overlap::Allow => Self::Allow,
            schedule::Overlap::Skip => Self::Skip,
            schedule::Overlap::BufferOne => Self::BufferOne,
        }
    }
}

impl CatchUp {
    fn encode(self) -> schedule::CatchUp {
        match self {
            Self::Last => schedule::CatchUp::Last,
            Self::All => schedule::CatchUp::All,
            Self::None => schedule::CatchUp::None,
        }
    }

    fn decode(value: schedule::CatchUp) -> Self {
        match value {
            schedule::CatchUp::Unspecified | schedule::CatchUp::Last => Self::Last,
            schedule::CatchUp::All => Self::All,
            schedule::CatchUp::None => Self::None,
        }
    }
}

/// A schedule as it is stored, and what it has done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// Its name.
    pub name: String,
    /// Where its events go.
    pub topic: String,
    /// The schedule.
    pub schedule: Schedule,
    /// The next ten nominal times; fewer if it ends before, none while it is paused.
    pub next: Vec<SystemTime>,
    /// The nominal time of the last event; none if there was none.
    pub last_fired_at: Option<SystemTime>,
    /// The id of the last event; empty if there was none.
    pub last_event_id: String,
    /// How many nominal times dispatched an event.
    pub runs: u64,
    /// How many were skipped because of `overlap`.
    pub skipped: u64,
    /// How many were missed, because nothing could fire or the topic was full.
    pub missed: u64,
    /// The rule in words.
    pub description: String,
}

impl ScheduleInfo {
    fn decode(message: proto::ScheduleInfo) -> Self {
        let mut schedule = message.schedule.unwrap_or_default();
        Self {
            name: std::mem::take(&mut schedule.name),
            topic: std::mem::take(&mut schedule.topic),
            schedule: Schedule::decode(schedule),
            next: message.next.into_iter().filter_map(to_time).collect(),
            last_fired_at: message.last_fired_at.and_then(to_time),
            last_event_id: message.last_event_id,
            runs: message.runs,
            skipped: message.skipped,
            missed: message.missed,
            description: message.description,
        }
    }
}

/// When a rule fires.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// Nominal times.
    pub times: Vec<SystemTime>,
    /// The rule in words.
    pub description: String,
}

/// The options of a [`Schedules::preview`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PreviewOptions {
    /// How many times, 1 to 1,000; 0: 10.
    pub count: u32,
    /// The moment after which they are; none: now.
    pub after: Option<SystemTime>,
}

impl PreviewOptions {
    /// This many times.
    #[must_use]
    pub fn count(self, count: u32) -> Self {
        Self { count, ..self }
    }

    /// The times after this moment.
    #[must_use]
    pub fn after(self, moment: SystemTime) -> Self {
        Self { after: Some(moment), ..self }
    }
}

/// The schedules of an engine. Their calls are retried like a dispatch, except [`Schedules::delete`]. A call that names
/// a schedule fails with [`Reason::NotFound`](crate::Reason::NotFound) if there is none.
#[derive(Debug, Clone)]
pub struct Schedules {
    client: Client,
    engine: Engine,
}

impl Client {
    /// The schedules of the server's default engine.
    #[must_use]
    pub fn schedules(&self) -> Schedules {
        Schedules { client: self.clone(), engine: Engine::Unspecified }
    }
}

impl Schedules {
    /// Those of another engine.
    #[must_use]
    pub fn on(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    /// Creates a schedule, or replaces the one of this name; an equal one changes nothing. A replaced schedule keeps its
    /// counters and its pause. Returns it as it is stored now.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`](crate::Reason::InvalidArgument) names the field, for example `schedule.cron`;
    /// [`Reason::TopicHasSchedules`](crate::Reason::TopicHasSchedules) if the schedule exists with another topic.
    pub async fn put(&self, name: &str, topic: &str, schedule: Schedule) -> Result<ScheduleInfo, Error> {
        let schedule = Some(schedule.encode(name, topic));
        let request = proto::PutScheduleRequest { engine: self.engine.into(), schedule };
        let response = self.repeated(request, |mut stub, r| async move { stub.put_schedule(r).await }).await?;
        Ok(ScheduleInfo::decode(response.schedule.unwrap_or_default()))
    }

    /// One schedule: when it fires next, and what it has done.
    ///
    /// # Errors
    /// [`Reason::NotFound`](crate::Reason::NotFound), [`Reason::Unavailable`](crate::Reason::Unavailable).
    pub async fn get(&self, name: &str) -> Result<ScheduleInfo, Error> {
        let request = proto::GetScheduleRequest { engine: self.engine.into(), name: name.to_owned() };
        let response = self.repeated(request, |mut stub, r| async move { stub.get_schedule(r).await }).await?;
        Ok(ScheduleInfo::decode(response.schedule.unwrap_or_default()))
    }

    /// All schedules by name, fetched a page at a time. An error ends the stream.
    #[must_use]
    pub fn list(&self, page_size: u32) -> BoxStream<'static, Result<ScheduleInfo, Error>> {
        let schedules = self.clone();
        all_pages(move |token| {
            let schedules = schedules.clone();
            async move { schedules.page(page_size, &token).await }
        })
    }

    /// One page of the schedules by name. `page_size` is 1 to 1,000; 0 means 100. The token of the first page is empty.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`](crate::Reason::InvalidArgument) when the token does not belong to this list.
    pub async fn page(&self, page_size: u32, page_token: &str) -> Result<Page<ScheduleInfo>, Error> {
        let (engine, page_token) = (self.engine.into(), page_token.to_owned());
        let request = proto::ListSchedulesRequest { engine, page_size, page_token };
        let response = self.repeated(request, |mut stub, r| async move { stub.list_schedules(r).await }).await?;
        let items = response.schedules.into_iter().map(ScheduleInfo::decode).collect();
        Ok(Page { items, next_page_token: response.next_page_token })
    }

    /// Removes a schedule. Events that it has dispatched are kept. It is not retried, because a second try would find the
    /// schedule gone.
    ///
    /// # Errors
    /// [`Reason::NotFound`](crate::Reason::NotFound), [`Reason::Unavailable`](crate::Reason::Unavailable).
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let request = proto::DeleteScheduleRequest { engine: self.engine.into(), name: name.to_owned() };
        let mut stub = self.stub();
        self.client.unrepeated(request, |r| async move { stub.delete_schedule(r).await }).await.map(drop)
    }

    /// Stops a schedule from firing until it is resumed. Pausing one that is paused is not an error.
    ///
    /// # Errors
    /// [`Reason::NotFound`](crate::Reason::NotFound), [`Reason::Unavailable`](crate::Reason::Unavailable).
    pub async fn pause(&self, name: &str) -> Result<(), Error> {
        let request = proto::PauseScheduleRequest { engine: self.engine.into(), name: name.to_owned() };
        self.repeated(request, |mut stub, r| async move { stub.pause_schedule(r).await }).await.map(drop)
    }

    /// Ends a pause. What would have fired during it is not made up for.
    ///
    /// # Errors
    /// [`Reason::NotFound`](crate::Reason::NotFound), [`Reason::Unavailable`](crate::Reason::Unavailable).
    pub async fn resume(&self, name: &str) -> Result<(), Error> {
        let request = proto::ResumeScheduleRequest { engine: self.engine.into(), name: name.to_owned() };
        self.repeated(request, |mut stub, r| async move { stub.resume_schedule(r).await }).await.map(drop)
    }

    /// Dispatches the event of a schedule once, now, even if it is paused. Returns the event's id. A `request_id` lets
    /// the caller repeat the call safely; none: each call dispatches an event.
    ///
    /// # Errors
    /// [`Reason::NotFound`](crate::Reason::NotFound),
    /// [`Reason::MaxQueuedEventsReached`](crate::Reason::MaxQueuedEventsReached).
    pub async fn trigger(&self, name: &str, request_id: Option<&str>) -> Result<String, Error> {
        let (engine, name) = (self.engine.into(), name.to_owned());
        let request = proto::TriggerScheduleRequest { engine, name, request_id: request_id_or_own(request_id) };
        let response = self.repeated(request, |mut stub, r| async move { stub.trigger_schedule(r).await }).await?;
        Ok(response.event_id)
    }

    /// Dispatches an event, now, for each nominal time of a schedule from `start`, inclusive, to `end`, exclusive: all
    /// of them or none. Returns their ids. `request_id` is as in [`Schedules::trigger`].
    ///
    /// # Errors
    /// Those of [`Schedules::trigger`], and [`Reason::InvalidArgument`](crate::Reason::InvalidArgument), also when there
    /// are more than 1,000 nominal times.
    pub async fn backfill(
        &self,
        name: &str,
        start: SystemTime,
        end: SystemTime,
        request_id: Option<&str>,
    ) -> Result<Vec<String>, Error> {
        let request = proto::BackfillScheduleRequest {
            engine: self.engine.into(),
            name: name.to_owned(),
            start: Some(start.into()),
            end: Some(end.into()),
            request_id: request_id_or_own(request_id),
        };
        let response = self.repeated(request, |mut stub, r| async move { stub.backfill_schedule(r).await }).await?;
        Ok(response.event_ids)
    }

    /// When a schedule would fire. Nothing is stored.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`](crate::Reason::InvalidArgument) names the field.
    pub async fn preview(&self, schedule: Schedule, options: PreviewOptions) -> Result<Preview, Error> {
        let request = proto::PreviewScheduleRequest {
            schedule: Some(schedule.encode("", "")),
            count: options.count,
            after: options.after.map(Into::into),
        };
        let response = self.repeated(request, |mut stub, r| async move { stub.preview_schedule(r).await }).await?;
        let times = response.times.into_iter().filter_map(to_time).collect();
        Ok(Preview { times, description: response.description })
    }

    fn stub(&self) -> Stub {
        EventBusSchedulesClient::new(self.client.connection())
    }

    async fn repeated<Q, R, F>(&self, request: Q, call: impl Fn(Stub, Request<Q>) -> F) -> Result<R, Error>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let stub = self.stub();
        let answer = self.client.repeated(request, |_, request| call(stub.clone(), request)).await?;
        Ok(answer.response)
    }
}

/// An id of the client's own has 26 characters: a name leaves room for so many in an event's id.
fn request_id_or_own(request_id: Option<&str>) -> String {
    request_id.filter(|id| !id.is_empty()).map_or_else(|| own_request_id().split_off(6), str::to_owned)
}

/// None if it is out of the range of the system's clock.
fn to_time(moment: prost_types::Timestamp) -> Option<SystemTime> {
    moment.try_into().ok()
}
