//! The image of DueBus for tests, in memory, with a clock that the test moves. It needs a Docker engine.
//!
//! ```no_run
//! use duebus_testcontainers::testcontainers::runners::AsyncRunner;
//! use duebus_testcontainers::{DueBus, connect};
//!
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! let container = DueBus::new("ghcr.io/duebus/duebus", "0.1.0").start().await?;
//! let bus = connect(&container).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The container is removed when it is dropped. A test that is killed leaves it behind: Testcontainers has no reaper in Rust.
//! The feature `watchdog` of `testcontainers` removes it on SIGINT, SIGTERM and SIGQUIT, but not on SIGKILL.

use std::borrow::Cow;

use duebus::testing::Bus;
pub use testcontainers;
use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::{ContainerAsync, Image, TestcontainersError};

const PORT: ContainerPort = ContainerPort::Tcp(50051);

/// An image of DueBus. If its container ends before it serves, what it printed is in the error.
#[derive(Clone, Debug)]
pub struct DueBus {
    name: String,
    tag: String,
}

impl DueBus {
    /// The image of a name, such as `ghcr.io/duebus/duebus`, and a tag, such as `0.1.0`.
    pub fn new(name: impl Into<String>, tag: impl Into<String>) -> Self {
        Self { name: name.into(), tag: tag.into() }
    }
}

impl Image for DueBus {
    fn name(&self) -> &str {
        &self.name
    }

    fn tag(&self) -> &str {
        &self.tag
    }

    fn ready_conditions(&self) -> Vec<WaitFor> {
        vec![WaitFor::message_on_either_std("duebus ready on ")]
    }

    fn cmd(&self) -> impl IntoIterator<Item = impl Into<Cow<'_, str>>> {
        ["serve", "--test-clock"]
    }

    fn expose_ports(&self) -> &[ContainerPort] {
        &[PORT]
    }
}

/// Where a container listens, `host:port`, for clients and workers.
///
/// # Errors
/// It is not running, or the engine does not answer.
pub async fn address(container: &ContainerAsync<DueBus>) -> Result<String, TestcontainersError> {
    Ok(format!("{}:{}", container.get_host().await?, container.get_host_port_ipv4(PORT).await?))
}

/// Connects to a container. Each bus has a client of its own, and dropping it leaves the container running.
///
/// # Errors
/// Those of [`address`].
pub async fn connect(container: &ContainerAsync<DueBus>) -> Result<Bus, TestcontainersError> {
    Bus::connect(address(container).await?).map_err(TestcontainersError::other)
}
