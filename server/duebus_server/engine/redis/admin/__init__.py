"""The verbs of operators."""
