use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::fake_bus::{FakeBus, next, refusal, soon};
use crate::proto::nack::Action;
use crate::proto::subscribe_response::Frame;
use crate::proto::{AckResponse, Closing, ExtendResponse, LeaseFailure, NackResponse, closing, lease_failure};
use crate::{Client, ClientOptions, Delivery, Error, Event, Failure, Next, PauseScope, Reason, Worker, WorkerOptions};

/// A running worker; dropping `stop` stops it.
struct Working {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), Error>>,
}

fn work<H, F>(bus: &FakeBus, options: WorkerOptions, handler: H) -> Working
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    run(Worker::new(&bus.client(ClientOptions::default())).handle("t", options, handler))
}

fn run(worker: Worker) -> Working {
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(worker.run(async move { drop(stopped.await) }));
    Working { stop, ended }
}

impl Working {
    async fn stop(self) -> Result<(), Error> {
        drop(self.stop);
        soon(self.ended).await.unwrap()
    }
}

/// Reports if it is dropped before its end.
struct Dropped(String, UnboundedSender<String>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.1.send(self.0.clone());
    }
}

/// Handlers that report their start and their end or cancellation; they end when the gate opens.
fn holding() -> (
    impl Fn(Delivery) -> Holding + Send + Sync + 'static,
    UnboundedReceiver<String>,
    UnboundedReceiver<String>,
    Arc<Semaphore>,
) {
    let (begin, begun) = unbounded_channel();
    let (end, ended) = unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let keeper = Arc::clone(&gate);
    let handler = move |delivery: Delivery| -> Holding {
        let (begin, end, gate) = (begin.clone(), end.clone(), Arc::clone(&keeper));
        Box::pin(async move {
            let _dropped = Dropped(delivery.event_id.clone(), end);
            let _ = begin.send(delivery.event_id);
            gate.acquire().await?.forget();
            Ok(())
        })
    };
    (handler, begun, ended, gate)
}

type Holding = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

fn options() -> WorkerOptions {
    WorkerOptions { group: "billing".to_owned(), consumer: "c".to_owned(), ..WorkerOptions::default() }
}

#[tokio::test]
async fn an_event_is_acked_when_its_handler_returns() {
    let mut bus = FakeBus::start().await;
    let working = work(&bus, WorkerOptions { max_in_flight: 7, ..options() }, async |_| Ok(()));
    let stream = next(&mut bus.streams).await;
    assert_eq!((stream.request.topic.as_str(), stream.request.group.as_str()), ("t", "billing"));
    assert_eq!((stream.request.consumer.as_str(), stream.request.max_in_flight), ("c", 7));
    stream.deliver(&["a"]);
    assert_eq!(next(&mut bus.acks).await.lease_tokens, ["lease-a"]);
    working.stop().await.unwrap();
    assert!(bus.nacks.try_recv().is_err());
}

#[tokio::test]
async fn a_delivery_has_the_key_of_its_event() {
    let mut bus = FakeBus::start().await;
    let (got, mut keys) = unbounded_channel();
    let working = work(&bus, options(), move |delivery| {
        let got = got.clone();
        async move { Ok(got.send(delivery.key)?) }
    });
    next(&mut bus.streams).await.deliver(&["a"]);
    assert_eq!(next(&mut keys).await, "key-a");
    working.stop().await.unwrap();
}

#[derive(Debug)]
struct BadError;

impl std::error::Error for BadError {}

impl std::fmt::Display for BadError {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no text")
    }
}

struct BadPanic;

impl Drop for BadPanic {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "no drop");
    }
}

