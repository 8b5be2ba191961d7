"""The driver of the conformance suite for the Python SDK. Its protocol is tests/conformance/PROTOCOL.md."""
