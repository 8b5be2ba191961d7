"""The replicas and their sessions: presence, membership, notifications, and the sweep."""