#[tokio::test]
async fn a_delivery_whose_lease_has_run_out_is_not_started() {
    let mut bus = FakeBus::start().await;
    let lost =
        |id: &str| LeaseFailure { lease_token: format!("lease-{id}"), reason: lease_failure::Reason::Expired.into() };
    bus.answers
        .extend
        .lock()
        .unwrap()
        .extend(["stale", "waited"].map(|id| Ok(ExtendResponse { failures: vec![lost(id)] })));
    let (handler, mut begun, _ended, gate) = holding();
    let _working = work(&bus, WorkerOptions { concurrency: Some(1), ..options() }, handler);
    let stream = next(&mut bus.streams).await;
    stream.deliver_until(SystemTime::now() - Duration::from_secs(1), &["stale"]);
    stream.deliver(&["fresh"]);
    assert_eq!(next(&mut begun).await, "fresh");

    stream.deliver_until(SystemTime::now() - Duration::from_secs(1), &["waited"]);
    stream.deliver(&["last"]);
    gate.add_permits(2);
    assert_eq!(next(&mut begun).await, "last");
    assert!(bus.nacks.try_recv().is_err());
}

#[tokio::test]
async fn settles_extensions_and_held_tokens_fit_into_the_largest_request() {
    const LIMIT: usize = 64 << 10;
    let mut bus = FakeBus::start().await;
    *bus.answers.max_request_bytes.lock().unwrap() = LIMIT as u64;
    *bus.answers.lease.lock().unwrap() = Some(Duration::from_secs(1));
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let options = WorkerOptions { max_in_flight: 1000, concurrency: Some(50), ..options() };
    let _working = work(&bus, options, move |_| {
        let gate = Arc::clone(&waiting);
        async move {
            gate.acquire().await?.forget();
            Err(Failure::new("x".repeat(4096)))
        }
    });
    let stream = next(&mut bus.streams).await;
    let ids: Vec<String> = (0..1000).map(|number| format!("{number:0100}")).collect();
    stream.deliver(&ids.iter().map(String::as_str).collect::<Vec<_>>());

    let mut extended = 0;
    while extended < ids.len() {
        let request = next(&mut bus.extends).await;
        assert!(request.encoded_len() <= LIMIT);
        extended += request.lease_tokens.len();
    }
    drop(stream);
    let held = next(&mut bus.streams).await.request;
    assert!(held.encoded_len() <= LIMIT && held.held_lease_tokens.len() > 100);
    gate.add_permits(1000);
    let mut nacked = 0;
    while nacked < 50 {
        let request = next(&mut bus.nacks).await;
        assert!(request.encoded_len() <= LIMIT);
        nacked += request.nacks.len();
    }
}

#[tokio::test]
async fn differing_clocks_do_not_keep_deliveries_from_starting() {
    let mut bus = FakeBus::start().await;
    let _working = work(&bus, options(), async |_| Ok(()));
    let stream = next(&mut bus.streams).await;
    let engine = SystemTime::now() - Duration::from_secs(3600); // this host's clock is an hour ahead
    for id in ["a", "b", "c"] {
        stream.deliver_until(engine + Duration::from_secs(30), &[id]);
        assert_eq!(next(&mut bus.acks).await.lease_tokens, [format!("lease-{id}")]);
    }
    next(&mut bus.extends).await;
    assert!(bus.extends.try_recv().is_err());
}

#[tokio::test]
async fn ready_ends_if_the_worker_can_not_subscribe() {
    let bus = FakeBus::start().await;
    let refused = refusal(Code::PermissionDenied, "PERMISSION_DENIED", vec![]);
    bus.answers.subscribe.lock().unwrap().push_back(refused);
    let worker = Worker::new(&bus.client(ClientOptions::default())).handle("t", options(), async |_| Ok(()));
    let ready = worker.ready();
    let error = soon(worker.run(std::future::pending())).await.unwrap_err();
    assert_eq!(*error.reason(), Reason::PermissionDenied);
    assert!(!soon(ready).await);
}

