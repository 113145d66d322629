"""Callback tokens: what they say, and who can make them."""

from __future__ import annotations

import base64
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import given

from stepwire.contracts.tokens import (
    MAC_BYTES,
    MAX_TOKEN,
    WrongTokenError,
    callback_route,
    derive_key,
    make_token,
    read_token,
    verify_token,
)

PROCESS = UUID(int=1)
KEY = derive_key(b"secret", PROCESS)
TOKEN = make_token(KEY, "0a1b2c3d", "4", 1)
paths = st.lists(st.integers(1, 9999).map(str), min_size=1, max_size=3).map(".".join)
attempts = st.integers(1, 10**9)
secrets = st.text("0123456789abcdef", min_size=8, max_size=8)


@given(secret_id=secrets, node=paths, attempt=attempts)
def test_a_token_says_what_it_was_made_for(secret_id: str, node: str, attempt: int) -> None:
    """Secret, node and attempt come back, the token verifies, and it fits its limit and a URL."""
    text = make_token(KEY, secret_id, node, attempt)
    token = read_token(text)
    assert (token.secret_id, token.node, token.attempt) == (secret_id, node, attempt)
    assert verify_token(KEY, token)
    assert len(text) <= MAX_TOKEN
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_the_same_attempt_has_the_same_token() -> None:
    """An outside system that deduplicates a repeated order still reaches us."""
    assert make_token(KEY, "0a1b2c3d", "4", 1) == TOKEN


def test_tokens_stay_what_they_are() -> None:
    """Routes that were handed out before an upgrade must work after it."""
    assert TOKEN == "MGExYjJjM2R8NHwxfHviuIHCEA_RKdkHbZ0W5Z8"


@pytest.mark.parametrize("attempt", ["01", "+1", " 1", "1_0"])
def test_an_attempt_has_one_spelling(attempt: str) -> None:
    """Another one that would be read as the same was not made here."""
    number = int(attempt)
    mac = read_token(make_token(KEY, "0a1b2c3d", "4", number)).mac
    plain = f"0a1b2c3d|4|{attempt}|".encode() + mac
    with pytest.raises(WrongTokenError):
        read_token(base64.urlsafe_b64encode(plain).rstrip(b"=").decode())


@given(secret_id=secrets, node=paths, attempt=attempts, letter=st.sampled_from("AQgw-z"))
def test_a_token_with_an_altered_letter_is_another_token(secret_id: str, node: str, attempt: int, letter: str) -> None:
    """It names another secret, or it does not verify: no bit of it means nothing."""
    text = make_token(KEY, secret_id, node, attempt)
    for at in range(len(text)):
        altered = text[:at] + letter + text[at + 1 :]
        assert altered == text or not _verifies(altered, secret_id), at


def _verifies(text: str, secret_id: str) -> bool:
    try:
        token = read_token(text)
    except WrongTokenError:
        return False
    return token.secret_id == secret_id and verify_token(KEY, token)


@pytest.mark.parametrize(
    "other",
    [
        make_token(KEY, "0a1b2c3d", "4", 2),
        make_token(KEY, "0a1b2c3d", "5", 1),
        make_token(KEY, "ffffffff", "4", 1),
        make_token(derive_key(b"secret", UUID(int=2)), "0a1b2c3d", "4", 1),
        make_token(derive_key(b"other", PROCESS), "0a1b2c3d", "4", 1),
    ],
)
def test_anything_else_has_another_token(other: str) -> None:
    """A retry, another node, another secret, another process."""
    assert other != TOKEN


@pytest.mark.parametrize("key", [derive_key(b"secret", UUID(int=2)), derive_key(b"other", PROCESS)])
def test_a_token_is_verified_by_the_key_of_its_process_only(key: bytes) -> None:
    """The token of one process opens no other."""
    assert not verify_token(key, read_token(TOKEN))


@given(at=st.integers(0, len(TOKEN) - 1), letter=st.sampled_from("AQgw5-_"))
def test_a_changed_token_opens_nothing_else(at: int, letter: str) -> None:
    """Whatever letter is changed: it is not read, not verified, or says the same as before."""
    changed = TOKEN[:at] + letter + TOKEN[at + 1 :]
    try:
        token = read_token(changed)
    except WrongTokenError:
        return
    told = (token.node, token.attempt)
    assert not verify_token(KEY, token) or told == ("4", 1)


def _encoded(plain: bytes) -> str:
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no token",
        "ä",
        "*" * 40,
        "A",
        "A" * (MAX_TOKEN + 1),
        _encoded(b"a|4|" + b"m" * MAC_BYTES),
        _encoded(b"a|4|x|" + b"m" * MAC_BYTES),
        _encoded(b"a|4||" + b"m" * MAC_BYTES),
        _encoded(b"a|4|1|1|" + b"m" * MAC_BYTES),
        _encoded(b"\xff|4|1|" + b"m" * MAC_BYTES),
    ],
)
def test_what_is_no_token_is_told_apart(text: str) -> None:
    """Garbage is a wrong token, and never an error of ours."""
    with pytest.raises(WrongTokenError):
        read_token(text)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Anybody may post anything to a route."""
    try:
        token = read_token(text)
    except WrongTokenError:
        return
    assert not verify_token(KEY, token)


def test_the_longest_token_there_may_be_is_read() -> None:
    """The limit is a limit of length alone."""
    plain = b"a|" + b"4" * (MAX_TOKEN * 3 // 4 - MAC_BYTES - 5) + b"|1|" + b"m" * MAC_BYTES
    assert len(_encoded(plain)) == MAX_TOKEN
    assert read_token(_encoded(plain)).attempt == 1


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [
        ("", f"/api/processes/{PROCESS}/callback/t"),
        ("https://x.example", f"https://x.example/api/processes/{PROCESS}/callback/t"),
        ("https://x.example/", f"https://x.example/api/processes/{PROCESS}/callback/t"),
    ],
)
def test_a_route_is_a_path_or_a_whole_address(public_url: str, expected: str) -> None:
    """PUBLIC_URL is put before it, with or without a slash at its end."""
    assert callback_route(PROCESS, "t", public_url) == expected


def test_a_token_has_one_spelling() -> None:
    """The bits of the last letter that mean nothing must be as they were made."""
    token = make_token(b"key", "s1", "4", 1)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    readable = []
    for letter in letters:
        try:
            readable.append((letter, read_token(token[:-1] + letter).mac))
        except WrongTokenError:
            continue
    macs = [mac for _, mac in readable]
    assert token[-1] in {letter for letter, _ in readable}
    assert len(set(macs)) == len(macs)
