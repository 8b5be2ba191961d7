use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Readiness;
use super::executor::{CANCEL_GRACE, Executor, Handler};
use super::keeper::Keeper;
use super::leases::{Cause, Leases};
use super::options::WorkerOptions;
use super::outage::Outage;
use super::settler::Settler;
use crate::client::Client;
use crate::delivery::Delivery;
use crate::error::{Error, Reason};
use crate::proto::subscribe_response::Frame;
use crate::proto::{Closing, Started, SubscribeRequest, closing};
use crate::retry::Backoff;
use crate::settle::{fitting, to_proto, to_std};
use crate::subscription::Subscription;

/// A frame in flight when the handlers are paused arrives within `QUIET`; `QUIET_AT_MOST` bounds the wait for a server
/// that keeps sending.
const QUIET: Duration = Duration::from_millis(50);
const QUIET_AT_MOST: Duration = Duration::from_secs(1);

/// Handles the events of one topic and group: a stream that is reopened whenever it ends, the executor that it feeds,
/// and the keeper of their leases.
pub(crate) struct Stream {
    client: Client,
    topic: String,
    options: WorkerOptions,
    leases: Arc<Leases>,
    settler: Arc<Settler>,
    executor: Arc<Executor>,
    keeper: Keeper,
    /// Counts the handlers that have subscribed for the first time.
    readiness: watch::Sender<Readiness>,
}

/// What outlives one connection to the server.
struct Progress {
    pauses: Backoff,
    outage: Outage,
    subscribed: bool,
    /// The group has limits, so that nothing is prefetched.
    limited: bool,
    /// The group; once the server has named it, that name.
    group: String,
}

/// Cancels the handlers of a worker whose future is dropped.
struct CancelOnDrop(Arc<Leases>, Arc<Executor>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.1.pause();
        self.0.cancel_all(Cause::Stopped);
    }
}

impl Stream {
    pub(crate) fn new(
        client: Client,
        topic: String,
        options: WorkerOptions,
        handler: Handler,
        readiness: watch::Sender<Readiness>,
    ) -> Self {
        let leases = Arc::new(Leases::new(options.lease));
        let settler = Arc::new(Settler::new(&client, &leases));
        let executor = Arc::new(Executor::new(
            handler,
            options.slots(),
            options.max_execution,
            Arc::clone(&leases),
            Arc::clone(&settler),
        ));
        let keeper = Keeper::new(client.clone(), Arc::clone(&leases), options.lease);
        Self { client, topic, options, leases, settler, executor, keeper, readiness }
    }

