#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![doc = include_str!("../README.md")]

mod admin;
mod client;
mod connection;
mod delivery;
mod dispatch;
mod dispatcher;
mod error;
mod event;
mod interceptor;
mod pages;
mod retry;
mod schedules;
mod servers;
mod settle;
mod status;
mod subscription;
#[cfg_attr(not(feature = "opentelemetry"), path = "untraced.rs")]
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;
mod worker;

pub use admin::Admin;
pub use client::{Client, ClientOptions, StoppedEngine};
pub use connection::{Connection, Credentials};
pub use delivery::Delivery;
pub use dispatch::{Dispatch, DispatchOptions, Dispatched};
pub use error::{Error, FieldViolation, Reason};
pub use event::{Due, Event};
pub use interceptor::Next;
pub use pages::Page;
pub use proto::{Engine, lease_failure::Reason as LeaseFailureReason, subscribe_response::Frame};
pub use schedules::{CatchUp, Overlap, Preview, PreviewOptions, Rule, Schedule, ScheduleInfo, Schedules};
pub use servers::Servers;
pub use settle::{Action, LeaseFailure, Nack, Pause, PauseScope};
pub use subscription::Subscription;
pub use tonic::transport::{Certificate, ClientTlsConfig, Identity};
pub use worker::{Failure, Worker, WorkerOptions};

/// The generated messages and stubs. `make generate` regenerates them.
#[allow(missing_docs, rustdoc::all, clippy::all, clippy::pedantic)]
pub mod proto {
    pub use prost_types::{Duration, Timestamp};

    pub use crate::settle::to_proto as duration;

    include!("generated/duebus.v1.rs");
}
