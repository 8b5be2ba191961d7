//! In place of `telemetry.rs`, without the feature `opentelemetry`: no spans.

use crate::delivery::Delivery;
use crate::dispatch::Dispatched;
use crate::error::Error;
use crate::event::Event;
use crate::worker::{Failure, Handler};

pub(crate) struct Dispatching;

pub(crate) fn dispatching(_: &str, _: &mut [Event]) -> Dispatching {
    Dispatching
}

impl Dispatching {
    pub(crate) async fn around<T>(
        self,
        call: impl Future<Output = Result<T, Error>>,
        _: impl FnOnce(&T) -> &[Dispatched],
    ) -> Result<T, Error> {
        call.await
    }
}

pub(crate) async fn handled(handler: &Handler, delivery: Delivery) -> Result<(), Failure> {
    handler(delivery).await
}
