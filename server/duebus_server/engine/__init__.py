"""Where events wait: the contract of an engine, and the engines."""
