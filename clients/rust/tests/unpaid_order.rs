#![cfg(feature = "testing")]
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use duebus::testing::Bus;
use duebus::{Event, Worker, WorkerOptions};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_order_that_is_not_paid_is_cancelled() -> Result<(), Box<dyn Error>> {
    let bus = Bus::start().await?;
    let cancelled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&cancelled);
    let worker = Worker::new(bus.client()).handle("order.check", WorkerOptions::default(), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    });
    let running = bus.run(worker).await?;

    bus.client().dispatch("order.check", Event::new("42").after(30 * MINUTE)).await?;
    bus.advance(29 * MINUTE).await?;
    bus.settle().await?;
    assert_eq!(cancelled.load(Ordering::Relaxed), 0);

    bus.advance(MINUTE).await?;
    bus.settle().await?;
    assert_eq!(cancelled.load(Ordering::Relaxed), 1);
    Ok(running.stop().await?)
}
