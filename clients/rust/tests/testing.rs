//! The bus for tests, with the real server.
#![cfg(feature = "testing")]

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use duebus::testing::Bus;
use duebus::{Event, Failure, Reason, Schedule, Worker, WorkerOptions};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A worker that counts what it handles.
fn counting(bus: &Bus, topic: &str) -> (Worker, Arc<AtomicUsize>) {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let worker = Worker::new(bus.client()).handle(topic, WorkerOptions::default(), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    });
    (worker, handled)
}

/// All have the same bus, and topics of their own: to start one for each would take longer than they do.
#[tokio::test]
async fn a_bus() {
    let bus = Bus::start().await.unwrap();
    a_delay_of_30_minutes_takes_milliseconds(&bus).await;
    settle_waits_for_a_running_handler_and_not_for_a_retry(&bus).await;
    a_schedule_fires_at_each_of_its_times_on_the_way(&bus).await;
    the_clock_is_ahead_by_what_it_was_moved(&bus).await;
    a_server_goes_on_when_a_bus_that_is_connected_to_it_is_dropped(&bus).await;
    a_stopped_worker_handles_nothing(&bus).await;
    a_worker_that_fails_is_not_run(&bus).await;
    an_assertion_that_fails_in_a_handler_fails_the_test(&bus).await;
    what_is_not_settled_is_named(&bus.settle_timeout(Duration::from_millis(100))).await;
}

async fn a_delay_of_30_minutes_takes_milliseconds(bus: &Bus) {
    let (worker, handled) = counting(bus, "order.check");
    let running = bus.run(worker).await.unwrap();
    let begun = Instant::now();
    bus.client().dispatch("order.check", Event::new("42").after(30 * MINUTE)).await.unwrap();
    bus.advance(29 * MINUTE).await.unwrap();
    bus.settle().await.unwrap();
    assert_eq!(handled.load(Ordering::Relaxed), 0);
    bus.advance(MINUTE).await.unwrap();
    bus.settle().await.unwrap();
    assert_eq!(handled.load(Ordering::Relaxed), 1);
    assert!(begun.elapsed() < MINUTE, "it took {:?}", begun.elapsed());
    running.stop().await.unwrap();
}

async fn settle_waits_for_a_running_handler_and_not_for_a_retry(bus: &Bus) {
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&attempts);
    let worker = Worker::new(bus.client()).handle("t", WorkerOptions::default(), move |delivery| {
        count.fetch_add(1, Ordering::Relaxed);
        async move { if delivery.attempt == 1 { Err(Failure::retry_after(HOUR, "busy")) } else { Ok(()) } }
    });
    let _running = bus.run(worker).await.unwrap();
    bus.client().dispatch("t", Event::new("")).await.unwrap();
    bus.settle().await.unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    bus.advance(HOUR).await.unwrap();
    bus.settle().await.unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
}

async fn a_schedule_fires_at_each_of_its_times_on_the_way(bus: &Bus) {
    let (worker, handled) = counting(bus, "reports");
    let _running = bus.run(worker).await.unwrap();
    bus.client().schedules().put("hourly", "reports", Schedule::every(HOUR)).await.unwrap();
    bus.advance(24 * HOUR).await.unwrap();
    bus.settle().await.unwrap();
    assert_eq!(handled.load(Ordering::Relaxed), 24);
}

async fn the_clock_is_ahead_by_what_it_was_moved(bus: &Bus) {
    let before = bus.now().await.unwrap();
    bus.advance(48 * HOUR).await.unwrap();
    let ahead = bus.now().await.unwrap().duration_since(before).unwrap();
    assert!((48 * HOUR..48 * HOUR + MINUTE).contains(&ahead), "moved by {ahead:?}");
}

async fn a_server_goes_on_when_a_bus_that_is_connected_to_it_is_dropped(bus: &Bus) {
    let before = bus.now().await.unwrap();
    Bus::connect(bus.address()).unwrap().advance(HOUR).await.unwrap();
    assert!(bus.now().await.unwrap() >= before + HOUR);
}

async fn a_stopped_worker_handles_nothing(bus: &Bus) {
    let (worker, handled) = counting(bus, "stopped");
    bus.run(worker).await.unwrap().stop().await.unwrap();
    bus.client().dispatch("stopped", Event::new("")).await.unwrap();
    bus.settle().await.unwrap(); // the group has no subscriber
    assert_eq!(handled.load(Ordering::Relaxed), 0);
}

async fn what_is_not_settled_is_named(bus: &Bus) {
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let worker = Worker::new(bus.client()).handle("stuck", WorkerOptions::default(), move |_| {
        let closed = Arc::clone(&closed);
        async move {
            closed.acquire().await?.forget();
            Ok(())
        }
    });
    let _running = bus.run(worker).await.unwrap();
    bus.client().dispatch("stuck", Event::new("")).await.unwrap();
    let error = bus.settle().await.unwrap_err();
    gate.add_permits(1);
    assert_eq!(*error.reason(), Reason::DeadlineExceeded);
    assert!(error.message().contains("stuck/default (0 ready, 1 leased)"), "{error}");
}

