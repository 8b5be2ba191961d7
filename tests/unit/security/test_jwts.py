"""JSON Web Tokens: accepted only if signed by a key of the set, meant for us, and valid now."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from duebus_server.security.errors import BadFileError
from duebus_server.security.jwts import COOLDOWN_S, REFRESH_S, FileKeys, JwtRefusedError, Jwts, UrlKeys, make_jwts
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_JWK: dict[str, Any] = {**RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa", "alg": "RS256"}
EC_JWK: dict[str, Any] = {**ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec"}


def token(
    key: Any = EC,
    algorithm: str = "ES256",
    kid: str | None = "ec",
    *,
    ends_in_s: int = 60,
    begins_in_s: int | None = None,
    **claims: Any,
) -> str:
    """A token that is valid unless an argument changes that; None leaves out a claim."""
    now_s = int(time.time())
    times = {"exp": now_s + ends_in_s, "nbf": None if begins_in_s is None else now_s + begins_in_s}
    all_claims = {"sub": "billing", "aud": "duebus", "iss": "issuer", **times, **claims}
    headers = None if kid is None else {"kid": kid}
    present = {name: value for name, value in all_claims.items() if value is not None}
    return jwt.encode(present, key, algorithm, headers=headers)


def key_set(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": keys})


@pytest.fixture
def jwts(tmp_path: Path) -> Jwts:
    file = tmp_path / "keys.json"
    file.write_text(key_set(RSA_JWK, EC_JWK))
    return make_jwts(str(file), "duebus", "issuer")


async def refusal(jwts: Jwts, made: str) -> str:
    with pytest.raises(JwtRefusedError) as caught:
        await jwts.identity_of(made)
    assert made not in str(caught.value)
    return str(caught.value)


async def test_a_valid_token_has_its_subject(jwts: Jwts) -> None:
    good = [token(), token(RSA, "RS256", "rsa", aud=["other", "duebus"])]
    assert [await jwts.identity_of(each) for each in good * 2] == ["billing"] * 4


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"ends_in_s": -31}, "the token has expired"),
        ({"aud": "other"}, "InvalidAudienceError"),
        ({"aud": None}, "MissingRequiredClaimError"),
        ({"iss": "other"}, "InvalidIssuerError"),
        ({"exp": None}, "MissingRequiredClaimError"),
        ({"sub": None}, "MissingRequiredClaimError"),
        ({"sub": ""}, "the token has no subject"),
        ({"begins_in_s": 60}, "ImmatureSignatureError"),
        ({"key": OTHER_KEY}, "InvalidSignatureError"),
        ({"kid": "unknown"}, "the key that signed the token is not in the set"),
        ({"kid": None}, "the key that signed the token is not in the set"),
        ({"key": "x" * 32, "algorithm": "HS256"}, "InvalidAlgorithmError"),
        ({"key": "", "algorithm": "none"}, "InvalidAlgorithmError"),
        ({"sub": "a\nb"}, "the token's subject is not printable"),
        ({"sub": "x" * 256}, "the token's subject is not printable, or too long"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
async def test_any_other_token_is_refused(jwts: Jwts, arguments: dict[str, Any], why: str) -> None:
    assert why in await refusal(jwts, token(**arguments))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no.token.atall", "DecodeError"),
        ("x", "DecodeError"),
        (urlsafe_b64encode(b"[" * 6_000).decode() + ".e30.x", "the token is not accepted"),
    ],
    ids=["three parts", "one part", "deep"],
)
async def test_text_that_is_not_a_token_is_refused(jwts: Jwts, text: str, why: str) -> None:
    assert why in await refusal(jwts, text)


async def test_a_token_expires_after_it_was_accepted(jwts: Jwts, monkeypatch: pytest.MonkeyPatch) -> None:
    made = token(ends_in_s=1)
    assert await jwts.identity_of(made) == "billing"
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    # The library reads another clock, which is set here. The remembered result must not be used.
    monkeypatch.setattr(jwt, "decode", _expired)
    assert await refusal(jwts, made) == "the token has expired"


async def test_a_time_written_as_text_is_read_each_time(jwts: Jwts) -> None:
    made = token(exp=str(int(time.time()) + 60))
    assert [await jwts.identity_of(made) for _ in range(2)] == ["billing"] * 2


def _expired(*_: Any, **__: Any) -> None:
    raise jwt.ExpiredSignatureError


async def test_a_token_of_a_removed_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(key_set(RSA_JWK, EC_JWK))
    keys = FileKeys(file)
    keys._file._check_s = -1
    jwts = Jwts(keys, "duebus", None)
    made = token()
    assert await jwts.identity_of(made) == "billing"
    file.write_text(key_set(RSA_JWK))
    assert "not in the set" in await refusal(jwts, made)


async def test_a_token_of_a_replaced_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(key_set(EC_JWK))
    keys = FileKeys(file)
    keys._file._check_s = -1
    jwts = Jwts(keys, "duebus", None)
    made = token()
    assert await jwts.identity_of(made) == "billing"
    file.write_text(key_set(RSA_JWK, {**ECAlgorithm.to_jwk(OTHER_KEY.public_key(), as_dict=True), "kid": "ec"}))
    assert "InvalidSignatureError" in await refusal(jwts, made)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "XYZ"}]}'])
def test_a_file_that_is_not_a_set_of_keys_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(BadFileError, match=r"keys.json: is not a set of public keys"):
        make_jwts(str(file), "duebus", None)


# --- at a URL ---------------------------------------------------------------------------------------------------------


class Issuer:
    """Serves a set of keys over HTTP.

    Attributes:
        content: the document that it serves; None: it answers with an error.
        asked: how many requests it got.
    """

    def __init__(self) -> None:
        self.content: str | None = key_set(EC_JWK)
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the library's name
                issuer.asked += 1
                self.send_response(200 if issuer.content else 500)
                self.end_headers()
                self.wfile.write((issuer.content or "").encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/keys"
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


class Time:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_keys_are_fetched_once_and_again_when_they_are_old(issuer: Issuer) -> None:
    clock = Time()
    jwts = Jwts(UrlKeys(issuer.url, clock), "duebus", None)
    assert [await jwts.identity_of(token()) for _ in range(3)] == ["billing"] * 3
    assert issuer.asked == 1
    clock.now_s += REFRESH_S + 1
    await jwts.identity_of(token())
    assert issuer.asked == 2


async def test_an_unknown_key_is_looked_up_at_limited_intervals(issuer: Issuer) -> None:
    clock = Time()
    jwts = Jwts(UrlKeys(issuer.url, clock), "duebus", None)
    new = token(RSA, "RS256", "rsa")
    for _ in range(3):
        await refusal(jwts, new)
    assert issuer.asked == 1
    issuer.content = key_set(EC_JWK, RSA_JWK)
    clock.now_s += COOLDOWN_S + 1
    assert await jwts.identity_of(new) == "billing"
    assert issuer.asked == 2


async def test_an_unreachable_issuer_leaves_the_current_keys_in_force(issuer: Issuer) -> None:
    clock = Time()
    jwts = Jwts(UrlKeys(issuer.url, clock), "duebus", None)
    await jwts.identity_of(token())
    issuer.content = None
    clock.now_s += REFRESH_S + 1
    assert await jwts.identity_of(token()) == "billing"
    assert issuer.asked == 2


async def test_calls_use_the_current_keys_while_too_many_wait_for_new_ones(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Time()
    jwts = Jwts(UrlKeys(issuer.url, clock), "duebus", None)
    await jwts.identity_of(token())
    clock.now_s += REFRESH_S + 1
    monkeypatch.setattr("duebus_server.security.jwts.MAX_WAITING", 0)
    assert await jwts.identity_of(token()) == "billing"
    assert issuer.asked == 1


@pytest.mark.parametrize("content", ["no JSON", "[]", "[" * 100_000])
async def test_an_invalid_answer_leaves_the_current_keys_in_force(issuer: Issuer, content: str) -> None:
    clock = Time()
    jwts = Jwts(UrlKeys(issuer.url, clock), "duebus", None)
    await jwts.identity_of(token())
    issuer.content = content
    clock.now_s += REFRESH_S + 1
    assert await jwts.identity_of(token()) == "billing"
    assert issuer.asked == 2
