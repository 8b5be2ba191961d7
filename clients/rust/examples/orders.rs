//! Orders: a service that places orders, and workers that bill and ship them. The service knows neither.
//!
//! ```text
//! cargo run --features json --example orders              places three orders, handles them, and ends
//! cargo run --features json --example orders place 42     places one order
//! cargo run --features json --example orders work         handles orders until Ctrl-C
//! ```
//!
//! The events are JSON on the topic order.created, so either half may be in another language. The server is the one that
//! DUEBUS_SERVER names, 127.0.0.1:50051 by default.

use std::error::Error;
use std::time::{Duration, SystemTime};

use duebus::{Client, ClientOptions, Delivery, Event, Failure, Worker, WorkerOptions};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::var("DUEBUS_SERVER").unwrap_or("127.0.0.1:50051".to_owned());
    let bus = Client::new(&server, ClientOptions::default())?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => demonstrate(&bus).await,
        ["place", id] => place(&bus, id.parse().map_err(|_| format!("{id:?} is not the number of an order"))?).await,
        ["work"] => {
            let (handled, _) = unbounded_channel();
            let interrupted = async { drop(tokio::signal::ctrl_c().await) };
            Ok(workers(&bus, handled).run(interrupted).await?)
        }
        _ => Err("usage: orders [work | place NUMBER]".into()),
    }
}

/// Places an order. The id makes it safe to place the same order twice.
async fn place(bus: &Client, id: u64) -> Result<(), Box<dyn Error>> {
    let event = Event::json(&Order { id })?.id(format!("order-{id}"));
    let placed = bus.dispatch("order.created", event).await?;
    println!("order {id} is placed (already: {})", placed.duplicate);
    Ok(())
}

/// Two groups: each gets its own copy of every order. `handled` receives each order once its handler has finished.
fn workers(bus: &Client, handled: UnboundedSender<()>) -> Worker {
    let group = |group: &str| WorkerOptions::default().group(group).max_in_flight(16);
    let (billed, shipped) = (handled.clone(), handled);
    Worker::new(bus).handle("order.created", group("billing"), move |delivery| bill(delivery, billed.clone())).handle(
        "order.created",
        group("shipping"),
        move |delivery| ship(delivery, shipped.clone()),
    )
}

async fn bill(delivery: Delivery, handled: UnboundedSender<()>) -> Result<(), Failure> {
    // A retry can't help if the order can't be read.
    let order: Order = delivery.json().map_err(Failure::dead_letter)?;
    if order.id % 2 == 1 && delivery.attempt == 1 {
        return Err(Failure::retry_after(Duration::from_millis(100), "the card is busy"));
    }
    println!("order {} is billed, at attempt {}", order.id, delivery.attempt);
    let _ = handled.send(());
    Ok(())
}

async fn ship(delivery: Delivery, handled: UnboundedSender<()>) -> Result<(), Failure> {
    println!("{} is shipped", delivery.event_id);
    let _ = handled.send(());
    Ok(())
}

/// Runs both halves until three new orders are billed and shipped.
async fn demonstrate(bus: &Client) -> Result<(), Box<dyn Error>> {
    let (handled, mut done) = unbounded_channel();
    let worker = workers(bus, handled);
    let ready = worker.ready();
    let service = async {
        ready.await;
        let first = u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
        for id in first..first + 3 {
            place(bus, id).await?;
        }
        for _ in 0..3 * 2 {
            done.recv().await;
        }
        Ok::<_, Box<dyn Error>>(())
    };
    let mut outcome = Ok(());
    // Only because this is an example; a worker runs until its process is asked to stop.
    worker.run(async { outcome = service.await }).await?;
    outcome
}
