"""From an engine to a stream: sessions, their windows, and the waker."""
