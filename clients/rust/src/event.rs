use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::proto;
use crate::settle::to_proto;

/// When an event is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// This long after it was stored, up to 10 years.
    After(Duration),
    /// At this time, at most 10 years ahead; a past time means now.
    At(SystemTime),
}

/// An event to dispatch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// At most 255 bytes, unique within the topic: an id that the topic holds, or held within its dedupe window, adds
    /// nothing. Empty: the server makes a UUIDv7.
    pub id: String,
    /// The payload, at most 1 MiB, opaque to the bus.
    pub data: Vec<u8>,
    /// The media type of `data`, at most 255 bytes.
    pub content_type: String,
    /// For handlers, at most 64 KiB of names and values together.
    pub attributes: HashMap<String, String>,
    /// When the event is due; none: at once.
    pub due: Option<Due>,
    /// How many times the event is retried before it is dead; none: by the topic's retry policy.
    pub max_retries: Option<u32>,
    /// What the event is in order by, for example an order's number: at most 255 bytes of printable text. A group gets
    /// the events of a key one at a time, in the order in which they are due. Empty: in no order.
    pub key: String,
    /// A head start in seconds, -86,400 to 86,400: of the events of a group that are due, one of priority p is delivered
    /// as if it had been due p seconds earlier. It is never early, and does not overtake events with its key.
    pub priority: i32,
}

impl Event {
    /// An event that is due at once.
    #[must_use]
    pub fn new(data: impl Into<Vec<u8>>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// An event with a payload in JSON.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`](crate::Reason::InvalidArgument) when it can't be encoded.
    #[cfg(feature = "json")]
    pub fn json(payload: &impl serde::Serialize) -> Result<Self, crate::Error> {
        let data = serde_json::to_vec(payload)
            .map_err(|error| crate::Error::invalid_field("data", format!("can't be encoded: {error}")))?;
        Ok(Self { data, content_type: "application/json".to_owned(), ..Self::default() })
    }

    /// With an id, which makes it idempotent.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        Self { id: id.into(), ..self }
    }

    /// With a key, in order with the others of that key.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: key.into(), ..self }
    }

    /// With a priority, which is a head start in seconds.
    #[must_use]
    pub fn priority(self, seconds: i32) -> Self {
        Self { priority: seconds, ..self }
    }

    /// Due this long after it was stored.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { due: Some(Due::After(delay)), ..self }
    }

    /// Due at this time.
    #[must_use]
    pub fn at(self, moment: SystemTime) -> Self {
        Self { due: Some(Due::At(moment)), ..self }
    }

    /// Without an id and a due time, as the event of a schedule.
    pub(crate) fn decode(message: proto::Event) -> Self {
        Self {
            data: message.data,
            content_type: message.content_type,
            attributes: message.attributes,
            max_retries: message.max_retries,
            key: message.key,
            priority: message.priority,
            ..Self::default()
        }
    }

    pub(crate) fn encode(self) -> proto::Event {
        let due = self.due.map(|due| match due {
            Due::After(delay) => proto::event::Due::Delay(to_proto(delay)),
            Due::At(moment) => proto::event::Due::DeliverAt(moment.into()),
        });
        proto::Event {
            id: self.id,
            data: self.data,
            content_type: self.content_type,
            attributes: self.attributes,
            max_retries: self.max_retries,
            key: self.key,
            priority: self.priority,
            due,
        }
    }
}
