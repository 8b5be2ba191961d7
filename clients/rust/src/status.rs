//! Makes an [`Error`] of a gRPC status. The reason in its details decides; without one, the code does.

use std::error::Error as _;
use std::sync::Arc;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::connection::CLOSED;
use crate::error::{Error, FieldViolation, Reason};
use crate::proto::{Engine, PartialDispatch};
use crate::settle::to_std;

const DOMAIN: &str = "duebus";
/// How gRPC refuses a message that is too large to read. Its status is the same as for a full topic.
const TOO_LARGE: &str = "larger than max";

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        if status.metadata().contains_key(CLOSED) {
            return Self::closed();
        }
        let mut error = Self::new(Reason::Other(String::new()), status.message());
        error.0.code = status.code();
        let details = pb::Status::decode(status.details()).unwrap_or_default().details;
        for detail in &details {
            read(&mut error, &detail.type_url, &detail.value);
        }
        if error.reason().name().is_empty() {
            read_code(&mut error, &status);
        }
        error
    }
}

fn read(error: &mut Error, type_url: &str, value: &[u8]) {
    match type_url.rsplit('/').next().unwrap_or_default() {
        "google.rpc.ErrorInfo" => read_info(error, pb::ErrorInfo::decode(value).unwrap_or_default()),
        "google.rpc.BadRequest" => {
            let violations = pb::BadRequest::decode(value).unwrap_or_default().field_violations;
            let read =
                violations.into_iter().map(|each| FieldViolation { field: each.field, description: each.description });
            error.0.field_violations.extend(read);
        }
        "google.rpc.RetryInfo" => {
            error.0.retry_after = pb::RetryInfo::decode(value).unwrap_or_default().retry_delay.map(to_std);
        }
        "duebus.v1.PartialDispatch" => {
            let partial = PartialDispatch::decode(value).unwrap_or_default();
            error.0.stored_engines = partial.stored_engines().collect::<Vec<Engine>>();
            error.0.stored_event_ids = partial.event_ids;
        }
        _ => {}
    }
}

fn read_info(error: &mut Error, info: pb::ErrorInfo) {
    if info.domain == DOMAIN {
        error.0.reason = Reason::of_name(&info.reason);
        error.0.metadata = info.metadata;
    }
}

/// Finds the reason of an error without details: one of the connection, of gRPC itself or of a proxy.
fn read_code(error: &mut Error, status: &Status) {
    // The connection failed, regardless of the code: a server's status has no source.
    let broken = status.source().is_some() && !matches!(status.code(), Code::DeadlineExceeded | Code::OutOfRange);
    error.0.reason = match status.code() {
        _ if broken => {
            error.0.message = connection_failure(status);
            error.0.source = Some(Arc::new(status.clone()));
            Reason::Unavailable
        }
        Code::ResourceExhausted if status.message().contains(TOO_LARGE) => {
            let description = "is larger than a message may be".to_owned();
            error.0.field_violations.push(FieldViolation { field: "request".to_owned(), description });
            Reason::InvalidArgument
        }
        code => Reason::of_name(&screaming_snake(&format!("{code:?}"))),
    };
}

/// Why the connection failed, including the message of TLS or the operating system.
fn connection_failure(status: &Status) -> String {
    let mut parts = vec![status.message().to_owned()];
    let mut source = status.source();
    while let Some(error) = source {
        let part = error.to_string();
        if !parts.iter().any(|each| each.contains(&part)) {
            parts.push(part);
        }
        source = error.source();
    }
    parts.retain(|each| !each.is_empty());
    parts.join(": ")
}

/// Makes DEADLINE_EXCEEDED of DeadlineExceeded.
fn screaming_snake(name: &str) -> String {
    let mut out = String::new();
    for (i, letter) in name.chars().enumerate() {
        if i > 0 && letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}
