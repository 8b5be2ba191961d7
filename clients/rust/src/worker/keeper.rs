use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::sleep;

use super::leases::Leases;
use super::outage::Outage;
use crate::client::Client;
use crate::error::Error;
use crate::proto::lease_failure::Reason;

/// The shortest pause between extensions, and the longest after a failure, regardless of lease and grace.
const SHORTEST: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Terms {
    lease: Duration,
    grace: Duration,
    attached: bool,
}

/// Extends the leases of one subscription while its deliveries are handled, wait, or are being settled: every third of
/// a lease. While no stream is open, every third of the disconnect grace, after which the leases of a broken
/// stream run out.
#[derive(Debug)]
pub(crate) struct Keeper {
    client: Client,
    leases: Arc<Leases>,
    terms: watch::Sender<Terms>,
}

impl Keeper {
    pub(crate) fn new(client: Client, leases: Arc<Leases>, lease: Duration) -> Self {
        Self { client, leases, terms: watch::Sender::new(Terms { lease, grace: lease, attached: false }) }
    }

    /// Notes that a stream is open: the server has renewed the leases that it named.
    pub(crate) fn attach(&self, lease: Duration, grace: Duration) {
        self.terms.send_replace(Terms { lease, grace, attached: true });
    }

    /// Notes that the stream has ended.
    pub(crate) fn detach(&self) {
        self.terms.send_modify(|terms| terms.attached = false);
    }

    /// Extends until it is dropped, or until an error that no retry can cure. `confirmed` is called after extensions.
    pub(crate) async fn run(&self, confirmed: impl Fn()) -> Error {
        let mut changes = self.terms.subscribe();
        let mut failed = false;
        let mut outage = Outage::default();
        loop {
            let terms = *changes.borrow_and_update();
            tokio::select! {
                _ = changes.changed() => continue,
                () = self.leases.doubted.notified() => {}
                () = sleep(period(terms, failed)) => {}
            }
            match self.extend_all(terms.lease).await {
                Ok(()) => {
                    failed = false;
                    outage.over();
                    confirmed();
                }
                Err(error) if !error.reason().heals() => return error,
                Err(error) => {
                    failed = true;
                    if outage.warns() {
                        tracing::warn!(%error, "leases could not be extended");
                    } else {
                        tracing::debug!(%error, "leases could not be extended");
                    }
                }
            }
        }
    }

    async fn extend_all(&self, lease: Duration) -> Result<(), Error> {
        let tokens = self.leases.extendable();
        if tokens.is_empty() {
            return Ok(());
        }
        // An answer that comes after the lease has run out is useless.
        let client = self.client.with_timeout(lease.min(self.client.timeout));
        let asked = SystemTime::now();
        let failures = client.extend(tokens.clone(), Some(lease)).await?;
        let failed: HashSet<&str> = failures.iter().map(|each| each.lease_token.as_str()).collect();
        self.leases.confirm(tokens.iter().filter(|each| !failed.contains(each.as_str())), asked, lease);
        // Leases of a stopped engine are kept: another replica may still accept them.
        let lost = failures.iter().filter(|each| each.reason != Reason::EngineStopped);
        let count = self.leases.lose(lost.map(|each| each.lease_token.as_str()));
        if count > 0 {
            tracing::warn!(count, "leases were lost; their handlers were cancelled");
        }
        Ok(())
    }
}

fn period(terms: Terms, failed: bool) -> Duration {
    let length = if terms.attached { terms.lease } else { terms.lease.min(terms.grace) };
    let period = (length / 3).max(SHORTEST);
    if failed { period.min(RETRY) } else { period }
}
