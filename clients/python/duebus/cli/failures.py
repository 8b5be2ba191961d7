"""How a command ends that fails."""

STATUS_FAILED = 1
STATUS_MISUNDERSTOOD = 2
STATUS_INTERRUPTED = 130


class CommandFailed(Exception):
    """Ends the command with a line on standard error, which is its text.

    Attributes:
        status: What the process ends with.
    """

    def __init__(self, message: str, *, status: int = STATUS_FAILED) -> None:
        super().__init__(message)
        self.status = status
