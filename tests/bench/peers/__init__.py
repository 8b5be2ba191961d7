"""The peers of DueBus, measured beside it: each with its best API and settings that keep what was accepted."""
