"""How the process behaves and what operators read of it: logs, pauses of the garbage collector."""
