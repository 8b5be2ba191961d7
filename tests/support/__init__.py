"""Code that several suites share."""
