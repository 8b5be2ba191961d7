"""The DueBus server: an event bus as a gRPC service.

Imports go one way: wire -> bus -> delivery -> engine -> domain; only ``app`` sees everything.
"""
