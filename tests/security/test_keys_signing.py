"""API keys as text, and signatures: one form each, and nothing altered passes."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftbook.engine.types import PUBLIC_KEY_PATTERN, Role
from raftbook.errors import InvalidKeyError
from raftbook.security.signing import (
    ApiKey,
    bearer_headers,
    derive_public_key,
    format_key,
    parse_key,
    request_headers,
    sign,
    signed_headers,
    text_to_sign,
    verify,
)

SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
"""Test 1 of RFC 8032, section 7.1."""

KEY = ApiKey(Role.TRADE, "0123456789abcdef", SECRET)
NONCE = "n0nce-of_16chars"
REQUEST = {
    "node_id": "n1",
    "method": "POST",
    "target": "/v1/orders?wait=committed",
    "timestamp": 1_700_000_000_000_000_000,
    "nonce": NONCE,
    "body": b'{"symbol":"ACME"}',
}


def test_the_public_key_is_that_of_rfc_8032():
    assert derive_public_key(SECRET) == PUBLIC
    assert verify(PUBLIC, sign(SECRET, b""), b"")


def test_the_text_that_is_signed():
    assert text_to_sign(**REQUEST) == (
        b"raftbook-v1\nn1\nPOST\n/v1/orders?wait=committed\n1700000000000000000\nn0nce-of_16chars\n"
        + sha256(b'{"symbol":"ACME"}').hexdigest().encode()
    )


@given(st.binary(min_size=32, max_size=32), st.sampled_from(Role), st.from_regex(r"\A[a-z0-9]{8,32}\Z"))
def test_a_key_is_read_as_it_was_written(secret, role, key_id):
    key = ApiKey(role, key_id, secret)
    assert parse_key(format_key(key)) == key


def test_a_key_does_not_show_its_secret_when_it_is_printed():
    encoded = format_key(KEY).rsplit("_", 1)[1]
    for shown in (repr(KEY), str(KEY), f"{KEY}"):
        assert KEY.key_id in shown
        assert encoded not in shown
        assert str(SECRET) not in shown


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no API key"),
        ("secret", "no API key"),
        (format_key(KEY).replace("rb_", "xx_"), "no API key"),
        (format_key(KEY).replace("trade", "king"), "no known role"),
        (format_key(KEY).replace("0123456789abcdef", "SHORT"), "no valid key id"),
        (format_key(KEY)[:-1], "cut off or altered"),
        (format_key(KEY) + "A", "cut off or altered"),
        (format_key(KEY) + "=", "cut off or altered"),
        (format_key(KEY)[:-1] + "!", "cut off or altered"),
        (format_key(KEY)[:-1] + "é", "cut off or altered"),
        # The last character carries four bits only: another one would decode to the same bytes.
        (format_key(KEY)[:-1] + chr(ord(format_key(KEY)[-1]) + 1), "cut off or altered"),
    ],
)
def test_text_that_is_no_key_is_refused_without_showing_a_secret(text, says):
    with pytest.raises(InvalidKeyError, match=says) as caught:
        parse_key(text)
    assert text[30:] not in str(caught.value) or text[30:] == ""


def test_a_signature_fits_its_text_and_its_key_alone():
    signature = sign(SECRET, text_to_sign(**REQUEST))
    assert verify(PUBLIC, signature, text_to_sign(**REQUEST))
    altered = {
        "node_id": "n2",
        "method": "DELETE",
        "target": "/v1/orders?wait=pending",
        "timestamp": REQUEST["timestamp"] + 1,
        "nonce": NONCE + "x",
        "body": b'{"symbol":"OTHER"}',
    }
    assert altered.keys() == REQUEST.keys()
    for name, value in altered.items():
        assert not verify(PUBLIC, signature, text_to_sign(**(REQUEST | {name: value}))), name
    assert not verify(derive_public_key(bytes(32)), signature, text_to_sign(**REQUEST))


@pytest.mark.parametrize("signature", ["", "A" * 86, "A" * 85, "é" * 86, "=" * 86])
def test_what_is_no_signature_does_not_verify(signature):
    assert not verify(PUBLIC, signature, b"text")


def test_a_signature_has_one_form():
    signature = sign(SECRET, b"text")
    last = "BCDEFGHIJKLMNOP"[0]
    assert verify(PUBLIC, signature, b"text")
    for other in (signature + "==", signature[:-1] + last if signature[-1] == "A" else signature[:-1] + "B"):
        assert not verify(PUBLIC, other, b"text")


@pytest.mark.parametrize("public_key", ["_" * 42 + "8", "", PUBLIC[:-1], PUBLIC + "=", PUBLIC[:-1] + "p", "é" * 43])
def test_what_is_no_public_key_verifies_nothing(public_key):
    """The first has the shape of one, and is no point of the curve."""
    assert not verify(public_key, sign(SECRET, b"text"), b"text")


def test_a_public_key_has_the_shape_that_the_engine_asks_for():
    assert PUBLIC_KEY_PATTERN.fullmatch(PUBLIC)
    assert not PUBLIC_KEY_PATTERN.fullmatch(PUBLIC[:-1] + "p")


def test_headers_of_a_signed_request():
    headers = signed_headers(KEY, **REQUEST)
    assert headers == {
        "Raftbook-Key": KEY.key_id,
        "Raftbook-Timestamp": "1700000000000000000",
        "Raftbook-Nonce": NONCE,
        "Raftbook-Signature": sign(SECRET, text_to_sign(**REQUEST)),
    }
    assert request_headers(KEY, **REQUEST) == headers


def test_a_read_key_is_a_bearer_token_and_no_other_key_is_ever_sent():
    read = KEY._replace(role=Role.READ)
    assert request_headers(read, **REQUEST) == {"Authorization": f"Bearer {format_key(read)}"}
    with pytest.raises(AssertionError, match="only a read key"):
        bearer_headers(KEY)
