use std::collections::HashMap;
use std::time::SystemTime;

use crate::proto;

/// An event leased to this subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The id of the event.
    pub event_id: String,
    /// The payload.
    pub data: Vec<u8>,
    /// The media type of `data`.
    pub content_type: String,
    /// The attributes that it was dispatched with.
    pub attributes: HashMap<String, String>,
    /// What the event is in order by; empty for none.
    pub key: String,
    /// The event's head start in seconds.
    pub priority: i32,
    /// The topic it was dispatched to.
    pub topic: String,
    /// The group it is delivered in.
    pub group: String,
    /// The token that settles this delivery. Opaque.
    pub lease_token: String,
    /// Grows with every lease of the event, and of the events with its key: a write guarded by "only if greater" can't
    /// be undone by a holder whose lease has run out.
    pub fencing_token: u64,
    /// The number of the attempt, from 1. A release is not counted.
    pub attempt: u32,
    /// When it was due; for a retry, when the retry was due.
    pub deliver_at: SystemTime,
    /// When the engine stored it, by the engine's clock.
    pub dispatched_at: SystemTime,
    /// When the lease runs out, by the engine's clock.
    pub lease_expires_at: SystemTime,
    /// Why the previous attempt failed; empty on the first attempt.
    pub last_error: String,
}

impl Delivery {
    /// The payload, decoded from JSON.
    ///
    /// # Errors
    /// If it can't be decoded as `T`.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.data)
    }
}

impl From<proto::Delivery> for Delivery {
    fn from(delivery: proto::Delivery) -> Self {
        let event = delivery.event.unwrap_or_default();
        Self {
            event_id: event.id,
            data: event.data,
            content_type: event.content_type,
            attributes: event.attributes,
            key: event.key,
            priority: event.priority,
            topic: delivery.topic,
            group: delivery.group,
            lease_token: delivery.lease_token,
            fencing_token: delivery.fencing_token,
            attempt: delivery.attempt,
            deliver_at: moment(delivery.deliver_at),
            dispatched_at: moment(delivery.dispatched_at),
            lease_expires_at: moment(delivery.lease_expires_at),
            last_error: delivery.last_error,
        }
    }
}

fn moment(timestamp: Option<prost_types::Timestamp>) -> SystemTime {
    timestamp.and_then(|each| each.try_into().ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}
