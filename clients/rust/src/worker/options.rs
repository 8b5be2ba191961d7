use std::time::Duration;

use crate::error::Error;
use crate::proto::Engine;

/// How the events of one topic are handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOptions {
    /// The workers that share one copy of each event; empty means "default".
    pub group: String,
    /// The group goes with its last worker, and gets only what is dispatched while it exists. Without a name, it belongs
    /// to this worker alone, so every instance of a program gets every event.
    pub ephemeral: bool,
    /// Unspecified: the server's default engine.
    pub engine: Engine,
    /// A name that identifies the worker in the admin views; the host and the process by default.
    pub consumer: String,
    /// How many events may be leased to this worker at once, 1 to 100,000; 64 by default.
    pub max_in_flight: u32,
    /// How many bytes of events may be leased to this worker at once; 0 means 16 MiB.
    pub max_in_flight_bytes: u64,
    /// How many handlers run at once; none: as many as `max_in_flight`. A smaller number prefetches: the next event is
    /// already here when a handler ends. In a group with limits, nothing is prefetched: it would count although no
    /// handler has begun.
    pub concurrency: Option<u32>,
    /// How long a delivery is leased, 100 ms to 12 h; 30 s by default. Renewed while it is handled.
    pub lease: Duration,
    /// How long leases last after the stream breaks; none: as the server says.
    pub disconnect_grace: Option<Duration>,
    /// A handler that runs for longer is cancelled and its event nacked; 50 s by default.
    pub max_execution: Duration,
    /// How long handlers may take to finish when the worker stops; 25 s by default.
    pub drain_timeout: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            group: String::new(),
            ephemeral: false,
            engine: Engine::Unspecified,
            consumer: consumer(),
            max_in_flight: 64,
            max_in_flight_bytes: 0,
            concurrency: None,
            lease: Duration::from_secs(30),
            disconnect_grace: None,
            max_execution: Duration::from_secs(50),
            drain_timeout: Duration::from_secs(25),
        }
    }
}

fn consumer() -> String {
    let host = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/etc/hostname")).unwrap_or_default();
    let host = if host.trim().is_empty() { "unknown" } else { host.trim() };
    format!("{host}-{}", std::process::id())
}

impl WorkerOptions {
    pub(crate) fn slots(&self) -> usize {
        self.concurrency.unwrap_or(self.max_in_flight) as usize
    }

    /// How many events a stream may hold. In a group with limits, no more than handlers can begin.
    pub(crate) fn window(&self, limited: bool) -> u32 {
        let concurrency = self.concurrency.filter(|_| limited);
        concurrency.map_or(self.max_in_flight, |handlers| handlers.min(self.max_in_flight))
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(1..=100_000).contains(&self.max_in_flight) {
            let description = format!("must be 1 to 100000, not {}", self.max_in_flight);
            return Err(Error::invalid_field("max_in_flight", description));
        }
        if self.lease < Duration::from_millis(100) || self.lease > Duration::from_secs(12 * 3600) {
            return Err(Error::invalid_field("lease", format!("must be 100 ms to 12 h, not {:?}", self.lease)));
        }
        if self.max_execution.is_zero() {
            return Err(Error::invalid_field("max_execution", "must be positive"));
        }
        if self.slots() == 0 {
            return Err(Error::invalid_field("concurrency", "must be at least 1"));
        }
        Ok(())
    }
}