#[tokio::test]
async fn ready_ends_when_run_fails_while_a_handler_still_runs() {
    let mut bus = FakeBus::start().await;
    let (refuse, refused) = oneshot::channel();
    *bus.answers.refused.lock().unwrap() = Some(("refused", refused));
    let (handler, mut begun, _ended, gate) = holding();
    let options = WorkerOptions { drain_timeout: Duration::from_secs(3600), ..options() };
    let worker = Worker::new(&bus.client(ClientOptions::default())).handle("t", options.clone(), handler).handle(
        "refused",
        options,
        async |_| Ok(()),
    );
    let ready = worker.ready();
    let ended = tokio::spawn(worker.run(std::future::pending()));
    next(&mut bus.streams).await.deliver(&["a"]);
    next(&mut begun).await;
    refuse.send(refusal(Code::PermissionDenied, "PERMISSION_DENIED", vec![])).unwrap();
    assert!(!soon(ready).await);
    assert!(!ended.is_finished());
    gate.add_permits(1);
    assert_eq!(*soon(ended).await.unwrap().unwrap_err().reason(), Reason::PermissionDenied);
}

#[tokio::test]
async fn ready_ends_when_run_fails_because_there_is_no_handler() {
    let bus = FakeBus::start().await;
    let worker = Worker::new(&bus.client(ClientOptions::default()));
    let ready = worker.ready();
    soon(worker.run(std::future::pending())).await.unwrap_err();
    assert!(!soon(ready).await);
}

#[cfg(feature = "json")]
fn work_json<T: serde::de::DeserializeOwned + Send + 'static>(bus: &FakeBus) -> (Working, UnboundedReceiver<T>) {
    let (got, payloads) = unbounded_channel();
    let handler = move |payload: T, delivery: Delivery| {
        let got = got.clone();
        async move {
            assert_eq!(delivery.event_id, "a");
            got.send(payload).map_err(|_| "the test is over")?;
            Ok(())
        }
    };
    let worker = Worker::new(&bus.client(ClientOptions::default())).handle_json("t", options(), handler);
    (run(worker), payloads)
}

#[cfg(feature = "json")]
#[tokio::test]
async fn a_typed_handler_gets_the_decoded_payload() {
    #[derive(serde::Deserialize)]
    struct Order {
        id: u64,
    }
    let mut bus = FakeBus::start().await;
    let (_working, mut payloads) = work_json::<Order>(&bus);
    next(&mut bus.streams).await.deliver(&["a"]);
    assert_eq!(next(&mut payloads).await.id, 42);
    assert_eq!(next(&mut bus.acks).await.lease_tokens, ["lease-a"]);
}

#[cfg(feature = "json")]
#[tokio::test]
async fn a_payload_that_does_not_fit_a_typed_handler_is_a_dead_letter() {
    let mut bus = FakeBus::start().await;
    let (_working, mut payloads) = work_json::<Vec<u64>>(&bus);
    next(&mut bus.streams).await.deliver(&["a"]);
    let nack = next(&mut bus.nacks).await.nacks.remove(0);
    assert_eq!(nack.action, Some(Action::DeadLetter(true)));
    assert!(nack.error.starts_with("the payload does not fit: invalid type: map"), "{}", nack.error);
    assert!(payloads.try_recv().is_err());
}

#[tokio::test]
async fn a_handler_decides_about_its_event() {
    let mut bus = FakeBus::start().await;
    let handler = async |delivery: Delivery| match delivery.event_id.as_str() {
        "error" => Err(std::io::Error::other("the card is busy"))?,
        "text" => Err(Failure::new("ä".repeat(4000))),
        "retry" => Err(Failure::retry_after(Duration::from_secs(1), "busy")),
        "dead" => Err(Failure::dead_letter("hopeless")),
        "release" => Err(Failure::release()),
        "bad error" => Err(BadError)?,
        "anyhow" => Err(anyhow::anyhow!("no ink").context("printing"))?,
        "bad panic" => std::panic::panic_any(BadPanic),
        _ => panic!("boom"),
    };
    let _working = work(&bus, WorkerOptions { concurrency: Some(1), ..options() }, handler);
    let stream = next(&mut bus.streams).await;
    for (id, error, action) in [
        ("error", "the card is busy".to_owned(), None),
        ("text", "ä".repeat(2048), None),
        ("retry", "busy".to_owned(), Some(Action::Delay(prost_types::Duration { seconds: 1, nanos: 0 }))),
        ("dead", "hopeless".to_owned(), Some(Action::DeadLetter(true))),
        ("release", String::new(), Some(Action::Release(true))),
        ("bad error", "panic: no text".to_owned(), None),
        ("anyhow", "printing".to_owned(), None),
        ("bad panic", "panic: of no text".to_owned(), None),
        ("panic", "panic: boom".to_owned(), None),
    ] {
        stream.deliver(&[id]);
        let nack = next(&mut bus.nacks).await.nacks.remove(0);
        assert_eq!((nack.lease_token, nack.error, nack.action), (format!("lease-{id}"), error, action));
    }
    assert!(bus.acks.try_recv().is_err());
}

