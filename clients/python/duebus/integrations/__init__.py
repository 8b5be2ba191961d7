"""DueBus in the frameworks of others. Each module needs an extra of the same name."""
