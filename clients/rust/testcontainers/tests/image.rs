//! `make image-test` runs it: it needs a Docker engine, and the image that `DUEBUS_IMAGE` names.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use duebus::{Event, Worker, WorkerOptions};
use duebus_testcontainers::testcontainers::ImageExt;
use duebus_testcontainers::testcontainers::runners::AsyncRunner;
use duebus_testcontainers::{DueBus, connect};

const MINUTE: Duration = Duration::from_secs(60);

fn image() -> DueBus {
    let image = std::env::var("DUEBUS_IMAGE").expect("DUEBUS_IMAGE");
    let (name, tag) = image.rsplit_once(':').expect("a tag");
    DueBus::new(name, tag)
}

#[tokio::test]
async fn an_order_that_is_not_paid_is_cancelled() -> Result<(), Box<dyn Error>> {
    let container = image().start().await?;
    let bus = connect(&container).await?;
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

#[tokio::test]
async fn the_error_of_a_container_that_ends_has_what_it_printed() {
    let error = image().with_env_var("DUEBUS_MAX_QUEUED", "lots").start().await.expect_err("it has started");
    assert!(error.to_string().contains("max_queued: 'lots' is not a whole number"), "{error}");
}