#[tokio::test]
async fn interceptors_of_handlers_are_called_in_their_order() {
    let mut bus = FakeBus::start().await;
    let (call, mut calls) = unbounded_channel();
    let noting = |name: &'static str| {
        let call = call.clone();
        move |delivery, next: Next<Delivery, Result<(), Failure>>| {
            call.send(name).unwrap();
            next.run(delivery)
        }
    };
    let worker = Worker::new(&bus.client(ClientOptions::default()))
        .interceptor(noting("a"))
        .handle("t", options(), async |_| Ok(()))
        .interceptor(noting("b"))
        .interceptor(async |_, _| Err(Failure::dead_letter("refused")));
    let working = run(worker);
    next(&mut bus.streams).await.deliver(&["a"]);
    let nack = next(&mut bus.nacks).await.nacks.remove(0);
    assert_eq!((nack.error.as_str(), nack.action), ("refused", Some(Action::DeadLetter(true))));
    assert_eq!([next(&mut calls).await, next(&mut calls).await], ["a", "b"]);
    working.stop().await.unwrap();
}

#[tokio::test]
async fn concurrency_limits_running_handlers() {
    let mut bus = FakeBus::start().await;
    let (handler, mut begun, _ended, gate) = holding();
    let _working = work(&bus, WorkerOptions { concurrency: Some(2), ..options() }, handler);
    let stream = next(&mut bus.streams).await;
    stream.deliver(&["a", "b", "c"]);
    next(&mut begun).await;
    next(&mut begun).await;
    assert!(begun.try_recv().is_err());
    gate.add_permits(1);
    assert_eq!(next(&mut begun).await, "c");
}

#[tokio::test]
async fn settles_are_retried_until_they_succeed() {
    let mut bus = FakeBus::start().await;
    let reason = lease_failure::Reason::EngineStopped.into();
    let stopped = AckResponse { failures: vec![LeaseFailure { lease_token: "lease-a".to_owned(), reason }] };
    bus.answers.ack.lock().unwrap().extend([Err(Status::unavailable("away")), Ok(stopped)]);
    let working = work(&bus, options(), async |_| Ok(()));
    let stream = next(&mut bus.streams).await;
    stream.deliver(&["a"]);
    for _ in 0..3 {
        assert_eq!(next(&mut bus.acks).await.lease_tokens, ["lease-a"]);
    }
    working.stop().await.unwrap();
    assert!(bus.acks.try_recv().is_err());
}

#[tokio::test]
async fn leases_are_extended_while_handlers_run_and_events_wait() {
    let mut bus = FakeBus::start().await;
    *bus.answers.lease.lock().unwrap() = Some(Duration::from_millis(600));
    let (handler, _begun, _ended, _gate) = holding();
    let _working = work(&bus, WorkerOptions { concurrency: Some(1), ..options() }, handler);
    let stream = next(&mut bus.streams).await;
    stream.deliver(&["a", "waits"]);
    for _ in 0..3 {
        let extended = next(&mut bus.extends).await;
        assert_eq!(extended.lease_tokens.len(), 2);
        assert_eq!(extended.lease.unwrap().nanos, 600_000_000);
    }
}

