"""The command `duebus`: what has to be so before gRPC is loaded, which `import duebus` does."""

import os

__all__ = ["main"]


def main() -> None:
    """Runs the command that the arguments name and ends the process; see `duebus.cli.main`."""
    # Standard error is for what the command says itself; gRPC would report each connection there that a server ends. It
    # reads this once, when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from duebus.cli import main as run  # noqa: PLC0415

    run()
