"""Which requests are remembered, and for how long; whose key is good now."""

from __future__ import annotations

from random import Random

import pytest

from raftbook.engine.api_keys import KeyRecord
from raftbook.engine.types import Role
from raftbook.errors import BusyError, ProblemError
from raftbook.security.authentication import WINDOW_NS, Authenticator, NonceMemory, SignedClaim
from raftbook.security.signing import ApiKey, derive_public_key, format_key, sign, text_to_sign

NOW = 1_700_000_000_000_000_000
SECRET = bytes(range(32))
READ = ApiKey(Role.READ, "read0001", SECRET)
TRADE = ApiKey(Role.TRADE, "trade001", SECRET[::-1])


def claim(nonce="n" * 16, timestamp=NOW, key_id=TRADE.key_id, signature=""):
    return SignedClaim(key_id, timestamp, nonce, signature)


class TestNonceMemory:
    def test_a_copy_is_known_as_long_as_its_timestamp_is_good(self):
        memory = NonceMemory()
        assert memory.add(claim(), NOW)
        for later in (0, 1, WINDOW_NS // 2, WINDOW_NS):
            assert not memory.add(claim(), NOW + later)

    def test_keys_timestamps_and_nonces_each_make_another_request(self):
        memory = NonceMemory()
        assert memory.add(claim(), NOW)
        assert memory.add(claim(key_id="trade002"), NOW)
        assert memory.add(claim(timestamp=NOW + 1), NOW)
        assert memory.add(claim(nonce="m" * 16), NOW)

    @pytest.mark.parametrize("seed", range(3))
    def test_nothing_is_forgotten_that_the_window_would_let_in_again(self, seed):
        numbers, memory, now = Random(seed), NonceMemory(), NOW
        kept: list[SignedClaim] = []
        for number in range(2_000):
            now += numbers.randrange(WINDOW_NS // 50)
            new = claim(f"nonce-{number:011}", now + numbers.randrange(-WINDOW_NS, WINDOW_NS + 1))
            assert memory.add(new, now)
            kept = [old for old in [*kept, new] if abs(now - old.timestamp) <= WINDOW_NS]
            assert not memory.add(numbers.choice(kept), now)
        assert len(kept) <= len(memory) < 2 * len(kept)

    def test_it_forgets_what_is_too_old_and_takes_no_more_than_it_may_hold(self):
        memory = NonceMemory(most=3)
        for number in range(3):
            assert memory.add(claim(f"nonce-{number:011}"), NOW)
        with pytest.raises(BusyError, match="come again"):
            memory.add(claim(), NOW)
        assert not memory.add(claim("nonce-00000000000"), NOW), "a copy is told as such"
        later = NOW + 3 * WINDOW_NS
        assert memory.add(claim(timestamp=later), later)
        assert len(memory) == 1

    def test_a_clock_that_was_set_back_lets_no_copy_in(self):
        memory = NonceMemory()
        assert memory.add(claim(), NOW)
        later = NOW + 10 * WINDOW_NS
        assert memory.add(claim(timestamp=later), later)
        assert not memory.add(claim(), NOW)


class TestAuthenticator:
    @pytest.fixture
    def keys(self):
        return {
            key.key_id: KeyRecord(key.key_id, "desk", key.role, ("alice",), derive_public_key(key.secret), 5)
            for key in (READ, TRADE)
        }

    @pytest.fixture
    def authenticator(self, keys):
        return Authenticator("n1.7", keys.get)

    def signed(self, **changes):
        given = claim(**changes)
        text = text_to_sign("n1.7", "GET", "/v1/orders", given.timestamp, given.nonce, b"")
        return given._replace(signature=sign(TRADE.secret, text))

    def check(self, authenticator, signed, now=NOW):
        record = authenticator.check_claim(signed, now)
        authenticator.check_signature(signed, record, method="GET", target="/v1/orders", body=b"", now=now)
        return record

    def test_a_signature_is_good_once(self, authenticator, keys):
        assert self.check(authenticator, self.signed()) is keys[TRADE.key_id]
        with pytest.raises(ProblemError) as caught:
            self.check(authenticator, self.signed())
        assert (caught.value.status, caught.value.code) == (401, "replayed")

    @pytest.mark.parametrize("off_ns", [-WINDOW_NS, WINDOW_NS])
    def test_at_the_ends_of_the_window_a_request_is_good_and_a_nanosecond_beyond_it_is_not(self, authenticator, off_ns):
        self.check(authenticator, self.signed(timestamp=NOW + off_ns))
        beyond = off_ns + (1 if off_ns > 0 else -1)
        with pytest.raises(ProblemError, match=r"5\.0 s (ahead of|behind)") as caught:
            self.check(authenticator, self.signed(timestamp=NOW + beyond, nonce="m" * 16))
        assert caught.value.code == "timestamp_outside_window"

    def test_a_refused_signature_is_not_remembered(self, authenticator):
        """Else anybody could use up the nonces of others, or the room for them."""
        wrong = self.signed()._replace(signature="A" * 86)
        with pytest.raises(ProblemError) as caught:
            self.check(authenticator, wrong)
        assert caught.value.code == "signature_invalid"
        self.check(authenticator, self.signed())

    def test_a_token_that_was_good_is_not_good_for_another_key_of_the_same_id(self, authenticator, keys):
        assert authenticator.check_token(format_key(READ)) is keys[READ.key_id]
        keys[READ.key_id] = keys[READ.key_id]._replace(public_key=derive_public_key(bytes(32)))
        with pytest.raises(ProblemError, match="with this secret"):
            authenticator.check_token(format_key(READ))

    def test_a_key_is_looked_up_each_time(self, authenticator, keys):
        record = authenticator.check_token(format_key(READ))
        assert authenticator.current(record) is record
        keys[READ.key_id] = record._replace(revoked_at=9)
        for ask in (lambda: authenticator.check_token(format_key(READ)), lambda: authenticator.current(record)):
            with pytest.raises(ProblemError) as caught:
                ask()
            assert caught.value.code == "key_revoked"
        del keys[READ.key_id]
        with pytest.raises(ProblemError, match="known no more"):
            authenticator.current(record)

    def test_what_is_known_of_tokens_is_bounded(self, authenticator, monkeypatch):
        monkeypatch.setattr("raftbook.security.authentication._MOST_TOKENS", 1)
        for _ in range(3):
            authenticator.check_token(format_key(READ))
        assert len(authenticator._public_keys) == 1
