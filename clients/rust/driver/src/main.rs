//! The driver of the conformance suite: it carries out the runner's commands with this client. Its protocol is
//! tests/conformance/PROTOCOL.md.

mod admin;
mod commands;
mod lines;
mod output;
mod schedules;
mod subscription;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use commands::Driver;

/// How long to wait at the end of input.
const EXIT_WITHIN: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .init();
    let driver = Arc::new(Driver::default());
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = input.next_line().await {
        Arc::clone(&driver).receive(&line).await;
    }
    let _ = timeout(EXIT_WITHIN, driver.close()).await;
    // The thread that reads the input can only be ended this way.
    std::process::exit(0);
}
