//! The program that tests/bench/clients.py measures: callers that dispatch single events, and a worker that drains them.
//!
//! The other clients have the same program. It takes its arguments as JSON, prints `ready` before and after each part,
//! waits for a line on standard input each time, and prints its result as JSON.

use std::collections::HashSet;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use duebus::{Client, ClientOptions, Event, Worker, WorkerOptions};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[derive(Deserialize)]
struct Arguments {
    target: String,
    topic: String,
    payload_bytes: usize,
    warm_up: usize,
    events: usize,
    callers: usize,
    backlog: usize,
    max_in_flight: u32,
}

#[derive(Serialize)]
struct Measured {
    dispatch_per_s: f64,
    drain_per_s: f64,
    handled: usize,
    distinct: usize,
}

/// What a worker has handled.
#[derive(Default)]
struct Drained {
    handled: usize,
    seen: HashSet<String>,
    began: Option<Instant>,
    ended: Option<Instant>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let given: Arguments = serde_json::from_str(&std::env::args().nth(1).unwrap_or_default())?;
    let bus = Client::new(&given.target, ClientOptions::default())?;
    dispatch(&bus, &given, given.warm_up).await?;
    drain(&bus, &given, given.warm_up).await?;
    await_signal()?;
    let dispatch_per_s = dispatch(&bus, &given, given.events).await?;
    await_signal()?;
    let (drain_per_s, drained) = drain(&bus, &given, given.backlog).await?;
    await_signal()?;
    let measured = Measured { dispatch_per_s, drain_per_s, handled: drained.handled, distinct: drained.seen.len() };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn await_signal() -> std::io::Result<usize> {
    println!("ready");
    std::io::stdin().read_line(&mut String::new())
}

/// Each caller dispatches one event after the other, until there are enough. Returns how many a second.
async fn dispatch(bus: &Client, given: &Arguments, events: usize) -> Result<f64, duebus::Error> {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..given.callers {
        let (bus, taken, topic) = (bus.clone(), Arc::clone(&taken), given.topic.clone());
        let data = vec![b'x'; given.payload_bytes];
        callers.spawn(async move {
            while taken.fetch_add(1, Ordering::Relaxed) < events {
                bus.dispatch(&topic, Event::new(data.clone())).await?;
            }
            Ok(())
        });
    }
    callers.join_all().await.into_iter().collect::<Result<(), duebus::Error>>()?;
    Ok(per_second(events, began, Instant::now()))
}

/// Handles all events of the topic. Returns how many a second, from the first handler to the last.
async fn drain(bus: &Client, given: &Arguments, events: usize) -> Result<(f64, Drained), duebus::Error> {
    let (drained, all) = (Arc::new(Mutex::new(Drained::default())), CancellationToken::new());
    let (tally, done) = (Arc::clone(&drained), all.clone());
    let options = WorkerOptions::default().max_in_flight(given.max_in_flight);
    let worker = Worker::new(bus).handle(&given.topic, options, move |delivery| {
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.handled += 1;
        tally.began.get_or_insert_with(Instant::now);
        if tally.seen.insert(delivery.event_id) && tally.seen.len() == events {
            tally.ended = Some(Instant::now());
            done.cancel();
        }
        async { Ok(()) }
    });
    worker.run(all.cancelled()).await?;
    let drained = std::mem::take(&mut *drained.lock().unwrap_or_else(PoisonError::into_inner));
    let rate = drained.began.zip(drained.ended).map_or(0.0, |(began, ended)| per_second(events, began, ended));
    Ok((rate, drained))
}

#[expect(clippy::cast_precision_loss, reason = "no run has so many events")]
fn per_second(events: usize, began: Instant, ended: Instant) -> f64 {
    events as f64 / (ended - began).as_secs_f64()
}
