"""The tokens file: its content, and its errors in one line without the token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.security.errors import BadFileError
from duebus_server.security.token_file import digest, file_line, identity_of, new_token, read_tokens

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "duebus_a-token-that-nobody-may-see"
LINE = file_line("billing", TOKEN)


def tokens_file(folder: Path, *lines: str, mode: int = 0o600) -> Path:
    file = folder / "tokens"
    file.write_text("".join(f"{line}\n" for line in lines))
    file.chmod(mode)
    return file


def test_a_token_has_an_identity(tmp_path: Path) -> None:
    other = new_token()
    tokens = read_tokens(tokens_file(tmp_path, "# ours", "", LINE, f"  {file_line('audit', other)}  "))
    assert [identity_of(tokens, token) for token in (TOKEN, other, new_token(), "")] == ["billing", "audit", None, None]


def test_an_identity_can_have_two_tokens_during_replacement(tmp_path: Path) -> None:
    tokens = read_tokens(tokens_file(tmp_path, LINE, file_line("billing", "new"), LINE))
    assert [identity_of(tokens, token) for token in (TOKEN, "new")] == ["billing", "billing"]


def test_new_tokens_are_unique_and_not_in_their_lines() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert not [token for token in made if token in file_line("billing", token)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (TOKEN, "is not of the form IDENTITY sha256:HEX"),
        (f"billing {TOKEN}", "the digest is not sha256: and 64 hexadecimal digits"),
        (f"billing sha256:{digest(TOKEN)[:-1]}", "the digest is not sha256: and 64 hexadecimal digits"),
        (f"bil*ling sha256:{digest(TOKEN)}", "the identity must match "),
        (f"{LINE} {TOKEN}", "is not of the form IDENTITY sha256:HEX"),
        (f"audit sha256:{digest(TOKEN)}", "the token already belongs to another identity"),
    ],
)
def test_a_broken_line_is_reported_by_number_and_not_quoted(tmp_path: Path, line: str, problem: str) -> None:
    file = tokens_file(tmp_path, "# ours", LINE, line)
    with pytest.raises(BadFileError) as caught:
        read_tokens(file)
    assert str(caught.value).startswith(f"{file}:3: {problem}")
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644, 0o666])
def test_a_file_that_others_could_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    file = tokens_file(tmp_path, LINE, mode=mode)
    with pytest.raises(BadFileError, match=rf"{file}: has mode {mode:04o}: others could read or change it"):
        read_tokens(file)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_file_readable_by_owner_and_group_is_accepted(tmp_path: Path, mode: int) -> None:
    assert read_tokens(tokens_file(tmp_path, LINE, mode=mode))


def test_a_missing_or_binary_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match=r"tokens: no such file or directory$"):
        read_tokens(tmp_path / "tokens")
    file = tokens_file(tmp_path)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadFileError, match=r"tokens: is not UTF-8 text$"):
        read_tokens(file)
