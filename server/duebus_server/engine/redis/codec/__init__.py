"""Encodes events, leases, ids and settings for the scripts, and decodes their answers."""
