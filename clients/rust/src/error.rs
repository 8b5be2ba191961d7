use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::proto::Engine;

/// Why a call failed, the same in every language.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A field is missing, malformed, unknown or out of its range; [`Error::field_violations`] names it.
    InvalidArgument,
    /// The topic is empty.
    NoTopicSpecified,
    /// The dispatch has no events.
    NoEventSpecified,
    /// The server does not run the requested engine.
    NoDispatcherSpecified,
    /// `require_subscriber` is set, and the topic has no live subscriber on any replica.
    NoHandlerFound,
    /// A topic with schedules can't be deleted, and a schedule can't move to another topic.
    TopicHasSchedules,
    /// An engine is started twice in one process.
    DuplicateInitialized,
    /// The topic is full and nothing was stored; [`Error::retry_after`] says when to repeat.
    MaxQueuedEventsReached,
    /// An event was leased or changed meanwhile; nothing was changed.
    ConcurrentModification,
    /// The engine is stopped or draining, or its storage can't be reached.
    DispatcherNotWorking,
    /// No such topic, group or event; [`Error::metadata`] names it.
    NotFound,
    /// An unexpected error in the server; the metadata's `log_id` finds it in the server's log.
    Internal,
    /// The server, or its engine, can't do that yet.
    Unimplemented,
    /// The server can't be reached. The call may or may not have taken effect.
    Unavailable,
    /// No answer in time. The call may or may not have taken effect.
    DeadlineExceeded,
    /// Credentials are required, or these are not accepted.
    Unauthenticated,
    /// These credentials do not allow that.
    PermissionDenied,
    /// This connection has as many open subscriptions as the server allows.
    MaxStreamsReached,
    /// The client was closed, before the call or during it.
    ClientClosed,
    /// A reason that this client is too old to know, by its name in the protocol.
    Other(String),
}

const NAMES: [(Reason, &str); 19] = [
    (Reason::InvalidArgument, "INVALID_ARGUMENT"),
    (Reason::NoTopicSpecified, "NO_TOPIC_SPECIFIED"),
    (Reason::NoEventSpecified, "NO_EVENT_SPECIFIED"),
    (Reason::NoDispatcherSpecified, "NO_DISPATCHER_SPECIFIED"),
    (Reason::NoHandlerFound, "NO_HANDLER_FOUND"),
    (Reason::TopicHasSchedules, "TOPIC_HAS_SCHEDULES"),
    (Reason::DuplicateInitialized, "DUPLICATE_INITIALIZED"),
    (Reason::MaxQueuedEventsReached, "MAX_QUEUED_EVENTS_REACHED"),
    (Reason::ConcurrentModification, "CONCURRENT_MODIFICATION"),
    (Reason::DispatcherNotWorking, "DISPATCHER_NOT_WORKING"),
    (Reason::NotFound, "NOT_FOUND"),
    (Reason::Internal, "INTERNAL"),
    (Reason::Unimplemented, "UNIMPLEMENTED"),
    (Reason::Unavailable, "UNAVAILABLE"),
    (Reason::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Reason::Unauthenticated, "UNAUTHENTICATED"),
    (Reason::PermissionDenied, "PERMISSION_DENIED"),
    (Reason::MaxStreamsReached, "MAX_STREAMS_REACHED"),
    (Reason::ClientClosed, "CLIENT_CLOSED"),
];

impl Reason {
    /// The name in the protocol, for example `MAX_QUEUED_EVENTS_REACHED`.
    #[must_use]
    pub fn name(&self) -> &str {
        if let Self::Other(name) = self {
            return name;
        }
        NAMES.iter().find(|(reason, _)| reason == self).map_or("", |(_, name)| name)
    }

    pub(crate) fn of_name(name: &str) -> Self {
        let known = NAMES.iter().find(|(_, each)| *each == name);
        known.map_or_else(|| Self::Other(name.to_owned()), |(reason, _)| reason.clone())
    }

    /// Whether the same call may succeed later: the server was unreachable, stopped or draining.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable | Self::DispatcherNotWorking)
    }

    /// Whether the input was wrong.
    #[must_use]
    pub fn is_invalid_argument(&self) -> bool {
        matches!(self, Self::InvalidArgument | Self::NoTopicSpecified | Self::NoEventSpecified)
    }

    /// False if repeating the call can't help: a worker ends with such an error.
    pub(crate) fn heals(&self) -> bool {
        !self.is_invalid_argument()
            && !matches!(
                self,
                Self::ClientClosed
                    | Self::NoDispatcherSpecified
                    | Self::PermissionDenied
                    | Self::Unauthenticated
                    | Self::Unimplemented
            )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A wrong field: its path, for example `events[3].delay`, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldViolation {
    /// The path of the field.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// The error of a failed call. A generated stub's [`tonic::Status`] turns into one by `?` or `into`.
///
/// If the connection failed, its source is the error of gRPC, TLS or the operating system.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error(pub(crate) Box<Parts>);

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) struct Parts {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) code: tonic::Code,
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) field_violations: Vec<FieldViolation>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) stored_engines: Vec<Engine>,
    pub(crate) stored_event_ids: Vec<String>,
    /// Why the connection failed, if it did.
    #[source]
    pub(crate) source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for Parts {
    /// One line: the reason, the message, and the wrong fields that the message does not name.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.reason)?;
        if !self.message.is_empty() {
            write!(out, ": {}", self.message.split_whitespace().collect::<Vec<_>>().join(" "))?;
        }
        for each in self.field_violations.iter().filter(|each| !self.message.contains(&each.field)) {
            write!(out, " ({}: {})", each.field, each.description)?;
        }
        Ok(())
    }
}

impl Error {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            reason,
            message: message.into(),
            code: tonic::Code::Ok,
            metadata: HashMap::new(),
            field_violations: Vec::new(),
            retry_after: None,
            stored_engines: Vec::new(),
            stored_event_ids: Vec::new(),
            source: None,
        }))
    }

    /// Names the server that can't be reached.
    pub(crate) fn at(mut self, target: &str) -> Self {
        if self.0.source.is_some() {
            self.0.message = format!("{target}: {}", self.0.message);
        }
        self
    }

    /// One wrong field, found by the client.
    pub(crate) fn invalid_field(field: &str, description: impl Into<String>) -> Self {
        let description = description.into();
        let mut error = Self::new(Reason::InvalidArgument, format!("{field}: {description}"));
        error.0.field_violations.push(FieldViolation { field: field.to_owned(), description });
        error
    }

    pub(crate) fn closed() -> Self {
        Self::new(Reason::ClientClosed, "the client is closed")
    }

    /// Why the call failed.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// For people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The gRPC status; [`tonic::Code::Ok`] if the client itself found the error.
    #[must_use]
    pub fn code(&self) -> tonic::Code {
        self.0.code
    }

    /// The subject of the error: topic, group, engine, ...
    #[must_use]
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.0.metadata
    }

    /// The wrong fields; empty unless the input was bad.
    #[must_use]
    pub fn field_violations(&self) -> &[FieldViolation] {
        &self.0.field_violations
    }

    /// How long to wait before repeating the call, if the server said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// If a dispatch to several engines failed partway: the engines that hold the events. Repeating the dispatch with
    /// the same request id is safe.
    #[must_use]
    pub fn stored_engines(&self) -> &[Engine] {
        &self.0.stored_engines
    }

    /// The ids under which [`Error::stored_engines`] hold the events, in request order.
    #[must_use]
    pub fn stored_event_ids(&self) -> &[String] {
        &self.0.stored_event_ids
    }
}
