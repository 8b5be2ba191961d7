"""The use cases: one module each. They know engines and sessions, and nothing of the wire."""
