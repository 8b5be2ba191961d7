use std::time::Duration;

use crate::error::Error;
use crate::proto::Engine;

/// How the events of one topic are handled:
///
/// ```
/// # use duebus::WorkerOptions;
/// let options = WorkerOptions::default().group("billing").max_in_flight(16);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// In a group: the workers that share one copy of each event.
    #[must_use]
    pub fn group(self, name: impl Into<String>) -> Self {
        Self { group: name.into(), ..self }
    }

    /// In a group that goes with its last worker.
    #[must_use]
    pub fn ephemeral(self) -> Self {
        Self { ephemeral: true, ..self }
    }

    /// On this engine.
    #[must_use]
    pub fn engine(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    /// With a name that identifies the worker in the admin views.
    #[must_use]
    pub fn consumer(self, name: impl Into<String>) -> Self {
        Self { consumer: name.into(), ..self }
    }

    /// With this many events leased at once.
    #[must_use]
    pub fn max_in_flight(self, events: u32) -> Self {
        Self { max_in_flight: events, ..self }
    }

    /// With this many bytes of events leased at once.
    #[must_use]
    pub fn max_in_flight_bytes(self, bytes: u64) -> Self {
        Self { max_in_flight_bytes: bytes, ..self }
    }

    /// With this many handlers at once.
    #[must_use]
    pub fn concurrency(self, handlers: u32) -> Self {
        Self { concurrency: Some(handlers), ..self }
    }

    /// With leases that last so long.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// With leases that last so long after the stream breaks.
    #[must_use]
    pub fn disconnect_grace(self, grace: Duration) -> Self {
        Self { disconnect_grace: Some(grace), ..self }
    }

    /// With so much time for a handler.
    #[must_use]
    pub fn max_execution(self, most: Duration) -> Self {
        Self { max_execution: most, ..self }
    }

    /// With so much time for handlers to finish when the worker stops.
    #[must_use]
    pub fn drain_timeout(self, most: Duration) -> Self {
        Self { drain_timeout: most, ..self }
    }

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
