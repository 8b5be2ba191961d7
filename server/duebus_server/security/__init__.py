"""Who calls, and what they may do. Knows files, tokens and rules, and nothing of the wire or the bus."""
