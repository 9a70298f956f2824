"""Where keys are required: who gets into the stream, what may be done there, and when it ends."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from raftbook.engine.commands import RevokeKey
from raftbook.engine.types import Role
from raftbook.gateway import make_app
from raftbook.security.signing import (
    KEY_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    STREAM_TARGET,
    TIMESTAMP_HEADER,
    ApiKey,
    format_key,
)
from tests.support.api_keys import creation_of, headers_for
from tests.support.direct_service import DirectService
from tests.support.keyed_venue import (
    ADMIN,
    ALICE,
    ALICES_READER,
    BOB,
    BOBS_ORDER,
    READER,
    stream_of,
)
from tests.support.sample_orders import order, sell
from tests.support.server import serve
from tests.support.stream_client import open_stream


def authentication(venue, key: ApiKey) -> dict[str, object]:
    """The fields of the op `authenticate`."""
    if key.role is Role.READ:
        return {"token": format_key(key)}
    headers = headers_for(key, venue.node, httpx.Request("GET", f"http://localhost{STREAM_TARGET}"))
    return {
        "key_id": headers[KEY_HEADER],
        "timestamp": int(headers[TIMESTAMP_HEADER]),
        "nonce": headers[NONCE_HEADER],
        "signature": headers[SIGNATURE_HEADER],
    }


async def test_a_stream_wants_a_key_before_anything_else(venue):
    async with stream_of(venue, None) as stream:
        refused = await stream.ask("subscribe", channel="book", symbol="ACME")
        assert (refused["type"], refused["code"]) == ("error", "unauthenticated")
        refused = await stream.ask("new", request_id=1, **order())
        assert (refused["request_id"], refused["error"]["code"]) == (1, "unauthenticated")
        answer = await stream.ask("authenticate", request_id=2, **authentication(venue, ALICE))
        assert answer == {"type": "authenticated", "key_id": ALICE.key_id, "role": "trade", "request_id": 2}
        assert (await stream.ask("subscribe", channel="book", symbol="ACME"))["type"] == "snapshot"
        again = await stream.ask("authenticate", **authentication(venue, BOB))
        assert again["code"] == "already_authenticated"


@pytest.mark.parametrize("key", [ALICE, READER], ids=["signed", "token"])
async def test_the_handshake_may_show_the_key(venue, key):
    async with stream_of(venue, key) as stream:
        assert (await stream.ask("subscribe", channel="l3", symbol="ACME"))["type"] == "snapshot"


async def test_a_handshake_with_a_bad_key_is_refused(venue):
    async with serve(venue.app) as url:
        for headers in (
            {"Authorization": "Bearer rb_read_nonsense"},
            headers_for(ALICE, "n9.9", httpx.Request("GET", f"http://localhost{STREAM_TARGET}")),
        ):
            with pytest.raises(InvalidStatus) as refused:
                async with open_stream(url, additional_headers=headers):
                    pytest.fail("it was let in")
            assert refused.value.response.status_code == 401


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"signature": "A" * 86}, "signature_invalid"),
        ({"timestamp": 0}, "timestamp_outside_window"),
        ({"key_id": "nosuch01"}, "unauthenticated"),
        ({"nonce": "x"}, "unauthenticated"),
        ({"timestamp": "soon"}, "malformed"),
        ({"timestamp": True}, "malformed"),
        ({"timestamp": -1}, "malformed"),
        ({"key_id": 5}, "malformed"),
        ({"signature": None}, "malformed"),
        ({"token": 5}, "malformed"),
        ({"token": format_key(READER)}, "malformed"),
    ],
)
async def test_what_authenticates_nobody(venue, change, code):
    async with stream_of(venue, None) as stream:
        answer = await stream.ask("authenticate", **(authentication(venue, ALICE) | change))
        assert (answer["type"], answer["code"]) == ("error", code)
        assert (await stream.ask("new", request_id=1, **order()))["error"]["code"] == "unauthenticated"


async def test_an_authentication_that_was_heard_is_good_for_nobody_else(venue):
    fields = authentication(venue, ALICE)
    async with serve(venue.app) as url:
        async with open_stream(url) as stream:
            assert (await stream.ask("authenticate", **fields))["type"] == "authenticated"
        async with open_stream(url) as thief:
            assert (await thief.ask("authenticate", **fields))["code"] == "replayed"


async def test_over_the_stream_as_over_http_everybody_is_for_the_own_accounts(venue, bobs_order):
    async with stream_of(venue, ALICE) as stream:
        for op, fields in (
            ("new", sell("b2")),
            ("cancel", BOBS_ORDER),
            ("cancel", {"account": "bob", "order_id": 1}),
            ("replace", {**BOBS_ORDER, "quantity": "1"}),
            ("cancel_all", {"account": "bob"}),
            ("set_status", {"symbol": "ACME", "status": "halted"}),
            ("tick", {}),
            ("revoke_key", {"key_id": ADMIN.key_id}),
        ):
            answer = await stream.ask(op, request_id=op, **fields)
            assert answer["request_id"] == op
            assert (answer["error"]["status"], answer["error"]["code"]) == (403, "forbidden"), op
        assert (await stream.ask("subscribe", channel="orders", account="bob"))["code"] == "forbidden"
        assert (await stream.ask("subscribe", channel="orders", account="alice"))["type"] == "snapshot"
        # By its id under the own account it is unknown.
        unknown = await stream.ask("cancel", request_id=1, account="alice", order_id=1)
        assert unknown["report"]["reason"] == "unknown_order"
        await stream.say("new", request_id=2, **order())
        answers = await stream.hear_until(lambda message: message.get("request_id") == 2)
        assert answers[-1]["report"]["status"] == "accepted"
        assert "bob" not in json.dumps(answers)
        assert "b1" not in json.dumps(answers)


async def test_a_read_key_enters_nothing_over_the_stream(venue):
    async with stream_of(venue, ALICES_READER) as stream:
        answer = await stream.ask("new", request_id=1, **order())
        assert answer["error"]["code"] == "forbidden"
        assert "is a read key; this needs a trade key" in answer["error"]["detail"]
        assert (await stream.ask("subscribe", channel="orders", account="alice"))["type"] == "snapshot"


async def test_an_order_whose_key_is_revoked_in_the_turn_in_which_it_comes_is_not_entered(venue, monkeypatch):
    service = venue.service

    def revoke_first(_service: DirectService) -> bool:
        asyncio.get_running_loop().call_soon(service.execute, RevokeKey(ALICE.key_id))
        return True

    async with stream_of(venue, ALICE) as stream:
        monkeypatch.setattr(DirectService, "has_joined", property(revoke_first))
        await stream.say("new", **order(account="alice"), request_id=1)
        assert (await stream.hear())["error"]["code"] == "key_revoked"
    assert service.state.exchange.orders("alice") == []


async def test_a_revoked_keys_stream_ends_at_once_and_no_others_do(venue):
    async with serve(venue.app) as url, open_stream(url) as alices, open_stream(url) as bobs:
        for stream, key in ((alices, ALICE), (bobs, BOB)):
            await stream.ask("authenticate", **authentication(venue, key))
            await stream.ask("subscribe", channel="trades", symbol="ACME")
        await venue.submit(RevokeKey(ALICE.key_id))
        messages, code, reason = await alices.closing()
        assert (messages, code) == ([], 4001)
        assert "was revoked" in reason
        assert (await bobs.ask("ping"))["type"] == "pong"
        async with open_stream(url) as again:
            assert (await again.ask("authenticate", **authentication(venue, ALICE)))["code"] == "key_revoked"


async def test_a_key_that_a_snapshot_no_longer_has_ends_its_stream(venue):
    async with stream_of(venue, None) as stream:
        await stream.ask("authenticate", **authentication(venue, BOB))
        del venue.service.state.exchange.api_keys.records[BOB.key_id]
        del venue.service.state.exchange.api_keys.key_ids[creation_of(BOB, "bob").public_key]
        venue.service.restore_from_itself()
        _, code, reason = await stream.closing()
        assert code == 4001
        assert "is known no more" in reason


async def test_a_stream_without_a_key_in_time_is_closed(venue, monkeypatch):
    monkeypatch.setattr("raftbook.gateway.stream.AUTHENTICATION_S", 0.05)
    async with stream_of(venue, None) as stream:
        _, code, _ = await stream.closing()
        assert code == 4001


async def test_without_keys_to_authenticate_is_a_misunderstanding():
    async with serve(make_app(DirectService())) as url, open_stream(url) as stream:
        assert (await stream.ask("authenticate", token="x"))["code"] == "no_keys"
