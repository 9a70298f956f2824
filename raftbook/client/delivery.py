"""What became of commands that were sent, perhaps more than once: which are answered, and which may be sent again.

A node may die with a command in its hands; then nobody can say whether it was taken. What a client does about it:

| command | when its answer is lost |
|---|---|
| `new` | is sent again, to another node, under the same client order id: the exchange recognises it, executes it once and answers with the order as it stands (`duplicate`) |
| `cancel`, `add_instrument` | is sent again: twice is the same as once. Where the first copy did it, the answer is `unknown_order`, with the order as it stands in it, or `instrument_exists` |
| `tick` | is sent again |
| any other (`replace`, `cancel_all`, `set_status`, `uncross`, keys) | is not: the lost copy may be executed late, behind what the client did next, and undo it. OutcomeUnknownError says until when |

A command that a node refused to take (busy, draining, not caught up, disk full) was not sent in this sense: it goes to
the next node, whatever it is.

Every copy carries one `not_after`, fixed before the first is sent. So once one of them is refused, none is accepted later
(raftbook/engine/refused_orders.py), and after it none is executed at all. It is by the clock of this machine, which should
therefore be right to the second; a command that has a `not_after` keeps its own.

Pure.
"""  # noqa: E501 (a table's rows are its lines)

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from raftbook.errors import OutcomeUnknownError
from raftbook.pipelining import named_order_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from raftbook.client.documents import Report

LIFETIME_S: Final = 5.0
"""How long after its first sending a command may still be executed, unless it says otherwise: as long as nodes give."""

_MAY_BE_REPEATED: Final = frozenset(("new", "cancel", "add_instrument", "tick"))


def with_not_after(document: Mapping[str, object], now_ns: int) -> Mapping[str, object]:
    """The command as every copy of it is sent. O(fields)."""
    if document.get("not_after") is not None:
        return document
    return {**document, "not_after": now_ns + int(LIFETIME_S * 1e9)}


def may_be_repeated(document: Mapping[str, object]) -> bool:
    """May a copy be sent although another one may be under way? See the table above."""
    if document.get("op") == "new" and document.get("client_order_id") is None:
        return False
    return document.get("op") in _MAY_BE_REPEATED


def is_definite(report: Report) -> bool:
    return report["status"] != "pending"


class Delivery:
    """A batch of commands on its way, in order. Positions are places in `documents`."""

    __slots__ = ("_in_doubt", "_pending", "_reports", "documents")

    def __init__(self, documents: Sequence[Mapping[str, object]]) -> None:
        self.documents = documents
        self._reports: list[Report | None] = [None] * len(documents)
        self._in_doubt: set[int] = set()
        self._pending: dict[int, Report] = {}

    @property
    def is_in_doubt(self) -> bool:
        """Was something sent that may have been taken, and has no definite answer?"""
        return bool(self._in_doubt)

    @property
    def undecided(self) -> list[int]:
        return [position for position, report in enumerate(self._reports) if report is None]

    @property
    def to_send(self) -> list[int]:
        """What may be sent now, in order: everything undecided, up to what must not be sent twice and may be under way.

        What stands behind that waits, since it was to be executed after it.
        """
        positions = []
        for position in self.undecided:
            if position in self._in_doubt and not may_be_repeated(self.documents[position]):
                break
            positions.append(position)
        return positions

    def to_follow(self, *, with_repeatable: bool) -> list[Report]:
        """Pending reports that are to be waited for: of commands that must not be sent again, or of all."""
        return [
            report
            for position, report in self._pending.items()
            if with_repeatable or not may_be_repeated(self.documents[position])
        ]

    def answered(self, positions: Sequence[int], reports: Sequence[Report]) -> None:
        """A node's reports of the commands at `positions`."""
        for position, report in zip(positions, reports, strict=True):
            if is_definite(report):
                self._decide(position, report)
            else:
                self._in_doubt.add(position)
                self._pending[position] = report

    def followed(self, report: Report) -> None:
        """A later report of a submission that was pending."""
        if not is_definite(report):
            return
        for position, pending in list(self._pending.items()):
            if (pending["origin"], pending["origin_sequence"]) == (report["origin"], report["origin_sequence"]):
                self._decide(position, report)

    def lost_sight(self) -> None:
        """Nobody could tell of what was pending; what may be sent again is to be."""
        for position in [position for position in self._pending if may_be_repeated(self.documents[position])]:
            del self._pending[position]

    def lost(self, positions: Sequence[int]) -> None:
        """The commands at `positions` were sent, and the answer did not come."""
        self._in_doubt.update(positions)

    def reports(self) -> list[Report]:
        """All reports, once nothing is undecided."""
        assert not self.undecided, self.undecided
        return [report for report in self._reports if report is not None]

    def outcome_unknown(self, cause: str) -> OutcomeUnknownError:
        """The error that names what has no definite answer."""
        undecided = self.undecided
        commands = [self.documents[position] for position in undecided]
        latest = max((end for command in commands if isinstance(end := command.get("not_after"), int)), default=None)
        until = "" if latest is None else f" Until log time has passed {latest} (ns) they may still be executed."
        if all(may_be_repeated(command) for command in commands):
            advice = "submit them again with the same client order ids, each is executed once"
        else:
            advice = "look at what they were to change before you submit them again"
        return OutcomeUnknownError(
            f"{len(undecided)} of {len(self.documents)} command(s) have no definite answer ({cause}): they may have "
            f"been executed or not; {advice}.{until}",
            positions=undecided,
            client_order_ids=named_order_ids(commands),
            reports=[self._reports[position] or self._pending.get(position) for position in range(len(self.documents))],
        )

    def _decide(self, position: int, report: Report) -> None:
        self._reports[position] = report
        self._in_doubt.discard(position)
        self._pending.pop(position, None)
