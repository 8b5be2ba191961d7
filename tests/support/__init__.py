"""What several suites share: engines to drive, events to dispatch, a watcher that remembers."""
