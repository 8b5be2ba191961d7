"""The programs of a scenario, each a process of its own, as users' programs are."""
