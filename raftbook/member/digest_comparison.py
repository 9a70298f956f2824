"""Do the members' states agree? Each tells (index, digest chain) with its reports; this decides what follows from it.

The digest chain is a hash chain, so two members that agree at an index have agreed at every earlier one, and two that
differ will never agree again. So it is enough to keep, for each peer, the highest index of agreement, or that it
differs.

**Who is wrong** is a question of majority: a member from which more than half of all members differ cannot be one of
a majority that agrees, so it halts. With fewer known to differ it may be the others that are wrong; they find out the
same way. Two members that differ while the rest is away stay as they are until a third one speaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Claim(NamedTuple):
    """A member's chain digest (hex) after the entry `index`."""

    log_index: int
    digest: str


class Difference(NamedTuple):
    """Two claims about one index that cannot both be right."""

    peer: str
    log_index: int
    own_digest: str
    peer_digest: str


class DigestComparison:
    """What one member knows of the others' states. O(1) a claim, apart from looking up an own digest."""

    def __init__(self, member_count: int) -> None:
        self._member_count = member_count
        self._waiting: dict[str, Claim] = {}
        """Claims about indexes that this member has not reached."""
        self._agreed: dict[str, int] = {}
        self._differences: dict[str, Difference] = {}

    @property
    def differences(self) -> list[Difference]:
        """One for each peer that differs, by peer."""
        return [self._differences[peer] for peer in sorted(self._differences)]

    @property
    def is_outvoted(self) -> bool:
        """More than half of all members differ from this one."""
        return 2 * len(self._differences) > self._member_count

    def claimed(self, peer: str, claim: Claim) -> None:
        """A peer's word. One that waits to be compared is not replaced, or it might never be."""
        if claim.digest:
            self._waiting.setdefault(peer, claim)

    def forget(self, peer: str) -> None:
        """The peer may come back with another state, rebuilt."""
        self._waiting.pop(peer, None)
        self._agreed.pop(peer, None)
        self._differences.pop(peer, None)

    def review(self, own_index: int, digest_at: Callable[[int], str | None]) -> list[Difference]:
        """Compare what can be compared now; returns the differences that are new.

        `digest_at` answers None for an index that is so old that its digest is not held; such a claim is dropped.
        """
        new: list[Difference] = []
        for peer, claim in list(self._waiting.items()):
            if claim.log_index > own_index:
                continue
            del self._waiting[peer]
            own_digest = digest_at(claim.log_index)
            if own_digest is None or peer in self._differences:
                continue
            if own_digest == claim.digest:
                self._agreed[peer] = max(claim.log_index, self._agreed.get(peer, 0))
            else:
                difference = Difference(peer, claim.log_index, own_digest, claim.digest)
                self._differences[peer] = difference
                new.append(difference)
        return new

    def agreed_index(self, own_index: int) -> int:
        """Up to here more than half of all members, this one among them, are known to have the same digests."""
        agreed = sorted((own_index, *self._agreed.values()), reverse=True)
        majority = self._member_count // 2 + 1
        return agreed[majority - 1] if len(agreed) >= majority else 0
