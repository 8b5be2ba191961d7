use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_types::pb;

use super::fake_bus::{FakeBus, detail, next, refusal, soon};
use crate::proto::subscribe_response::Frame;
use crate::proto::{DispatchResponse, PartialDispatch, SubscribeRequest};
use crate::servers::Lookup;
use crate::{Client, ClientOptions, Dispatch, DispatchOptions, Dispatched, Engine, Error, Event, Next, Reason};

type Stored = Result<Vec<Dispatched>, Error>;

#[tokio::test]
async fn an_unavailable_dispatch_is_retried_with_the_same_request_id() {
    let mut bus = FakeBus::start().await;
    bus.answers.dispatch.lock().unwrap().push_back(Err(Status::unavailable("away")));
    let client = bus.client(ClientOptions { token: Some("secret".to_owned()), ..ClientOptions::default() });
    let dispatched = soon(client.dispatch("t", Event::new("x").id("a"))).await.unwrap();
    assert_eq!((dispatched.event_id.as_str(), dispatched.duplicate), ("a", false));
    let (first, second) = (next(&mut bus.dispatches).await, next(&mut bus.dispatches).await);
    assert!(!first.get_ref().request_id.is_empty());
    assert_eq!(first.get_ref(), second.get_ref());
    assert_eq!(second.metadata().get("authorization").unwrap(), "Bearer secret");
}

#[tokio::test]
async fn of_two_events_with_one_id_the_first_is_stored() {
    let bus = FakeBus::start().await;
    let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect();
    let answer = DispatchResponse { event_ids: ids(&["a", "b", "a"]), duplicate_event_ids: ids(&["a"]) };
    bus.answers.dispatch.lock().unwrap().push_back(Ok(answer));
    let events = vec![Event::new("x"), Event::new("y"), Event::new("z")];
    let client = bus.client(ClientOptions::default());
    let dispatched = soon(client.dispatch_many("t", events, DispatchOptions::default())).await.unwrap();
    assert_eq!(dispatched.iter().map(|each| each.duplicate).collect::<Vec<_>>(), [false, false, true]);
}

#[tokio::test]
async fn each_event_of_a_dispatch_is_sent_with_its_key() {
    let mut bus = FakeBus::start().await;
    let events = vec![Event::new("x").key("one"), Event::new("y"), Event::new("z").key("two")];
    let client = bus.client(ClientOptions::default());
    soon(client.dispatch_many("t", events, DispatchOptions::default())).await.unwrap();
    let sent = next(&mut bus.dispatches).await.into_inner().events;
    assert_eq!(sent.iter().map(|each| each.key.as_str()).collect::<Vec<_>>(), ["one", "", "two"]);
}

