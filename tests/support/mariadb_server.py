"""A real MariaDB for tests, on a free port, with a data directory that is removed with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pymysql

from support.builders import unique_name
from support.redis_server import free_port
from support.users import NOBODY, as_user, give_to

START_TIMEOUT_S = 60

OPTIONS = (
    "--no-defaults",  # so the character set is Latin 1, which no table of DueBus may rely on
    "--default-time-zone=+05:00",  # likewise
    "--skip-name-resolve",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=8M",
    "--innodb-flush-log-at-trx-commit=2",  # a commit survives a crash of the server, not of the machine
    "--innodb-use-native-aio=OFF",  # containers often limit it
    "--performance-schema=OFF",
)


def program(name: str) -> str:
    """The path of one of MariaDB's programs; the server is not on every user's path."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/libexec")
    if found is None:
        raise FileNotFoundError(f"{name} is missing: run 'make mariadb', or install your system's package of MariaDB")
    return found


class MariadbServer:
    """A running MariaDB. It refuses to run as root, so root starts it as the user nobody.

    Attributes:
        port: on 127.0.0.1.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="duebus-mariadb-"))
        self.port = free_port()
        give_to(NOBODY, self.directory)
        # A server that starts removes the temporary tables of others, if they are in the same folder.
        self._data = (f"--datadir={self.directory / 'data'}", f"--tmpdir={self.directory}")
        root = "--auth-root-authentication-method=normal"  # without a password, and not by a socket
        done = subprocess.run(
            as_user(NOBODY, program("mariadb-install-db"), *OPTIONS, *self._data, root),
            cwd=self.directory,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout.decode()
        self.restart()

    def new_database(self) -> str:
        """Make an empty database. Returns its URL, for SQLAlchemy."""
        name = unique_name("db").replace(".", "_")
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        return f"mariadb+pymysql://root@127.0.0.1:{self.port}/{name}"

    def _connect(self) -> pymysql.Connection:
        return pymysql.connect(host="127.0.0.1", port=self.port, user="root")

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start again with the same data and port, after `kill`."""
        where = (
            *self._data,
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            f"--socket={self.directory / 'socket'}",
        )
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                as_user(NOBODY, program("mariadbd"), *OPTIONS, *where),
                cwd=self.directory,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for pytest, whose fixtures stop the server
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._connect().close()
            except pymysql.OperationalError:
                time.sleep(0.01)  # another program can't signal that it listens
            else:
                return
        self._process.kill()
        raise AssertionError(f"mariadbd did not start: {(self.directory / 'log').read_text()}")

    def close(self) -> None:
        """End it and remove its data."""
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
