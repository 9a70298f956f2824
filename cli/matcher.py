"""An engine of one's own, told what to do in JSON lines: what stands behind `raftbook match`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import msgspec

from cli.json_lines import MAX_LINE_BYTES, Line
from raftbook.engine.commands import Entry, Run
from raftbook.engine.exchange import Exchange
from raftbook.engine.types import MAX_INTEGER, Reason
from raftbook.errors import InvalidCommandError
from raftbook.json_format import book_to_json, command_from_json, dumps, event_to_json, fields_from_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftbook.engine.commands import AddInstrument, Command
    from raftbook.json_format import Json

Value = TypeVar("Value")

ORIGIN: Final = "match"
_SYMBOL: Final = msgspec.json.Decoder(str)
_NULL: Final = msgspec.Raw(b"null")
_TIMESTAMP: Final = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] | None)
_DEPTH: Final = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)] | None)


class Matcher:
    """An exchange whose log is what it is told: each command becomes one entry.

    A missing `account` is "default"; a new order's missing `client_order_id` is "line-N" for its line N.
    `instrument_events` tells what became of the instruments that were there from the start.
    """

    def __init__(self, instruments: Sequence[AddInstrument] = ()) -> None:
        self.exchange = Exchange()
        self.instrument_events = [event for command in instruments for event in self.execute(command)]

    def answer(self, line: Line) -> list[Json]:
        """What becomes of one line of input, as one or more JSON values. What is no command is refused in words."""
        try:
            return self._answer(line)
        except InvalidCommandError as error:
            rejection = _rejection(line, Reason.MALFORMED, str(error))
            return [rejection if error.field is None else {**rejection, "field": error.field}]

    def execute(self, command: Command, timestamp: int = 0) -> list[Json]:
        """Appends the command to the log and applies it; log time is `timestamp`, but never less than it was.

        What time itself has led to stands before what the command has: orders that expired meanwhile; and the
        indications of auctions behind it.
        """
        exchange = self.exchange
        index = exchange.log_index + 1
        executions = exchange.apply(index, Entry(timestamp, (Run(ORIGIN, index, (command,)),)))
        assert any(execution.origin == ORIGIN and execution.events for execution in executions), "every one is answered"
        return [event_to_json(event, exchange.instruments) for execution in executions for event in execution.events]

    def book(self, symbol: str, depth: int | None = None) -> Json:
        exchange = self.exchange
        bids, asks = exchange.depth(symbol, depth)
        status, indication = exchange.statuses[symbol], exchange.indication(symbol)
        return book_to_json(symbol, exchange.log_index, bids, asks, exchange.instruments[symbol], status, indication)

    def _answer(self, line: Line) -> list[Json]:
        if line.text is None:
            raise InvalidCommandError(f"the line is longer than {MAX_LINE_BYTES} bytes; write one command a line")
        fields = fields_from_json(line.text)
        timestamp = _read("timestamp", _TIMESTAMP, fields.pop("timestamp", _NULL), "whole nanoseconds since the epoch")
        if "op" in fields and bytes(fields["op"]) == b'"book"':
            del fields["op"]
            return [self._answer_book(line, fields)]
        command = command_from_json(dumps(fields), generate_client_order_id=lambda: f"line-{line.number}")
        return self.execute(command, timestamp or 0)

    def _answer_book(self, line: Line, fields: dict[str, msgspec.Raw]) -> Json:
        for name in fields:
            if name not in ("symbol", "depth"):
                raise InvalidCommandError(f"{name[:36]}: book has no such field; it takes symbol and depth", name[:36])
        symbol = _read("symbol", _SYMBOL, fields.get("symbol", _NULL), "the symbol of an instrument")
        depth = _read("depth", _DEPTH, fields.get("depth", _NULL), "a whole number of levels, 1 or more")
        if symbol not in self.exchange.instruments:
            hint = "add it with op add_instrument or the option --instrument"
            return _rejection(line, Reason.UNKNOWN_SYMBOL, f"there is no instrument {symbol[:24]!r}; {hint}")
        return self.book(symbol, depth)


def _read(field: str, decoder: msgspec.json.Decoder[Value], raw: msgspec.Raw, expected: str) -> Value:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidCommandError(f"{field}: expected {expected}", field) from error


def _rejection(line: Line, reason: Reason, detail: str) -> Json:
    return {"event": "command_rejected", "reason": reason.value, "detail": detail, "line": line.number}
