"""The driver of the conformance suite around the Python SDK; tests/conformance/PROTOCOL.md is what it speaks."""