#[tokio::test]
async fn an_error_has_all_details_of_the_server() {
    let bus = FakeBus::start().await;
    let violation = pb::bad_request::FieldViolation {
        field: "events[0].id".into(),
        description: "is bad".into(),
        ..Default::default()
    };
    let delay = prost_types::Duration { seconds: 1, nanos: 500_000_000 };
    let stored = PartialDispatch { stored_engines: vec![Engine::Local.into()], event_ids: vec!["a".to_owned()] };
    let status = refusal(
        Code::ResourceExhausted,
        "MAX_QUEUED_EVENTS_REACHED",
        vec![
            detail("google.rpc.BadRequest", &pb::BadRequest { field_violations: vec![violation] }),
            detail("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay: Some(delay) }),
            detail("duebus.v1.PartialDispatch", &stored),
        ],
    );
    bus.answers.dispatch.lock().unwrap().push_back(Err(status));
    let error = soon(bus.client(ClientOptions::default()).dispatch("t", Event::new("x"))).await.unwrap_err();
    assert_eq!(*error.reason(), Reason::MaxQueuedEventsReached);
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert_eq!(error.metadata()["topic"], "t");
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
    assert_eq!((error.stored_engines(), error.stored_event_ids()), (&[Engine::Local][..], &["a".to_owned()][..]));
    assert_eq!(error.to_string(), "MAX_QUEUED_EVENTS_REACHED: no (events[0].id: is bad)");
}

#[test]
fn an_error_without_details_has_the_reason_of_its_code() {
    for (code, reason) in [
        (Code::Unavailable, Reason::Unavailable),
        (Code::DeadlineExceeded, Reason::DeadlineExceeded),
        (Code::Unauthenticated, Reason::Unauthenticated),
        (Code::InvalidArgument, Reason::InvalidArgument),
        (Code::DataLoss, Reason::Other("DATA_LOSS".to_owned())),
    ] {
        assert_eq!(*crate::Error::from(Status::new(code, "no")).reason(), reason);
    }
    let error = crate::Error::from(Status::resource_exhausted("Sent message larger than max (5 vs. 4)"));
    assert_eq!(*error.reason(), Reason::InvalidArgument);
    assert_eq!(error.field_violations()[0].field, "request");
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable_after_the_timeout() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let options = ClientOptions { timeout: Duration::from_secs(1), ..ClientOptions::default() };
    let client = Client::new(&address, options).unwrap();
    let error = soon(client.dispatch("t", Event::new("x"))).await.unwrap_err();
    assert_eq!(*error.reason(), Reason::Unavailable);
    let line = error.to_string();
    assert!(line.contains(&address) && line.contains("refused"), "{line}");
    let causes = std::iter::successors(std::error::Error::source(&error), |each| each.source());
    assert!(causes.into_iter().any(|each| each.downcast_ref::<std::io::Error>().is_some()), "{error:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_deadline_exceeded() {
    // It accepts connections and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = ClientOptions { timeout: Duration::from_millis(200), ..ClientOptions::default() };
    let client = Client::new(&listener.local_addr().unwrap().to_string(), options).unwrap();
    let error = soon(client.ack(vec!["lease".to_owned()])).await.unwrap_err();
    assert_eq!(*error.reason(), Reason::DeadlineExceeded);
}

#[tokio::test]
async fn calls_of_a_closed_client_fail_even_running_ones() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(&listener.local_addr().unwrap().to_string(), ClientOptions::default()).unwrap();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.ack(vec!["lease".to_owned()]).await }
    });
    tokio::task::yield_now().await;
    client.close();
    assert_eq!(*soon(waiting).await.unwrap().unwrap_err().reason(), Reason::ClientClosed);
    assert_eq!(*client.dispatch("t", Event::new("x")).await.unwrap_err().reason(), Reason::ClientClosed);
    let status = client.admin_stub().list_topics(crate::proto::ListTopicsRequest::default()).await.unwrap_err();
    assert_eq!(*crate::Error::from(status).reason(), Reason::ClientClosed);
}

#[tokio::test]
async fn unusable_targets_and_options_are_named() {
    let token = Some("no\nline".to_owned());
    for (target, options, field) in [
        ("", ClientOptions::default(), "target"),
        ("localhost", ClientOptions::default(), "target"),
        ("a:1,b", ClientOptions::default(), "target"),
        ("http://a:1", ClientOptions::default(), "target"),
        ("user@a:1", ClientOptions::default(), "target"),
        ("a?b:1", ClientOptions::default(), "target"),
        ("a:1", ClientOptions::default().token(" "), "token"),
        ("a:1", ClientOptions::default().token("sécret"), "token"),
        ("a:1", ClientOptions { token, ..ClientOptions::default() }, "token"),
        ("a:1", ClientOptions { timeout: Duration::ZERO, ..ClientOptions::default() }, "timeout"),
    ] {
        let error = Client::new(target, options).unwrap_err();
        assert_eq!(error.field_violations()[0].field, field, "{target:?}");
    }
}

