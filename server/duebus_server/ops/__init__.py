"""Operating the process: logs, metrics, traces, HTTP probes, and garbage-collector pauses."""
