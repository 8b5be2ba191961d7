"""The peers of DueBus: each is measured with its best API, and settings that keep accepted events."""
