"""The errors that end a command."""

STATUS_FAILED = 1
STATUS_MISUNDERSTOOD = 2
STATUS_INTERRUPTED = 130


class CommandFailed(Exception):
    """Ends the command with its text as a line on standard error.

    Attributes:
        status: The exit status.
    """

    def __init__(self, message: str, *, status: int = STATUS_FAILED) -> None:
        super().__init__(message)
        self.status = status


class PipeClosedError(Exception):
    """Nobody reads standard output anymore. Not an OSError, which Rich and Typer turn into their own exit status."""
