"""The programs of a scenario, each in a separate process, as users' programs are."""
