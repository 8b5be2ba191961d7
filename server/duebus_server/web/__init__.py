"""The bus over HTTP: every unary RPC as JSON, and events of any media type."""