async fn a_worker_that_fails_is_not_run(bus: &Bus) {
    let error = bus.run(Worker::new(bus.client())).await.unwrap_err();
    assert_eq!(*error.reason(), Reason::InvalidArgument);
}

async fn an_assertion_that_fails_in_a_handler_fails_the_test(bus: &Bus) {
    let (call, mut calls) = unbounded_channel();
    let worker = Worker::new(bus.client()).handle("order.paid", WorkerOptions::default(), move |delivery| {
        call.send(()).unwrap();
        assert_eq!(delivery.data, b"41", "the amount is wrong");
        async { Ok(()) }
    });
    let running = bus.run(worker).await.unwrap();
    let wrong = Event { max_retries: Some(0), ..Event::new("42").id("order-42") };
    bus.client().dispatch("order.paid", wrong.clone()).await.unwrap();
    let error = bus.settle().await.unwrap_err();
    assert_eq!(*error.reason(), Reason::Internal);
    assert!(error.message().starts_with("the handler of order.paid/order-42 panicked: "), "{error}");
    assert!(error.message().contains("the amount is wrong"), "{error}");
    bus.settle().await.unwrap(); // it is reported once

    calls.recv().await.unwrap();
    bus.client().dispatch("order.paid", wrong.id("order-43")).await.unwrap();
    calls.recv().await.unwrap();
    let error = running.stop().await.unwrap_err();
    assert!(error.message().contains("order-43"), "{error}");
}

#[tokio::test]
async fn a_worker_whose_server_has_ended_does_not_drain() {
    let bus = Bus::start().await.unwrap();
    let (call, mut calls) = unbounded_channel();
    let worker = Worker::new(bus.client()).handle("t", WorkerOptions::default(), move |_| {
        call.send(()).unwrap();
        std::future::pending()
    });
    let running = bus.run(worker).await.unwrap();
    bus.client().dispatch("t", Event::new("")).await.unwrap();
    calls.recv().await.unwrap();
    bus.client().stop(&[], Some(Duration::ZERO)).await.unwrap();
    let begun = Instant::now();
    let error = running.stop().await.unwrap_err();
    assert_eq!(*error.reason(), Reason::Unavailable);
    assert!(error.message().starts_with("the server has ended before all was settled"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
}

/// Runs a test of this file in a process of its own, with this environment.
fn child(test: &str, environment: &[(&str, &str)]) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture", "--ignored"]).envs(environment.iter().copied());
    child
}

#[tokio::test]
#[ignore = "other tests run it in a process of its own"]
async fn in_a_process_of_its_own() {
    match Bus::start().await {
        Ok(bus) => {
            println!("\nready on {} .", bus.address());
            std::future::pending::<()>().await;
        }
        Err(error) => println!("\n{error}"),
    }
}

fn output(environment: &[(&str, &str)]) -> String {
    let done = child("in_a_process_of_its_own", environment).output().unwrap();
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn a_missing_command_is_named() {
    let said = output(&[("DUEBUS_COMMAND", "/nowhere/duebus")]);
    assert!(said.contains("pip install 'duebus[server]', or set DUEBUS_COMMAND"), "{said}");
}

#[test]
fn a_server_that_does_not_start_is_quoted() {
    let said = output(&[("DUEBUS_COMMAND", "/bin/ls")]);
    assert!(said.contains("/bin/ls serve: the server has not started") && said.contains("--test-clock"), "{said}");
}

#[test]
fn the_server_ends_with_a_process_that_is_killed() {
    the_server_ends_with_a_process(|process| vec!["-KILL".to_owned(), process.to_string()]);
}

/// Not the signals of `Ctrl-C` and `Ctrl-\`: what a script has started in the background ignores those.
#[test]
fn the_server_ends_with_a_process_that_a_signal_to_its_group_ends() {
    the_server_ends_with_a_process(|process| vec!["-TERM".to_owned(), "--".to_owned(), format!("-{process}")]);
}

/// `signal` makes the arguments of kill.
fn the_server_ends_with_a_process(signal: fn(u32) -> Vec<String>) {
    let mut child = child("in_a_process_of_its_own", &[]);
    let mut child = child.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (mut said, mut buffer) = (String::new(), [0; 1024]);
    let address = loop {
        let count = out.read(&mut buffer).unwrap();
        assert!(count > 0, "{said}");
        said += std::str::from_utf8(&buffer[..count]).unwrap();
        let address = said.split_once("ready on ").and_then(|(_, rest)| rest.split_once(" ."));
        if let Some((address, _)) = address {
            break address.to_owned();
        }
    };
    let mut stream = TcpStream::connect(address).unwrap();
    assert!(Command::new("kill").args(signal(child.id())).status().unwrap().success());
    child.wait().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The server's settings, then the end of the connection.
    while match stream.read(&mut buffer) {
        Ok(count) => count > 0,
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the server has outlived its test: {error}");
            false
        }
    } {}
}

#[test]
fn the_readme_shows_the_test_of_an_unpaid_order() {
    let shown = include_str!("unpaid_order.rs");
    assert!(include_str!("../README.md").contains(&format!("```rust,no_run\n# {shown}```")));
}
