"""A shop on Django: orders, with an event and a task for each."""