#[tokio::test]
async fn the_longest_timeout_is_accepted() {
    let bus = FakeBus::start().await;
    let client = bus.client(ClientOptions::default().timeout(Duration::MAX));
    for client in [client.clone(), client.with_timeout(Duration::MAX)] {
        soon(client.dispatch("t", Event::new("x"))).await.unwrap();
        soon(client.ack(vec!["a".to_owned()])).await.unwrap();
    }
}

/// Provides "token-1", "token-2" and so on; the first times it fails.
fn counting_tokens(failures: usize) -> ClientOptions {
    let asked = Arc::new(AtomicUsize::new(0));
    ClientOptions::default().token_provider(move || {
        let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            if number <= failures { Err("the token service is away".into()) } else { Ok(format!("token-{number}\n")) }
        }
    })
}

fn header<T>(request: &tonic::Request<T>, name: &str) -> String {
    request.metadata().get(name).unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_provider_is_asked_for_each_call() {
    let mut bus = FakeBus::start().await;
    let client = bus.client(counting_tokens(0));
    for token in ["Bearer token-1", "Bearer token-2"] {
        soon(client.dispatch("t", Event::new("x"))).await.unwrap();
        assert_eq!(header(&next(&mut bus.dispatches).await, "authorization"), token);
    }
}

#[tokio::test]
async fn a_call_is_retried_until_the_provider_has_a_token() {
    let mut bus = FakeBus::start().await;
    soon(bus.client(counting_tokens(1)).dispatch("t", Event::new("x"))).await.unwrap();
    assert_eq!(header(&next(&mut bus.dispatches).await, "authorization"), "Bearer token-2");
}

#[tokio::test]
async fn a_call_without_a_token_is_unavailable_and_says_why() {
    let bus = FakeBus::start().await;
    let client = bus.client(counting_tokens(usize::MAX).timeout(Duration::from_millis(500)));
    let error = soon(client.dispatch("t", Event::new("x"))).await.unwrap_err();
    assert_eq!((error.reason(), error.message()), (&Reason::Unavailable, "no token: the token service is away"));
}

#[tokio::test]
async fn an_empty_token_is_unavailable_and_one_that_can_not_be_sent_is_unauthenticated() {
    let bus = FakeBus::start().await;
    for (token, reason) in
        [("\n", Reason::Unavailable), ("a\nb", Reason::Unauthenticated), ("é", Reason::Unauthenticated)]
    {
        let options = ClientOptions::default().token_provider(move || async move { Ok(token.to_owned()) });
        let client = bus.client(options.timeout(Duration::from_millis(500)));
        assert_eq!(*soon(client.dispatch("t", Event::new("x"))).await.unwrap_err().reason(), reason);
    }
}

#[tokio::test]
async fn settling_nothing_asks_no_server() {
    let client = Client::new("127.0.0.1:1", ClientOptions::default()).unwrap();
    assert_eq!(soon(client.ack(Vec::new())).await.unwrap(), []);
    assert_eq!(soon(client.nack(Vec::new())).await.unwrap(), []);
    assert_eq!(soon(client.extend(Vec::new(), None)).await.unwrap(), []);
}

#[tokio::test]
async fn an_empty_token_is_none() {
    let mut bus = FakeBus::start().await;
    soon(bus.client(ClientOptions::default().token("")).dispatch("t", Event::new("x"))).await.unwrap();
    assert!(!next(&mut bus.dispatches).await.metadata().contains_key("authorization"));
}

#[tokio::test]
async fn the_line_break_at_the_end_of_a_token_is_not_sent() {
    let mut bus = FakeBus::start().await;
    let client = bus.client(ClientOptions::default().token("secret\n"));
    soon(client.dispatch("t", Event::new("x"))).await.unwrap();
    assert_eq!(header(&next(&mut bus.dispatches).await, "authorization"), "Bearer secret");
}

#[tokio::test]
async fn interceptors_are_called_in_their_order_and_can_refuse() {
    let mut bus = FakeBus::start().await;
    let adding = |mark: &'static str| {
        move |mut request: tonic::Request<()>| {
            let before = request.metadata().get("marks").map(|each| each.to_str().unwrap().to_owned());
            request.metadata_mut().insert("marks", (before.unwrap_or_default() + mark).parse().unwrap());
            Ok(request)
        }
    };
    let options = ClientOptions::default().interceptor(adding("a")).interceptor(adding("b"));
    soon(bus.client(options.clone()).dispatch("t", Event::new("x"))).await.unwrap();
    assert_eq!(header(&next(&mut bus.dispatches).await, "marks"), "ab");

    let refusing = options.interceptor(|_| Err(Status::permission_denied("not today")));
    let error = soon(bus.client(refusing).dispatch("t", Event::new("x"))).await.unwrap_err();
    assert_eq!((error.reason(), error.message()), (&Reason::PermissionDenied, "not today"));
}

