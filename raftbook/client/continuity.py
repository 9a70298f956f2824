"""Does a message follow what came before? The sequence rules of the channels, on the client's side.

| channel | an update is the next one when |
|---|---|
| book, l3 | its `first_sequence` (`sequence` where it has none) is one more than the last `sequence` |
| trades | its `previous_trade_id` (none before the symbol's first trade) is the `trade_id` of the last trade |
| orders | its `sequence`, a log index, is higher than the last: entries that do not concern the account are left out |

Pure.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, cast

from raftbook.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raftbook.client.documents import FeedMessage


class Verdict(Enum):
    NEXT = 1
    """It follows, and is to be passed on."""
    KNOWN = 2
    """All of it has been passed on, or a snapshot is to come first."""
    GAP = 3
    """Something before it is missing."""


class Continuity:
    """What a subscriber has seen; `position` is what to resume from, None where only a snapshot will do."""

    def __init__(self, channel: str, from_sequence: int | None = None) -> None:
        self._channel = channel
        self.position = from_sequence
        self._last_trade_id: int | None = None

    def start_again(self) -> None:
        """What was seen is of no use; the next thing is a snapshot."""
        self.position = self._last_trade_id = None

    def judge(self, message: Mapping[str, object]) -> Verdict:
        """Where it is NEXT, it counts as seen."""
        sequence = _integer(message, "sequence")
        if message.get("type") == "snapshot":
            self.position = sequence
            if self._channel == "trades":
                trades = cast("FeedMessage", message).get("trades", [])
                self._last_trade_id = trades[-1]["trade_id"] if trades else 0
            return Verdict.NEXT
        if self.position is None or sequence <= self.position:
            return Verdict.KNOWN
        if not self._follows(message, sequence):
            return Verdict.GAP
        self.position = sequence
        return Verdict.NEXT

    def _follows(self, message: Mapping[str, object], sequence: int) -> bool:
        if self._channel == "trades":
            previous = self._last_trade_id
            follows = previous is None or message.get("previous_trade_id", 0) == previous
            if follows:
                self._last_trade_id = _integer(message, "trade_id")
            return follows
        if self._channel == "orders":
            return True
        first = _integer(message, "first_sequence") if "first_sequence" in message else sequence
        assert self.position is not None
        return first == self.position + 1


def _integer(message: Mapping[str, object], name: str) -> int:
    value = message.get(name)
    if type(value) is not int:
        detail = f"a message of the feed has no {name}: what answers is no raftbook node of this version"
        raise ProblemError(200, "unexpected_answer", detail)
    return value
