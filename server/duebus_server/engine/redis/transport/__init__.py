"""Runs scripts on Redis: connections, the scripts, and what Redis raises."""
