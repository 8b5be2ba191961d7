"""Makes the sync client from the asyncio one.

`python clients/python/generate_sync.py` writes the files in GENERATED, which are never edited by hand. `--check` only
reports whether they are current; a test runs it. What can't be translated is in `duebus._aio.transport` and
`duebus._aio.dispatching`, and hand-written in the modules of the same names in `duebus._sync`.
"""

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "duebus"
GENERATED = {
    "client.py": "aio.py",
    "_sync/admin.py": "_aio/admin.py",
    "_sync/connection.py": "_aio/connection.py",
    "_sync/schedules.py": "_aio/schedules.py",
    "_sync/subscription.py": "_aio/subscription.py",
}

HEADER = "# Made from {source} by generate_sync.py. Change that one.\n"

# Documentation that differs.
WORDS = (
    ("The asyncio client.", "The client for programs without asyncio."),
    (", for asyncio.", ", for threads."),
    ("an asyncio client", "a sync client"),
    (
        "bus for asyncio. `duebus.Client` is the same without asyncio.",
        "bus without asyncio. `duebus.aio.Client` is the same for asyncio.",
    ),
    ("Many tasks may call", "Many threads may call"),
    ("    It may be created before an event loop runs, and belongs to the event loop of its first call.\n", ""),
    (
        "Calls of `dispatch` that wait for one another share an RPC, and its token.",
        "Each call of `dispatch` is a separate RPC.",
    ),
    (
        "From many tasks, single events are then nearly as fast as batches. Each caller gets its own result.",
        "Batches, with `dispatch_many`, are the fastest way to send many events.",
    ),
    (
        "It may be a coroutine function; another one must not block the event loop.",
        "Many threads may call it at the same time.",
    ),
    ("Several tasks may iterate over it", "Several threads may iterate over it"),
    (
        "Cancelling a task that waits for a delivery loses no delivery.",
        "`close`, from any thread or a signal handler, ends them all.",
    ),
    ("an async context manager", "a context manager"),
    ("an async iterator", "an iterator"),
)

CODE = (
    (r"\b_aio\b", "_sync"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"^import asyncio\n", ""),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
)


def main(arguments: list[str]) -> int:
    """Writes the files, or compares them with `--check`. Returns the exit status."""
    stale = [name for name, source in GENERATED.items() if (PACKAGE / name).read_text() != sync_of(source)]
    for name in stale:
        if arguments == ["--check"]:
            print(f"{name} is not what generate_sync.py makes of {GENERATED[name]}; run it", file=sys.stderr)  # noqa: T201
        else:
            (PACKAGE / name).write_text(sync_of(GENERATED[name]))
    return int(bool(stale) and arguments == ["--check"])


def sync_of(source: str) -> str:
    """The sync counterpart of a file."""
    text = (PACKAGE / source).read_text()
    for of_asyncio, of_threads in WORDS:
        text = text.replace(of_asyncio, of_threads)
    for pattern, replacement in CODE:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return HEADER.format(source=source) + _in_form(text)


def _in_form(text: str) -> str:
    """The text as `make format` formats it."""
    for command in (["check", "--select=I", "--fix-only"], ["format"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", "--stdin-filename", str(PACKAGE / "client.py"), "-"]
        text = subprocess.run(ruff, input=text, check=True, capture_output=True, text=True).stdout
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
