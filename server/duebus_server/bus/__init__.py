"""The use cases, one module each. They know engines and sessions, but not the wire."""
