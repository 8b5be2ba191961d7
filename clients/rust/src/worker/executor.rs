use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::failure::{Failure, cut};
use super::leases::{Cause, Leases};
use super::settler::Settler;
use crate::delivery::Delivery;
use crate::interceptor::Call;
use crate::settle::{Action, Nack};
use crate::telemetry;

/// How long a cancelled handler may take to end before its event is settled without it.
pub(crate) const CANCEL_GRACE: Duration = Duration::from_secs(1);

pub(crate) type Handler = Call<Delivery, Result<(), Failure>>;

/// The slots of handlers that run at once.
#[derive(Debug, Clone, Copy, Default)]
struct Places {
    taken: usize,
    /// Taken by cancelled handlers that don't end.
    lost: usize,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Delivery>,
    /// Nothing more is started.
    paused: bool,
}

/// Runs the handler of one subscription's deliveries, a limited number at a time; the others wait in order of arrival.
pub(crate) struct Executor {
    handler: Handler,
    slots: usize,
    max_execution: Duration,
    leases: Arc<Leases>,
    settler: Arc<Settler>,
    waiting: Mutex<Waiting>,
    places: watch::Sender<Places>,
}

/// The rest of a delivery while its handler has it.
struct Running {
    lease_token: String,
    event_id: String,
    attempt: u32,
}