#[tokio::test]
async fn a_handler_whose_lease_is_lost_is_cancelled_and_settles_nothing() {
    let mut bus = FakeBus::start().await;
    *bus.answers.lease.lock().unwrap() = Some(Duration::from_millis(600));
    let reason = lease_failure::Reason::Expired.into();
    let lost = ExtendResponse { failures: vec![LeaseFailure { lease_token: "lease-a".to_owned(), reason }] };
    bus.answers.extend.lock().unwrap().push_back(Ok(lost));
    let (handler, _begun, mut ended, _gate) = holding();
    let working = work(&bus, options(), handler);
    let stream = next(&mut bus.streams).await;
    stream.deliver(&["a"]);
    assert_eq!(next(&mut ended).await, "a");
    working.stop().await.unwrap();
    assert!(bus.acks.try_recv().is_err() && bus.nacks.try_recv().is_err());
}

#[tokio::test]
async fn a_handler_that_runs_too_long_is_cancelled_and_its_event_nacked() {
    let mut bus = FakeBus::start().await;
    let (handler, _begun, mut ended, _gate) = holding();
    let max_execution = Duration::from_millis(50);
    let _working = work(&bus, WorkerOptions { max_execution, ..options() }, handler);
    let stream = next(&mut bus.streams).await;
    stream.deliver(&["a"]);
    assert_eq!(next(&mut ended).await, "a");
    let nack = next(&mut bus.nacks).await.nacks.remove(0);
    assert_eq!(nack.error, "cancelled: the handler ran for longer than 50ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_that_blocks_its_thread_keeps_its_slot_and_its_event_is_settled() {
    let mut bus = FakeBus::start().await;
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Arc::new(std::sync::Mutex::new(blocked));
    let handler = move |delivery: Delivery| {
        let blocked = Arc::clone(&blocked);
        async move {
            if delivery.event_id == "blocks" {
                let _ = blocked.lock().unwrap().recv();
            }
            Ok(())
        }
    };
    let max_execution = Duration::from_millis(500);
    let _working = work(&bus, WorkerOptions { max_execution, concurrency: Some(1), ..options() }, handler);
    let stream = next(&mut bus.streams).await;
    // The blocked thread may be the one that watches tokio's timers. Another does that once it has something to run.
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        for _ in 0..1500 {
            runtime.spawn(async {});
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    stream.deliver(&["blocks", "waits"]);
    let nacked = [next(&mut bus.nacks).await, next(&mut bus.nacks).await].map(|mut each| each.nacks.remove(0));
    assert!(nacked[0].error.contains("longer than"));
    assert_eq!(nacked[1].action, Some(Action::Release(true))); // others can handle it
    unblock.send(()).unwrap();
    let stream = next(&mut bus.streams).await;
    stream.deliver(&["later"]); // it subscribes again
    assert_eq!(next(&mut bus.acks).await.lease_tokens, ["lease-later"]);
}

#[tokio::test]
async fn a_broken_stream_is_resumed_with_the_leases_still_held() {
    let mut bus = FakeBus::start().await;
    let (handler, mut begun, _ended, gate) = holding();
    let _working = work(&bus, options(), handler);
    let stream = next(&mut bus.streams).await;
    stream.deliver(&["a"]);
    next(&mut begun).await;
    bus.answers.subscribe.lock().unwrap().push_back(Status::internal("bad luck"));
    stream.frames.send(Err(Status::unavailable("away"))).unwrap();
    let resumed = next(&mut bus.streams).await;
    assert_eq!(resumed.request.held_lease_tokens, ["lease-a"]);
    gate.add_permits(1);
    assert_eq!(next(&mut bus.acks).await.lease_tokens, ["lease-a"]);
}

#[tokio::test]
async fn a_closing_frame_sets_the_reconnect_delay() {
    let mut bus = FakeBus::start().await;
    let _working = work(&bus, options(), async |_| Ok(()));
    let stream = next(&mut bus.streams).await;
    let closed = std::time::Instant::now();
    let reconnect_after = Some(prost_types::Duration { seconds: 0, nanos: 300_000_000 });
    stream.send(Frame::Closing(Closing { reconnect_after, ..Closing::default() }));
    next(&mut bus.streams).await;
    assert!(closed.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn streams_that_are_rebalanced_go_in_turn_to_all_servers_at_once() {
    let (mut one, mut other) = (FakeBus::start().await, FakeBus::start().await);
    let client = Client::new(&format!("{},{}", one.address, other.address), ClientOptions::default()).unwrap();
    let (handler, mut begun, _ended, gate) = holding();
    let working = run(Worker::new(&client).handle("t", options(), handler));
    let (mut stream, mut is_on_one) = tokio::select! {
        stream = next(&mut one.streams) => (stream, true),
        stream = next(&mut other.streams) => (stream, false),
    };
    stream.deliver(&["a"]);
    next(&mut begun).await;

    // A worker that paused as after any other closing would not come within the test's time.
    let reconnect_after = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    for _ in 0..20 {
        let reason = closing::Reason::Rebalance.into();
        stream.send(Frame::Closing(Closing { reason, reconnect_after }));
        is_on_one = !is_on_one;
        stream = next(if is_on_one { &mut one.streams } else { &mut other.streams }).await;
        assert_eq!(stream.request.held_lease_tokens, ["lease-a"]);
        client.dispatch("t", Event::new("x")).await.unwrap();
    }
    gate.add_permits(1);
    working.stop().await.unwrap();
}

#[tokio::test]
async fn an_error_that_no_retry_can_cure_ends_the_worker() {
    let bus = FakeBus::start().await;
    let refused = refusal(Code::InvalidArgument, "INVALID_ARGUMENT", Vec::new());
    bus.answers.subscribe.lock().unwrap().push_back(refused);
    let working = work(&bus, options(), async |_| Ok(()));
    let error = soon(working.ended).await.unwrap().unwrap_err();
    assert_eq!(*error.reason(), Reason::InvalidArgument);
}

#[tokio::test]
async fn a_stopping_worker_finishes_running_handlers_and_releases_the_rest() {
    let mut bus = FakeBus::start().await;
    let (handler, mut begun, _ended, gate) = holding();
    let working = work(&bus, WorkerOptions { concurrency: Some(1), ..options() }, handler);
    let stream = next(&mut bus.streams).await;
    stream.deliver(&["a", "waits"]);
    next(&mut begun).await;
    drop(working.stop);
    let nack = next(&mut bus.nacks).await.nacks.remove(0);
    assert_eq!((nack.lease_token.as_str(), nack.action), ("lease-waits", Some(Action::Release(true))));
    gate.add_permits(1);
    soon(working.ended).await.unwrap().unwrap();
    assert_eq!(next(&mut bus.acks).await.lease_tokens, ["lease-a"]);
}

#[tokio::test]
async fn a_handler_that_outlasts_the_drain_is_cancelled_and_its_event_released() {
    let mut bus = FakeBus::start().await;
    let (handler, mut begun, mut ended, _gate) = holding();
    let drain_timeout = Duration::from_millis(50);
    let working = work(&bus, WorkerOptions { drain_timeout, ..options() }, handler);
    let stream = next(&mut bus.streams).await;
    stream.deliver(&["a"]);
    next(&mut begun).await;
    working.stop().await.unwrap();
    assert_eq!(next(&mut ended).await, "a");
    assert_eq!(next(&mut bus.nacks).await.nacks[0].action, Some(Action::Release(true)));
}

#[tokio::test]
async fn dropping_a_worker_cancels_its_handlers() {
    let mut bus = FakeBus::start().await;
    let (handler, mut begun, mut ended, _gate) = holding();
    let working = work(&bus, options(), handler);
    let stream = next(&mut bus.streams).await;
    stream.deliver(&["a"]);
    next(&mut begun).await;
    working.ended.abort();
    assert_eq!(next(&mut ended).await, "a");
}

#[tokio::test]
async fn a_bad_option_is_named() {
    let bus = FakeBus::start().await;
    for (bad, field) in [
        (WorkerOptions { max_in_flight: 0, ..options() }, "max_in_flight"),
        (WorkerOptions { lease: Duration::from_millis(99), ..options() }, "lease"),
        (WorkerOptions { max_execution: Duration::ZERO, ..options() }, "max_execution"),
        (WorkerOptions { concurrency: Some(0), ..options() }, "concurrency"),
    ] {
        let working = work(&bus, bad, async |_| Ok(()));
        assert_eq!(soon(working.ended).await.unwrap().unwrap_err().field_violations()[0].field, field);
    }
}

#[tokio::test]
async fn a_pause_of_a_key_that_cannot_be_paused_is_a_retry() {
    let mut bus = FakeBus::start().await;
    let no_key = LeaseFailure { lease_token: "lease-a".to_owned(), reason: lease_failure::Reason::NoKey.into() };
    bus.answers.nack.lock().unwrap().push_back(Ok(NackResponse { failures: vec![no_key] }));
    let working = work(&bus, options(), async |_| {
        Err(Failure::rate_limited(Duration::from_secs(7200), PauseScope::Key, "too many requests"))
    });
    next(&mut bus.streams).await.deliver(&["a"]);
    let paused = next(&mut bus.nacks).await.nacks.remove(0);
    let hour = prost_types::Duration { seconds: 3600, nanos: 0 };
    assert_eq!(paused.pause.as_ref().and_then(|pause| pause.duration), Some(hour));
    assert_eq!((paused.action, paused.error.as_str()), (None, "too many requests"));
    let retried = next(&mut bus.nacks).await.nacks.remove(0);
    assert_eq!((retried.pause, retried.action), (None, Some(Action::Delay(hour))));
    working.stop().await.unwrap();
    assert!(bus.nacks.try_recv().is_err());
}

#[tokio::test]
async fn a_worker_of_a_group_with_limits_prefetches_nothing() {
    let mut bus = FakeBus::start().await;
    *bus.answers.limited.lock().unwrap() = true;
    let (handler, mut begun, _ended, gate) = holding();
    let working = work(&bus, WorkerOptions { max_in_flight: 8, concurrency: Some(2), ..options() }, handler);
    let first = next(&mut bus.streams).await;
    first.deliver(&["a", "b", "c"]);
    next(&mut begun).await;
    let second = next(&mut bus.streams).await;
    assert_eq!((first.request.max_in_flight, second.request.max_in_flight), (8, 2));
    let mut held = second.request.held_lease_tokens.clone();
    held.sort();
    assert_eq!(held, ["lease-a", "lease-b", "lease-c"]);
    gate.add_permits(3);
    let mut acked = 0;
    while acked < 3 {
        acked += next(&mut bus.acks).await.lease_tokens.len();
    }
    working.stop().await.unwrap();
    assert!(bus.streams.try_recv().is_err());
    assert!(bus.nacks.try_recv().is_err());
}

/// Has a client and its worker handle an event each, and ends both.
async fn open_and_close(bus: &mut FakeBus) {
    let client = bus.client(ClientOptions::default());
    let working = run(Worker::new(&client).handle("t", options(), async |_| Ok(())));
    let stream = next(&mut bus.streams).await;
    soon(client.dispatch("t", Event::new("x"))).await.unwrap();
    stream.deliver(&["a"]);
    next(&mut bus.acks).await;
    working.stop().await.unwrap();
    client.close();
}

#[tokio::test]
async fn a_hundred_clients_and_workers_leave_no_task_behind() {
    let mut bus = FakeBus::start().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..100 {
        open_and_close(&mut bus).await;
    }
    // A task that has been told to end sends no signal when it has.
    let ended = async {
        while tasks() > before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), ended).await;
    assert!(in_time.is_ok(), "{} tasks at the end, {before} at the beginning", tasks());
}
