"""Callback tokens: `base64url(secret id, node path, attempt, MAC)`.

The key of a process is HMAC-SHA256(secret, process id); the MAC is 128 bits of
HMAC-SHA256(key, node path | attempt). A repeated run of the same attempt hands out the
same token, a retry another one, and a gateway verifies it without reading a row.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from binascii import Error as Base64Error
from dataclasses import dataclass
from uuid import UUID

MAC_BYTES = 16
MAX_TOKEN = 120


class WrongTokenError(ValueError):
    """The token is forged, altered, or made with a secret nobody has any more."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token taken apart; `mac` is not verified yet."""

    secret_id: str
    node: str
    attempt: int
    mac: bytes


def derive_key(secret: bytes, process_id: UUID) -> bytes:
    """Key of one process; kept with it until it ends, never in a record."""
    return hmac.digest(secret, str(process_id).encode(), hashlib.sha256)


def make_token(key: bytes, secret_id: str, node: str, attempt: int) -> str:
    """Token of one callback step and attempt."""
    plain = f"{secret_id}|{node}|{attempt}|".encode() + _mac(key, node, attempt)
    return _encoded(plain)


def read_token(token: str) -> Token:
    """Take a token apart without verifying it.

    Raises:
        WrongTokenError: it has not the form of a token.

    """
    if len(token) > MAX_TOKEN:
        message = "the token is longer than any token of this engine"
        raise WrongTokenError(message)
    try:
        plain = _decoded(token)
        secret_id, node, attempt = _head(plain).split("|")
        parsed = Token(secret_id, node, _number(attempt), plain[-MAC_BYTES:])
    except (Base64Error, UnicodeError, ValueError) as error:
        message = "the token has not the form of a callback token"
        raise WrongTokenError(message) from error
    return parsed


def verify_token(key: bytes, token: Token) -> bool:
    """Whether the token was made with `key`, compared in constant time."""
    return hmac.compare_digest(_mac(key, token.node, token.attempt), token.mac)


def callback_route(process_id: UUID, token: str, public_url: str = "") -> str:
    """Route an outside system posts its answer to."""
    return f"{public_url.rstrip('/')}/api/processes/{process_id}/callback/{token}"


def _encoded(plain: bytes) -> str:
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def _decoded(token: str) -> bytes:
    plain = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    if _encoded(plain) != token:
        # The last letter has bits that mean nothing: several spellings would be the same token.
        raise ValueError(token)
    return plain


def _head(plain: bytes) -> str:
    head, separator = plain[: -MAC_BYTES - 1], plain[-MAC_BYTES - 1 : -MAC_BYTES]
    if separator != b"|":
        # A byte that means nothing could be altered unnoticed.
        raise ValueError(separator)
    return head.decode("ascii")


def _number(attempt: str) -> int:
    if attempt != str(int(attempt)):
        # A leading zero would be read as the same attempt.
        raise ValueError(attempt)
    return int(attempt)


def _mac(key: bytes, node: str, attempt: int) -> bytes:
    return hmac.digest(key, f"{node}|{attempt}".encode(), hashlib.sha256)[:MAC_BYTES]
