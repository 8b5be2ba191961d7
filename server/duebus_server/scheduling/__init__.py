"""The rules of time: which nominal times a schedule has, what fires next, and the loop that fires it."""
