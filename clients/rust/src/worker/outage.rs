use std::time::Duration;

use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(60);

/// Picks the log lines that are warnings while a server is unreachable: the first, and then one a minute; the others are
/// for debugging.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    warned: Option<Instant>,
}

impl Outage {
    /// Whether the line about the next failure is a warning.
    pub(crate) fn warns(&mut self) -> bool {
        if self.warned.is_some_and(|warned| warned.elapsed() < INTERVAL) {
            return false;
        }
        self.warned = Some(Instant::now());
        true
    }

    /// The server has answered.
    pub(crate) fn over(&mut self) {
        self.warned = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_a_warning_at_first_and_then_once_a_minute() {
        let mut outage = Outage::default();
        assert!(outage.warns());
        tokio::time::advance(INTERVAL.saturating_sub(Duration::from_secs(1))).await;
        assert!(!outage.warns());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(outage.warns());
        assert!(!outage.warns());
        outage.over();
        assert!(outage.warns());
    }
}
