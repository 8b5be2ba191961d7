"""The credentials for Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError  # noqa: A004  # the client's name for it

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials for Redis; None where the URL decides.

    Attributes:
        password_file: holds the password; read again for each connection, so that a rotated password needs no restart.
    """

    username: str | None = None
    password: str | None = None
    password_file: Path | None = None

    def options(self, in_url: Mapping[str, Any]) -> dict[str, Any]:
        """The client's options, completed with what the URL has.

        Raises:
            PasswordFileError: the file can't be read.
        """
        username = self.username or in_url.get("username")
        if self.password_file is not None:
            from_file = _FromFile(username, self.password_file)
            from_file.get_credentials()
            return {"credential_provider": from_file}
        password = self.password or in_url.get("password")
        return {name: value for name, value in (("username", username), ("password", password)) if value is not None}


class PasswordFileError(ConnectionError):
    """The file with the password can't be read. Its text is one line that names it."""


class _FromFile(CredentialProvider):
    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """The password that is in the file now, with the user if there is one.

        Raises:
            PasswordFileError: it can't be read.
        """
        try:
            password = self._path.read_text().strip()
        except OSError as error:
            raise PasswordFileError(f"{error.strerror}: {self._path}") from error
        except UnicodeDecodeError as error:
            raise PasswordFileError(f"is not text: {self._path}") from error
        return (password,) if self._username is None else (self._username, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """As ``get_credentials``: the file is small."""
        return self.get_credentials()
