"""Order entry over a WebSocket as a load generator needs it: many orders under way, and what became of each."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from cli.bench.measurement import BenchmarkFailedError
from cli.bench.stream_load import frame_at, open_socket, pong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cli.bench.stream_load import StreamSocket

_TEXT: Final = 0x81
_PING: Final = 0x89
_BEFORE_ID: Final = len(b'{"request_id":')
_ACCEPTED: Final = b'"report":{"status":"accepted"'
_REJECTED: Final = b'"report":{"status":"rejected"'
_BUSY: Final = b'"code":"busy"'


class Answers(NamedTuple):
    """Those of one turn: when they came, and when each of the orders was sent (or due) that was executed. `rejected` of
    them were refused by the exchange; beside them, `busy` were not taken by the node.
    """

    at: float
    sent_at: list[float]
    rejected: int
    busy: int


class OrderStream:
    """One connection. `answered` hears of every turn's answers; it decides whether to `send` more.

    `requests` are frames whose request ids count from 0 to `request_count` - 1 and then begin again, long after the
    one before of that id is answered.
    """

    def __init__(
        self, requests: Iterator[bytes], request_count: int, answered: Callable[[OrderStream, Answers], None]
    ) -> None:
        self.outstanding = 0
        self.failure: BenchmarkFailedError | None = None
        self._requests = requests
        self._answered = answered
        self._sent_at = [0.0] * request_count
        self._next_id = 0
        self._rest = b""
        self._socket: StreamSocket

    async def open(self, address: str) -> None:
        self._socket = await open_socket(address, self._take)

    def send_now(self, count: int) -> None:
        self.send([time.perf_counter()] * count)

    def send(self, due: Sequence[float]) -> None:
        """As many orders as there are times, each of which counts as sent at its time."""
        sent_at, request_id = self._sent_at, self._next_id
        for moment in due:
            sent_at[request_id] = moment
            request_id += 1
            if request_id == len(sent_at):
                request_id = 0
        self._next_id = request_id
        self.outstanding += len(due)
        self._socket.transport.write(b"".join(islice(self._requests, len(due))))

    def check(self) -> None:
        """Raises what the connection failed with."""
        if self.failure is None and self._socket.is_lost:
            self.failure = BenchmarkFailedError("a node closed a connection; its log says why")
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        self._socket.transport.close()

    def _take(self, data: bytes) -> None:
        now = time.perf_counter()
        data = self._rest + data
        at = rejected = busy = 0
        sent_at = []
        try:
            while (frame := frame_at(data, at)) is not None:
                if frame.first_byte == _TEXT:
                    comma = data.index(b",", frame.payload)
                    moment = self._sent_at[int(data[frame.payload + _BEFORE_ID : comma])]
                    if data.startswith(_ACCEPTED, comma + 1):
                        sent_at.append(moment)
                    elif data.startswith(_REJECTED, comma + 1):
                        sent_at.append(moment)
                        rejected += 1
                    else:
                        _check_busy(data[frame.payload : frame.end])
                        busy += 1
                elif frame.first_byte == _PING:
                    self._socket.transport.write(pong(data[at : frame.end]))
                at = frame.end
        except (BenchmarkFailedError, ValueError) as error:
            self.failure = error if isinstance(error, BenchmarkFailedError) else _no_answer(data[at : at + 200])
            self._socket.transport.abort()
            return
        self._rest = data[at:]
        if sent_at or busy:
            self.outstanding -= len(sent_at) + busy
            self._answered(self, Answers(now, sent_at, rejected, busy))


def _check_busy(answer: bytes) -> None:
    if b'"status":"pending"' in answer:
        raise BenchmarkFailedError("a node answered pending: there was no majority, or the machine is overloaded")
    if _BUSY not in answer:
        raise BenchmarkFailedError(f"a node answered {answer[:300].decode(errors='replace')}")


def _no_answer(data: bytes) -> BenchmarkFailedError:
    return BenchmarkFailedError(f"a node answered with something that is no answer to an order: {data!r}")