impl Executor {
    pub(crate) fn new(
        handler: Handler,
        slots: usize,
        max_execution: Duration,
        leases: Arc<Leases>,
        settler: Arc<Settler>,
    ) -> Self {
        let places = watch::Sender::new(Places::default());
        Self { handler, slots, max_execution, leases, settler, waiting: Mutex::default(), places }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes deliveries and starts as many as there are slots for.
    pub(crate) fn accept(self: &Arc<Self>, deliveries: impl Iterator<Item = Delivery>) {
        for delivery in deliveries {
            self.leases.add(&delivery);
            self.waiting().queue.push_back(delivery);
        }
        self.start_waiting();
    }

    /// Stops starting handlers.
    pub(crate) fn pause(&self) {
        self.waiting().paused = true;
    }

    /// Releases the deliveries that were not started.
    pub(crate) fn release(&self) {
        let queue = std::mem::take(&mut self.waiting().queue);
        for delivery in queue {
            if self.leases.settle(&delivery.lease_token).is_some() {
                self.settler.nack(Failure::release().into_nack(&delivery.lease_token));
            }
        }
    }

    /// Waits until all handlers have ended, except abandoned ones; false if that takes longer.
    pub(crate) async fn finished_within(&self, time: Duration) -> bool {
        timeout(time, self.places.subscribe().wait_for(|places| places.taken == places.lost)).await.is_ok()
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.places.borrow().lost >= self.slots
    }

    /// Waits until abandoned handlers take all slots, or no longer do.
    pub(crate) async fn until_stuck(&self, stuck: bool) {
        let mut places = self.places.subscribe();
        // The sender is `self`, so it can't be gone.
        let _ = places.wait_for(|places| (places.lost >= self.slots) == stuck).await;
    }

    /// Starts as many deliveries as there are slots for. It stops at a delivery whose lease may have run out, and is
    /// called again when the server has answered.
    pub(crate) fn start_waiting(self: &Arc<Self>) {
        let mut waiting = self.waiting();
        while let Some(next) = waiting.queue.front().filter(|_| !waiting.paused && self.take_place()) {
            if self.leases.may_have_passed(&next.lease_token) {
                self.leave_place();
                self.leases.doubted.notify_one();
                return;
            }
            let started = waiting.queue.pop_front().is_some_and(|delivery| self.start(delivery));
            if !started {
                self.leave_place();
            }
        }
    }

    fn leave_place(&self) {
        self.places.send_modify(|places| places.taken -= 1);
    }

    fn take_place(&self) -> bool {
        self.places.send_if_modified(|places| {
            let free = places.taken < self.slots;
            places.taken += usize::from(free);
            free
        })
    }

    /// Returns false if the lease was lost before.
    fn start(self: &Arc<Self>, delivery: Delivery) -> bool {
        let Some(cancelled) = self.leases.start(&delivery.lease_token) else {
            return false;
        };
        let executor = Arc::clone(self);
        let handling = async move {
            let left_behind = executor.handle(delivery, cancelled).await;
            executor.places.send_modify(|places| {
                places.taken -= 1;
                places.lost -= usize::from(left_behind);
            });
            executor.start_waiting();
        };
        tokio::spawn(handling.in_current_span());
        true
    }

    /// Runs the handler to its end, and settles the event. Returns whether the handler was abandoned.
    async fn handle(&self, delivery: Delivery, cancelled: CancellationToken) -> bool {
        let running = Running {
            lease_token: delivery.lease_token.clone(),
            event_id: delivery.event_id.clone(),
            attempt: delivery.attempt,
        };
        let (handler, token) = (Arc::clone(&self.handler), running.lease_token.clone());
        let has_key = !delivery.key.is_empty();
        // In its own task, so that a panic stays there. The error's text is made there, too.
        let mut task = tokio::spawn(async move {
            let handled = telemetry::handled(&handler, delivery).await;
            handled.map_err(|failure| match failure.into_nack(&token) {
                nack if nack.pauses_key() && !has_key => nack.retry_instead(),
                nack => nack,
            })
        });
        tokio::select! {
            ended = &mut task => {
                self.settle(&running, outcome(&running, ended));
                return false;
            }
            () = cancelled.cancelled() => {}
            () = sleep(self.max_execution) => self.leases.cancel(&running.lease_token, Cause::MaxExecution),
        }
        task.abort();
        let left_behind = timeout(CANCEL_GRACE, &mut task).await.is_err();
        if left_behind {
            let Running { event_id, attempt, .. } = &running;
            tracing::error!(event_id, attempt, "a cancelled handler has not ended; it keeps its slot until it does");
            self.places.send_modify(|places| places.lost += 1);
        }
        self.settle(&running, Ok(()));
        if left_behind {
            let _ = task.await; // its result no longer counts
        }
        left_behind
    }

    /// Acks, nacks or releases an event, by how its handler ended or why it was cancelled.
    fn settle(&self, running: &Running, outcome: Result<(), Nack>) {
        let Some(cause) = self.leases.settle(&running.lease_token) else {
            return;
        };
        let outcome = match cause {
            None => outcome,
            Some(Cause::Stopped) => Err(Failure::release().into_nack(&running.lease_token)),
            Some(Cause::MaxExecution) => {
                let text = format!("cancelled: the handler ran for longer than {:?}", self.max_execution);
                Err(Failure::new(text).into_nack(&running.lease_token))
            }
        };
        match outcome {
            Ok(()) => self.settler.ack(running.lease_token.clone()),
            Err(nack) => {
                self.settler.nack(nack.clone());
                report(running, &nack);
            }
        }
    }
}

fn outcome(running: &Running, ended: Result<Result<(), Nack>, JoinError>) -> Result<(), Nack> {
    ended.unwrap_or_else(|error| {
        let text = match error.try_into_panic() {
            Ok(panic) => {
                let text = format!("panic: {}", panic_text(panic.as_ref()));
                std::mem::forget(panic); // its own drop may panic
                text
            }
            Err(error) => error.to_string(), // the runtime shuts down
        };
        Err(Nack { lease_token: running.lease_token.clone(), error: cut(text), ..Nack::default() })
    })
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of no text")
}

fn report(running: &Running, nack: &Nack) {
    let Running { event_id, attempt, .. } = running;
    let error = &nack.error;
    match nack.action {
        Action::Release => tracing::debug!(event_id, attempt, "an event was released"),
        Action::DeadLetter => tracing::warn!(event_id, attempt, error, "an event was dead-lettered"),
        Action::RetryAfter(delay) => tracing::info!(event_id, attempt, error, ?delay, "a handler asked for a retry"),
        Action::Retry => match &nack.pause {
            Some(pause) => tracing::info!(event_id, attempt, error, ?pause, "a handler asked for a pause"),
            None => tracing::warn!(event_id, attempt, error, "a handler failed"),
        },
    }
}