/// An interceptor that adds its mark to an attribute of each event.
fn marking(mark: &'static str) -> impl Fn(Dispatch, Next<Dispatch, Stored>) -> BoxFuture<'static, Stored> {
    move |mut dispatch, next| {
        for event in &mut dispatch.events {
            event.attributes.entry("marks".to_owned()).or_default().push_str(mark);
        }
        Box::pin(next.run(dispatch))
    }
}

#[tokio::test]
async fn interceptors_of_dispatches_are_called_in_their_order_and_may_change_events() {
    let mut bus = FakeBus::start().await;
    let options = ClientOptions::default().dispatch_interceptor(marking("a")).dispatch_interceptor(marking("b"));
    let client = bus.client(options);
    let (event, own) = (Event::new("x"), DispatchOptions::default().request_id("r"));
    soon(client.dispatch("t", event.clone())).await.unwrap();
    soon(client.dispatch_with("t", event.clone(), own.clone())).await.unwrap();
    soon(client.dispatch_many("t", vec![event.clone(), event], own)).await.unwrap();
    for (events, request_id) in [(1, None), (1, Some("r")), (2, Some("r"))] {
        let sent = next(&mut bus.dispatches).await.into_inner();
        assert_eq!(sent.events.len(), events);
        assert!(sent.events.iter().all(|event| event.attributes["marks"] == "ab"), "{sent:?}");
        assert!(request_id.is_none_or(|id| sent.request_id == id), "{sent:?}");
    }
}

#[tokio::test]
async fn an_interceptor_sees_the_error_of_a_dispatch_and_may_answer_itself() {
    let bus = FakeBus::start().await;
    bus.answers.dispatch.lock().unwrap().push_back(Err(Status::invalid_argument("no")));
    let (see, mut seen) = unbounded_channel();
    let options = ClientOptions::default().dispatch_interceptor(move |dispatch, next| {
        let see = see.clone();
        async move {
            if dispatch.topic == "nowhere" {
                return Ok(Vec::new());
            }
            let dispatched = next.run(dispatch).await;
            see.send(dispatched.clone()).unwrap();
            dispatched
        }
    });
    let client = bus.client(options);
    let error = soon(client.dispatch("t", Event::new("x"))).await.unwrap_err();
    assert_eq!(*error.reason(), Reason::InvalidArgument);
    assert_eq!(next(&mut seen).await.unwrap_err().to_string(), error.to_string());
    let error = soon(client.dispatch("nowhere", Event::new("x"))).await.unwrap_err();
    assert_eq!(error.message(), "an interceptor has returned no result for the event");
}

#[tokio::test]
async fn one_of_several_servers_that_answers_is_used() {
    let bus = FakeBus::start().await;
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::new(&format!("{away}, {}", bus.address), ClientOptions::default()).unwrap();
    for _ in 0..10 {
        soon(client.dispatch("t", Event::new("x"))).await.unwrap();
    }
}

/// Starts a dispatch; it has been polled once when this returns.
async fn begin(client: &Client, event: Event) -> JoinHandle<Result<Dispatched, Error>> {
    let client = client.clone();
    let call = tokio::spawn(async move { client.dispatch("t", event).await });
    tokio::task::yield_now().await;
    call
}

/// A bus that holds the answer to a first dispatch.
async fn behind_a_call() -> (FakeBus, Client, oneshot::Sender<()>, JoinHandle<Result<Dispatched, Error>>) {
    let mut bus = FakeBus::start().await;
    let (release, held) = oneshot::channel();
    *bus.answers.hold.lock().unwrap() = Some(held);
    let client = bus.client(ClientOptions::default());
    let first = begin(&client, Event::new("x").id("first")).await;
    assert_eq!(sent(&mut bus).await, ["first"]);
    (bus, client, release, first)
}

async fn sent(bus: &mut FakeBus) -> Vec<String> {
    next(&mut bus.dispatches).await.into_inner().events.into_iter().map(|each| each.id).collect()
}

#[tokio::test]
async fn single_dispatches_that_arrive_during_a_call_share_the_next() {
    let (mut bus, client, release, first) = behind_a_call().await;
    let mut others = Vec::new();
    for id in ["a", "b", "c"] {
        others.push(begin(&client, Event::new("x").id(id).key(format!("key-{id}"))).await);
    }
    release.send(()).unwrap();
    assert_eq!(soon(first).await.unwrap().unwrap().event_id, "first");
    for (id, other) in ["a", "b", "c"].into_iter().zip(others) {
        let dispatched = soon(other).await.unwrap().unwrap();
        assert_eq!((dispatched.event_id.as_str(), dispatched.duplicate), (id, false));
    }
    let shared = next(&mut bus.dispatches).await.into_inner().events;
    assert_eq!(shared.iter().map(|each| each.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(shared.iter().map(|each| each.key.as_str()).collect::<Vec<_>>(), ["key-a", "key-b", "key-c"]);
    assert!(bus.dispatches.try_recv().is_err());
    soon(async {
        while !client.has_no_lanes() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_dispatch_that_is_dropped_while_it_waits_is_not_sent() {
    let (mut bus, client, release, _first) = behind_a_call().await;
    let hasty = begin(&client, Event::new("x").id("a")).await;
    let patient = begin(&client, Event::new("x").id("b")).await;
    hasty.abort();
    assert!(soon(hasty).await.unwrap_err().is_cancelled());
    release.send(()).unwrap();
    soon(patient).await.unwrap().unwrap();
    assert_eq!(sent(&mut bus).await, ["b"]);
}

#[tokio::test]
async fn a_first_dispatch_that_is_dropped_does_not_hold_up_the_others() {
    let (_bus, client, _release, first) = behind_a_call().await;
    let second = begin(&client, Event::new("x").id("second")).await;
    first.abort();
    assert_eq!(soon(second).await.unwrap().unwrap().event_id, "second");
}

#[tokio::test]
async fn a_first_dispatch_that_is_dropped_outside_of_the_runtime_does_not_hold_up_the_others() {
    let mut bus = FakeBus::start().await;
    let (_release, held) = oneshot::channel();
    *bus.answers.hold.lock().unwrap() = Some(held);
    let client = bus.client(ClientOptions::default());
    let caller = client.clone();
    let mut first = Box::pin(async move { caller.dispatch("t", Event::new("x").id("first")).await });
    tokio::select! {
        _ = &mut first => panic!("it was answered"),
        sent = sent(&mut bus) => assert_eq!(sent, ["first"]),
    }
    let second = begin(&client, Event::new("x").id("second")).await;
    std::thread::spawn(move || drop(first)).join().unwrap();
    assert_eq!(soon(second).await.unwrap().unwrap().event_id, "second");
}

#[test]
fn a_runtime_that_ends_during_a_shared_call_holds_up_nobody() {
    let server = tokio::runtime::Runtime::new().unwrap();
    let (mut bus, client, _release) = server.block_on(async {
        let bus = FakeBus::start().await;
        let (release, held) = oneshot::channel();
        *bus.answers.hold.lock().unwrap() = Some(held);
        let client = bus.client(ClientOptions::default());
        (bus, client, release)
    });
    let short = tokio::runtime::Runtime::new().unwrap();
    let calls = short.block_on(async {
        let first = begin(&client, Event::new("x").id("first")).await;
        assert_eq!(sent(&mut bus).await, ["first"]);
        (first, begin(&client, Event::new("y")).await)
    });
    drop(short);
    drop(calls);
    let dispatched = server.block_on(soon(client.dispatch("t", Event::new("z").id("later")))).unwrap();
    assert_eq!(dispatched.event_id, "later");
}

#[tokio::test]
async fn a_shared_call_is_repeated_as_it_was() {
    let (mut bus, client, release, first) = behind_a_call().await;
    let others = [begin(&client, Event::new("x").id("a")).await, begin(&client, Event::new("x").id("b")).await];
    {
        let mut answers = bus.answers.dispatch.lock().unwrap();
        answers.push_back(Ok(DispatchResponse { event_ids: vec!["first".to_owned()], duplicate_event_ids: vec![] }));
        answers.push_back(Err(Status::unavailable("away")));
    }
    release.send(()).unwrap();
    soon(first).await.unwrap().unwrap();
    for other in others {
        soon(other).await.unwrap().unwrap();
    }
    let (one, two) = (next(&mut bus.dispatches).await, next(&mut bus.dispatches).await);
    assert_eq!(one.get_ref().events.len(), 2);
    assert_eq!(one.get_ref(), two.get_ref());
}

#[tokio::test]
async fn large_events_go_in_several_shared_calls() {
    let (mut bus, client, release, first) = behind_a_call().await;
    let mut others = Vec::new();
    for id in ["0", "1", "2", "3"] {
        others.push(begin(&client, Event::new(vec![0; 1 << 20]).id(id)).await);
    }
    release.send(()).unwrap();
    soon(first).await.unwrap().unwrap();
    for other in others {
        soon(other).await.unwrap().unwrap();
    }
    assert_eq!(
        (sent(&mut bus).await, sent(&mut bus).await),
        (vec!["0".into(), "1".into()], vec!["2".into(), "3".into()])
    );
}

#[tokio::test]
async fn a_dispatch_that_times_out_after_an_outage_reports_the_outage() {
    let mut bus = FakeBus::start().await;
    let ((release, first_held), (_end, second_held)) = (oneshot::channel(), oneshot::channel());
    *bus.answers.hold.lock().unwrap() = Some(first_held);
    let delay = prost_types::Duration { seconds: 60, nanos: 0 };
    let later = detail("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay: Some(delay) });
    bus.answers.dispatch.lock().unwrap().push_back(Err(refusal(
        Code::Unavailable,
        "DISPATCHER_NOT_WORKING",
        vec![later],
    )));
    let client = bus.client(ClientOptions { timeout: Duration::from_secs(2), ..ClientOptions::default() });
    let first = begin(&client, Event::new("x").id("first")).await;
    assert_eq!(sent(&mut bus).await, ["first"]);
    *bus.answers.hold.lock().unwrap() = Some(second_held);
    let second = begin(&client, Event::new("x").id("second")).await;
    release.send(()).unwrap();
    for call in [first, second] {
        let error = soon(call).await.unwrap().unwrap_err();
        assert_eq!(*error.reason(), Reason::DispatcherNotWorking);
    }
    assert_eq!(sent(&mut bus).await, ["second"]);
}

#[tokio::test]
async fn while_the_server_is_away_every_dispatch_reports_where() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let options = ClientOptions { timeout: Duration::from_secs(2), ..ClientOptions::default() };
    let client = Client::new(&address, options).unwrap();
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(begin(&client, Event::new("x")).await);
    }
    for call in calls {
        let error = soon(call).await.unwrap().unwrap_err();
        assert_eq!(*error.reason(), Reason::Unavailable);
        assert!(error.to_string().contains(&address), "{error}");
    }
}

/// Answers a name with these addresses, which the test changes.
fn lookup_of(addresses: &Arc<Mutex<Vec<SocketAddr>>>) -> Lookup {
    let addresses = Arc::clone(addresses);
    Arc::new(move |name| {
        assert_eq!(name, "bus.test:50051");
        let found = addresses.lock().unwrap().clone();
        Box::pin(async move { Ok(found) })
    })
}

async fn dispatch_times(client: &Client, times: usize) {
    for _ in 0..times {
        soon(client.dispatch("t", Event::new("x"))).await.unwrap();
    }
}

#[tokio::test]
async fn calls_go_in_turn_to_each_address_of_a_name() {
    let (first, second) = (FakeBus::start().await, FakeBus::start().await);
    let addresses = Arc::new(Mutex::new(vec![first.address, second.address]));
    let client =
        Client::with_lookup("dns:///bus.test:50051", &ClientOptions::default(), lookup_of(&addresses)).unwrap();
    dispatch_times(&client, 20).await;
    assert_eq!((first.dispatches.len(), second.dispatches.len()), (10, 10));
}

#[tokio::test]
async fn streams_go_in_turn_too_whatever_is_called_between_them() {
    let (mut first, mut second) = (FakeBus::start().await, FakeBus::start().await);
    let target = format!("{},{}", first.address, second.address);
    let client = Client::new(&target, ClientOptions::default()).unwrap();
    for _ in 0..2 {
        let _stream = soon(client.subscribe(SubscribeRequest::default())).await.unwrap();
        dispatch_times(&client, 1).await;
    }
    next(&mut first.streams).await;
    next(&mut second.streams).await;
}

#[tokio::test]
async fn a_server_that_has_gone_is_looked_up_again() {
    let came = FakeBus::start().await;
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let addresses = Arc::new(Mutex::new(vec![away]));
    let options = ClientOptions { timeout: Duration::from_secs(30), ..ClientOptions::default() };
    let client = Client::with_lookup("bus.test:50051", &options, lookup_of(&addresses)).unwrap();
    assert!(client.with_timeout(Duration::from_millis(50)).dispatch("t", Event::new("x")).await.is_err());
    *addresses.lock().unwrap() = vec![came.address];
    dispatch_times(&client, 1).await; // retried until the name is resolved again
    assert_eq!(came.dispatches.len(), 1);
}

#[tokio::test]
async fn a_name_that_can_t_be_resolved_is_unavailable_with_the_reason() {
    let lookup: Lookup = Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such host")) }));
    let options = ClientOptions { timeout: Duration::from_millis(500), ..ClientOptions::default() };
    let client = Client::with_lookup("bus.test:50051", &options, lookup).unwrap();
    let error = soon(client.dispatch("t", Event::new("x"))).await.unwrap_err();
    assert_eq!(*error.reason(), Reason::Unavailable);
    let line = error.to_string();
    assert!(line.contains("bus.test:50051") && line.contains("no such host"), "{line}");
}

#[tokio::test]
async fn a_stream_goes_on_although_its_server_is_no_longer_an_address_of_the_name() {
    let (mut old, came) = (FakeBus::start().await, FakeBus::start().await);
    let addresses = Arc::new(Mutex::new(vec![old.address]));
    let client = Client::with_lookup("bus.test:50051", &ClientOptions::default(), lookup_of(&addresses)).unwrap();
    let mut frames = soon(client.subscribe(SubscribeRequest::default())).await.unwrap();
    let stream = next(&mut old.streams).await;
    *addresses.lock().unwrap() = vec![came.address];
    let moved = async {
        while came.dispatches.is_empty() {
            client.dispatch("t", Event::new("x")).await.unwrap();
        }
    };
    soon(moved).await;
    stream.deliver(&["a"]);
    let delivered = async {
        while let Some(frame) = frames.next().await {
            if matches!(frame.unwrap(), Frame::Deliveries(_)) {
                return true;
            }
        }
        false
    };
    assert!(soon(delivered).await);
}
