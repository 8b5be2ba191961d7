"""A real PostgreSQL for tests, on a free port, with a data directory that is removed with it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from support.builders import unique_name
from support.redis_server import free_port
from support.users import NOBODY, as_user, give_to

DEBIAN = "/usr/lib/postgresql"


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs, which Debian keeps off the path."""
    found = shutil.which(name) or next((str(path) for path in sorted(Path(DEBIAN).glob(f"*/bin/{name}"))), None)
    if found is None:
        raise FileNotFoundError(f"{name} is missing: run 'make postgres', or install your system's postgresql package")
    return found


class PostgresServer:
    """A running PostgreSQL. It refuses to run as root, so root starts it as the user nobody.

    Attributes:
        port: on 127.0.0.1.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="duebus-postgres-"))
        self.port = free_port()
        give_to(NOBODY, self.directory)
        self._run(program("initdb"), "--no-sync", "-U", "duebus", "-A", "trust", "-D", str(self.directory / "data"))
        self.restart()

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            as_user(NOBODY, *command), cwd=self.directory, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, done.stdout.decode()

    def new_database(self) -> str:
        """Make an empty database. Returns its URL, for SQLAlchemy."""
        name = unique_name("db").replace(".", "_")
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "duebus")
        self._run(program("createdb"), *where, name)
        return f"postgresql+psycopg://duebus@127.0.0.1:{self.port}/{name}"

    def kill(self) -> None:
        """As a crash would end it: its processes are ended at once, without a checkpoint."""
        self._run(program("pg_ctl"), "stop", "-m", "immediate", "-D", str(self.directory / "data"))

    def restart(self) -> None:
        """Start again with the same data and port, after `kill`."""
        address = f"-h 127.0.0.1 -p {self.port} -k {self.directory}"
        options = f"{address} -c fsync=off -c max_prepared_transactions=8"
        data, log = str(self.directory / "data"), str(self.directory / "log")
        self._run(program("pg_ctl"), "start", "-w", "-D", data, "-o", options, "-l", log)

    def close(self) -> None:
        """End it and remove its data."""
        if (self.directory / "data" / "postmaster.pid").exists():
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
