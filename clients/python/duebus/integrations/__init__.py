"""DueBus in the frameworks of others. A module that needs a library has an extra of its name."""