    /// Handles events until `stop`, and then drains: it finishes running handlers, for at most the drain timeout, and
    /// gives back the rest. Ends with an error that no retry can cure; then, too, it has cancelled `stop`.
    #[expect(clippy::large_futures, reason = "it is spawned, so it is on the heap anyway")]
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let unnamed = if self.options.ephemeral { "ephemeral" } else { "default" };
        let group = if self.options.group.is_empty() { unnamed } else { &self.options.group };
        let span = tracing::info_span!("worker", topic = self.topic, group);
        let _cancelled = CancelOnDrop(Arc::clone(&self.leases), Arc::clone(&self.executor));
        async {
            let reading = CancellationToken::new();
            let work = async {
                let result = self.read(&reading).await;
                stop.cancel();
                self.finish().await;
                result
            };
            let helpers = async {
                tokio::select! {
                    error = self.settler.run() => error,
                    error = self.keeper.run(|| self.executor.start_waiting()) => error,
                }
            };
            let stopping = async {
                stop.cancelled().await;
                reading.cancel();
                std::future::pending().await
            };
            tokio::select! {
                result = work => result,
                // Without them nothing can be settled any more.
                error = helpers => {
                    tracing::error!(%error, "the worker can no longer settle or extend leases");
                    stop.cancel();
                    Err(error)
                }
                result = stopping => result,
            }
        }
        .instrument(span)
        .await
    }

    /// Waits for the handlers and for their settles.
    async fn finish(&self) {
        if timeout(self.options.drain_timeout, self.settled(self.options.drain_timeout)).await.unwrap_or(false) {
            return;
        }
        self.leases.cancel_all(Cause::Stopped);
        if !self.settled(2 * CANCEL_GRACE).await {
            let count = self.leases.tokens().len();
            tracing::warn!(count, "stopped with unsettled leases; their events will be delivered again");
        }
    }

    async fn settled(&self, time: Duration) -> bool {
        self.executor.finished_within(time).await && self.leases.none_within(time).await
    }

    /// Reads streams until `stop`. Deliveries that were not started are then released.
    async fn read(&self, stop: &CancellationToken) -> Result<(), Error> {
        let mut progress = Progress {
            pauses: Backoff::of_reconnects(),
            outage: Outage::default(),
            subscribed: false,
            limited: false,
            group: self.options.group.clone(),
        };
        let result = self.read_on(stop, &mut progress).await;
        self.executor.pause();
        self.executor.release();
        self.settler.resume();
        result
    }

    async fn read_on(&self, stop: &CancellationToken, progress: &mut Progress) -> Result<(), Error> {
        while !stop.is_cancelled() {
            self.until_usable(stop).await;
            let read = self.read_one(stop, progress).await;
            self.keeper.detach();
            let pause = match read {
                Ok(pause) => pause,
                Err(_) if stop.is_cancelled() => break,
                Err(error) => pause_after(&error, progress).ok_or(error)?,
            };
            let _ = stop.run_until_cancelled(sleep(pause)).await;
        }
        Ok(())
    }

    /// While abandoned handlers take every slot, other workers can handle what waits here.
    async fn until_usable(&self, stop: &CancellationToken) {
        if self.executor.is_stuck() {
            tracing::error!("cancelled handlers occupy every slot; unsubscribed until one ends");
            self.executor.release();
            let _ = stop.run_until_cancelled(self.executor.until_stuck(false)).await;
        }
    }

    /// Reads a stream until it ends; returns how long to wait before the next.
    async fn read_one(&self, stop: &CancellationToken, progress: &mut Progress) -> Result<Duration, Error> {
        let window = self.options.window(progress.limited);
        let opening = timeout(self.client.timeout, self.open(&progress.group, window));
        let Some(opened) = stop.run_until_cancelled(opening).await else {
            return Ok(Duration::ZERO);
        };
        let late = |_| Error::new(Reason::DeadlineExceeded, "the server did not start the subscription in time");
        let Some((mut frames, started)) = opened.map_err(late)?? else {
            return Ok(progress.pauses.next());
        };
        self.on_started(&started, progress);
        if window > self.options.window(started.limited) {
            self.close_when_quiet(frames).await;
            return Ok(Duration::ZERO);
        }
        loop {
            tokio::select! {
                frame = frames.next() => match frame {
                    None => return Ok(progress.pauses.next()),
                    Some(Ok(Frame::Closing(closing))) => return Ok(pause_after_closing(closing, progress)),
                    Some(frame) => self.take(frame?),
                },
                () = self.executor.until_stuck(true) => return Ok(Duration::ZERO),
                () = stop.cancelled() => {
                    self.drain(&mut frames).await;
                    return Ok(Duration::ZERO);
                }
            }
        }
    }

    /// Opens a stream and waits for its first frame; none when the server ends it before.
    async fn open(&self, group: &str, window: u32) -> Result<Option<(Subscription, Started)>, Error> {
        let (request, all_named) = self.request(group, window);
        let mut frames = self.client.subscribe(request).await?;
        while let Some(frame) = frames.next().await {
            if let Frame::Started(started) = frame? {
                if !all_named {
                    self.leases.doubted.notify_one(); // the server lets those run out that the stream did not name
                }
                return Ok(Some((frames, started)));
            }
        }
        Ok(None)
    }

    /// Names the leases that are held: all, if so many fit into the request, which is the second value.
    fn request(&self, group: &str, window: u32) -> (SubscribeRequest, bool) {
        let options = &self.options;
        let mut held = self.leases.tokens();
        let named = fitting(&held, self.client.max_request_bytes(), String::len);
        let all_named = named == held.len();
        held.truncate(named);
        let request = SubscribeRequest {
            topic: self.topic.clone(),
            group: group.to_owned(),
            engine: options.engine.into(),
            consumer: options.consumer.clone(),
            max_in_flight: window,
            max_in_flight_bytes: options.max_in_flight_bytes,
            lease: Some(to_proto(options.lease)),
            disconnect_grace: options.disconnect_grace.map(to_proto),
            held_lease_tokens: held,
            ephemeral: options.ephemeral,
        };
        (request, all_named)
    }

    fn on_started(&self, frame: &Started, progress: &mut Progress) {
        if !frame.group.is_empty() {
            progress.group.clone_from(&frame.group);
        }
        let leases_lost = self.leases.lose(frame.lost_lease_tokens.iter().map(String::as_str));
        let leases_kept = self.leases.tokens().len();
        tracing::info!(session = frame.session_id, leases_kept, leases_lost, "subscribed");
        let lease = frame.lease.map_or(self.options.lease, to_std);
        self.client.limit_requests(frame.max_request_bytes);
        progress.limited = frame.limited;
        self.leases.last(lease);
        self.keeper.attach(lease, frame.disconnect_grace.map(to_std).unwrap_or_default());
        self.settler.retry_now();
        progress.pauses.reset();
        progress.outage.over();
        if !std::mem::replace(&mut progress.subscribed, true) {
            self.readiness.send_modify(|readiness| readiness.started += 1);
        }
    }

    fn take(&self, frame: Frame) {
        if let Frame::Deliveries(frame) = frame {
            self.executor.accept(frame.deliveries.into_iter().map(Delivery::from));
        }
    }

    /// Closes a stream that holds more than the handlers can begin, so that the next one prefetches nothing.
    async fn close_when_quiet(&self, mut frames: Subscription) {
        self.settler.hold(); // each settle makes the server send more
        self.until_quiet(&mut frames).await;
        drop(frames);
        self.settler.resume();
    }

    async fn drain(&self, frames: &mut Subscription) {
        self.executor.pause();
        self.settler.hold();
        self.until_quiet(frames).await;
    }

    /// Waits until no delivery is in flight. One that arrives after the stream is closed can't be released: it costs an
    /// attempt and the disconnect grace.
    async fn until_quiet(&self, frames: &mut Subscription) {
        let draining = async {
            while let Ok(Some(Ok(frame))) = timeout(QUIET, frames.next()).await {
                self.take(frame);
            }
        };
        let _ = timeout(QUIET_AT_MOST, draining).await;
    }
}

fn pause_after_closing(frame: Closing, progress: &mut Progress) -> Duration {
    if frame.reason() == closing::Reason::Rebalance {
        tracing::debug!("the server asked to subscribe again, so that all servers have their share");
        return Duration::ZERO;
    }
    // The added backoff spreads out the workers of a server that closes all its streams at once.
    let pause = frame.reconnect_after.map(to_std).unwrap_or_default() + progress.pauses.next();
    tracing::info!(reason = ?frame.reason(), ?pause, "the server closed the stream");
    pause
}

/// None when the error does not heal.
fn pause_after(error: &Error, progress: &mut Progress) -> Option<Duration> {
    if !error.reason().heals() {
        tracing::error!(%error, "the subscription ended");
        return None;
    }
    let pause = progress.pauses.next() + error.retry_after().unwrap_or_default();
    if progress.outage.warns() {
        tracing::warn!(%error, ?pause, "the stream broke");
    } else {
        tracing::debug!(%error, ?pause, "the stream broke");
    }
    Some(pause)
}
