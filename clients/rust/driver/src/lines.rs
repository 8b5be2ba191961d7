//! Converts the protocol's objects to the SDK's types.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use duebus::{Action, Delivery, Engine, Event, LeaseFailure, Nack, Pause, PauseScope};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::output::{Failed, enum_name};

/// The fields of all commands; those that a command does not have are none.
#[derive(Deserialize, Default)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "the names of the protocol")]
pub struct Command {
    pub id: i64,
    pub command: String,
    pub client: String,
    pub worker: String,
    pub subscription: String,
    pub target: String,
    pub token: Option<String>,
    pub tls: Option<Tls>,
    pub timeout_ms: Option<u64>,
    pub topic: Option<String>,
    pub events: Option<Vec<EventLine>>,
    pub engines: Option<Vec<String>>,
    pub request_id: Option<String>,
    pub require_subscriber: Option<bool>,
    pub lease_tokens: Option<Vec<String>>,
    pub nacks: Option<Vec<NackLine>>,
    pub lease_ms: Option<u64>,
    pub group: Option<String>,
    pub ephemeral: Option<bool>,
    pub engine: Option<String>,
    pub consumer: Option<String>,
    pub max_in_flight: Option<u32>,
    pub concurrency: Option<u32>,
    pub max_in_flight_bytes: Option<u64>,
    pub disconnect_grace_ms: Option<u64>,
    pub held_lease_tokens: Option<Vec<String>>,
    pub drain_timeout_ms: Option<u64>,
    pub max_execution_ms: Option<u64>,
    pub method: String,
    pub request: Option<String>,
    pub script: Option<Vec<Outcome>>,
    pub typed: Option<bool>,
    pub event_id: String,
    pub outcome: Option<Outcome>,
    pub service: Option<String>,
    pub name: String,
    pub event: Option<EventLine>,
    pub cron: Option<String>,
    pub every_ms: Option<u64>,
    pub time_zone: Option<String>,
    pub start_at_ms: Option<u64>,
    pub end_at_ms: Option<u64>,
    pub max_runs: Option<u64>,
    pub jitter_ms: Option<u64>,
    pub overlap: Option<String>,
    pub catch_up: Option<String>,
    pub catch_up_window_ms: Option<u64>,
    pub paused: Option<bool>,
    pub note: Option<String>,
    pub page_size: Option<u32>,
    pub count: Option<u32>,
    pub after_at_ms: Option<u64>,
}

#[derive(Deserialize)]
pub struct Tls {
    pub ca: String,
    /// The client's certificate and its key, if it has one.
    pub cert: Option<String>,
    pub key: Option<String>,
}

#[derive(Deserialize, Clone)]
pub struct Outcome {
    #[serde(rename = "do")]
    pub end: String,
    pub message: Option<String>,
    pub delay_ms: Option<u64>,
    pub scope: Option<String>,
}

#[derive(Deserialize)]
pub struct EventLine {
    id: Option<String>,
    data: Option<String>,
    content_type: Option<String>,
    attributes: Option<HashMap<String, String>>,
    delay_ms: Option<u64>,
    deliver_at_ms: Option<u64>,
    max_retries: Option<u32>,
    key: Option<String>,
    priority: Option<i32>,
}

#[derive(Deserialize)]
pub struct NackLine {
    lease_token: Option<String>,
    error: Option<String>,
    delay_ms: Option<u64>,
    dead_letter: Option<bool>,
    release: Option<bool>,
    pause: Option<PauseLine>,
}

#[derive(Deserialize)]
struct PauseLine {
    duration_ms: u64,
    scope: String,
}

pub fn scope(name: Option<&str>) -> PauseScope {
    if name == Some("group") { PauseScope::Group } else { PauseScope::Key }
}

pub fn bytes(text: &str) -> Result<Vec<u8>, Failed> {
    STANDARD.decode(text).map_err(|error| Failed::Driver(error.to_string()))
}

pub fn text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub fn millis(length: Option<u64>) -> Option<Duration> {
    length.map(Duration::from_millis)
}

impl EventLine {
    pub fn event(self) -> Result<Event, Failed> {
        let mut event = Event::new(bytes(self.data.as_deref().unwrap_or_default())?);
        event.id = self.id.unwrap_or_default();
        event.content_type = self.content_type.unwrap_or_default();
        event.attributes = self.attributes.unwrap_or_default();
        event.max_retries = self.max_retries;
        event.key = self.key.unwrap_or_default();
        event.priority = self.priority.unwrap_or_default();
        Ok(match (millis(self.delay_ms), millis(self.deliver_at_ms)) {
            (Some(delay), _) => event.after(delay),
            (None, Some(since)) => event.at(SystemTime::UNIX_EPOCH + since),
            (None, None) => event,
        })
    }
}

impl NackLine {
    pub fn nack(self) -> Nack {
        let action = match (self.delay_ms, self.dead_letter, self.release) {
            (Some(delay), _, _) => Action::RetryAfter(Duration::from_millis(delay)),
            (_, Some(true), _) => Action::DeadLetter,
            (_, _, Some(true)) => Action::Release,
            _ => Action::Retry,
        };
        let pause = self.pause.map(|PauseLine { duration_ms, scope: name }| Pause {
            duration: Duration::from_millis(duration_ms),
            scope: scope(Some(&name)),
        });
        let (lease_token, error) = (self.lease_token.unwrap_or_default(), self.error.unwrap_or_default());
        Nack { lease_token, error, action, pause }
    }
}

pub fn engine(name: Option<&str>) -> Result<Engine, Failed> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(Engine::Unspecified);
    };
    let known = Engine::from_str_name(&format!("ENGINE_{}", name.to_uppercase()));
    known.ok_or_else(|| Failed::Driver(format!("no engine is called {name}")))
}

pub fn engines(names: Option<Vec<String>>) -> Result<Vec<Engine>, Failed> {
    names.unwrap_or_default().iter().map(|name| engine(Some(name))).collect()
}

pub fn failures(failures: Vec<LeaseFailure>) -> Value {
    let lines = failures.into_iter().map(
        |each| json!({"lease_token": each.lease_token, "reason": enum_name(each.reason.as_str_name(), "REASON_")}),
    );
    json!({"failures": lines.collect::<Vec<_>>()})
}

pub fn delivery(delivery: &Delivery) -> Value {
    json!({
        "event_id": delivery.event_id, "data": text(&delivery.data), "content_type": delivery.content_type,
        "attributes": delivery.attributes, "key": delivery.key, "priority": delivery.priority, "topic": delivery.topic, "group": delivery.group,
        "lease_token": delivery.lease_token, "fencing_token": delivery.fencing_token, "attempt": delivery.attempt,
        "deliver_at_ms": since_epoch(delivery.deliver_at), "dispatched_at_ms": since_epoch(delivery.dispatched_at),
        "lease_expires_at_ms": since_epoch(delivery.lease_expires_at), "last_error": delivery.last_error,
    })
}

pub fn moment(since_epoch_ms: Option<u64>) -> Option<SystemTime> {
    millis(since_epoch_ms).map(|since| SystemTime::UNIX_EPOCH + since)
}

pub fn since_epoch(moment: SystemTime) -> u128 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis()
}
