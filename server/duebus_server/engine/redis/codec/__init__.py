"""How the domain looks in Redis: events, leases, ids and settings as arguments and answers of scripts."""
