"""Certificates on disk: what is wrong with them is one line that names the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.security.certificates import CertificateFiles, read_certificates
from duebus_server.security.errors import BadFileError
from support.tls import Certificates, make_certificates

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("expired"), days=-1)


def refusal(certificate: Path, key: Path, client_ca: Path | None = None) -> str:
    with pytest.raises(BadFileError) as caught:
        read_certificates(CertificateFiles(certificate, key, client_ca))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_good_files_are_read(made: Certificates) -> None:
    read = read_certificates(CertificateFiles(made.server, made.server_key, made.ca))
    assert (read.certificate, read.key) == (made.server.read_bytes(), made.server_key.read_bytes())
    assert read.client_ca == made.ca.read_bytes()


def test_the_key_of_another_certificate_is_refused(made: Certificates) -> None:
    assert refusal(made.server, made.client_key) == f"{made.client_key}: is not the key of {made.server}"


def test_a_file_without_a_certificate_or_key_is_refused(made: Certificates, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert refusal(made.server_key, made.server_key) == f"{made.server_key}: has no certificate in PEM"
    assert refusal(made.server, empty).startswith(f"{empty}: is not a private key in PEM")
    assert refusal(made.server, made.server_key, empty) == f"{empty}: has no certificate in PEM"
    assert refusal(tmp_path / "nothing", made.server_key) == f"{tmp_path / 'nothing'}: no such file or directory"


def test_an_expired_certificate_is_refused(made: Certificates, expired: Certificates) -> None:
    assert refusal(expired.server, expired.server_key).startswith(f"{expired.server}: the certificate expired on 20")
    refused = refusal(made.server, made.server_key, expired.client)
    assert refused.startswith(f"{expired.client}: the certificate expired on 20")
