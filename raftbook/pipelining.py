"""Many commands over one connection, in order, without waiting for each.

A feeder reads the input, a sender hands it in batch by batch (one request at a time, which is what keeps the order),
and the generator collects the reports of the oldest batch while younger ones are on their way. The number of
batches under way is bounded, so a slow cluster or a slow consumer holds the input back.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from raftbook.errors import OutcomeUnknownError, ProblemError, RaftbookError, UnreachableError
from raftbook.json_format import command_to_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from raftbook.client.documents import Report
    from raftbook.engine.commands import Command

_COLLECT_WAIT_S: Final = 5.0

CommandLike: TypeAlias = "Command | Mapping[str, object]"


class Submitter(Protocol):
    """What pipelining needs of a client; RaftbookClient says what each does."""

    async def submit_once(self, commands: Sequence[CommandLike], *, busy_timeout_s: float) -> list[Report]: ...

    async def collect(self, origin: str, first_sequence: int, count: int, *, wait_s: float) -> list[Report]: ...


@dataclass(slots=True)
class _Batch:
    first_position: int
    commands: list[Mapping[str, object]]
    reports: list[Report] = field(default_factory=list)


def as_document(command: CommandLike) -> Mapping[str, object]:
    """The JSON form of a command; a new order without a client order id gets a random one, to submit it again by."""
    if isinstance(command, tuple):
        return command_to_json(command)
    if command.get("op") == "new" and command.get("client_order_id") is None:
        return {**command, "client_order_id": f"cl-{secrets.token_hex(12)}"}
    return command


def named_order_ids(commands: Iterable[Mapping[str, object]]) -> list[str]:
    """The client order ids that `commands` carry."""
    return [str(command["client_order_id"]) for command in commands if command.get("client_order_id") is not None]


async def pipeline(
    client: Submitter,
    commands: Iterable[CommandLike] | AsyncIterable[CommandLike],
    *,
    window: int,
    batch: int,
    stall_timeout_s: float,
) -> AsyncGenerator[tuple[int, Report]]:
    """Yields (position, report) in the order of `commands`; see RaftbookClient.pipeline."""
    if not 1 <= batch <= window:
        raise ValueError(f"batch must be from 1 to window ({window}), not {batch}")
    inbox: asyncio.Queue[Mapping[str, object] | None] = asyncio.Queue(batch)
    room = asyncio.Semaphore(window // batch)
    sent: asyncio.Queue[_Batch | None] = asyncio.Queue()
    unanswered: deque[_Batch] = deque()

    async def submit(chunk: list[Mapping[str, object]]) -> list[Report]:
        return await client.submit_once(chunk, busy_timeout_s=stall_timeout_s)

    feeder = asyncio.create_task(_feed(commands, inbox))
    sender = asyncio.create_task(_send(submit, inbox, batch, room, sent, unanswered))
    try:
        while (oldest := await sent.get()) is not None:
            reports = await _settled(client, oldest, stall_timeout_s)
            assert unanswered.popleft() is oldest, "batches are answered in the order in which they were sent"
            room.release()
            for position, report in enumerate(reports, oldest.first_position):
                yield position, report
        await sender
        await feeder
    except (OutcomeUnknownError, ProblemError, UnreachableError) as error:
        if not unanswered:
            raise
        raise _outcome_unknown(unanswered, error) from error
    finally:
        feeder.cancel()
        sender.cancel()
        await asyncio.gather(feeder, sender, return_exceptions=True)


async def _feed(
    commands: Iterable[CommandLike] | AsyncIterable[CommandLike], inbox: asyncio.Queue[Mapping[str, object] | None]
) -> None:
    """Moves the input into `inbox`, and None behind it, also where reading it failed."""
    try:
        if isinstance(commands, AsyncIterable):
            async for command in commands:
                await inbox.put(as_document(command))
        else:
            for command in commands:
                await inbox.put(as_document(command))
    except Exception:
        await inbox.put(None)
        raise
    await inbox.put(None)


async def _send(
    submit: Callable[[list[Mapping[str, object]]], Awaitable[list[Report]]],
    inbox: asyncio.Queue[Mapping[str, object] | None],
    batch: int,
    room: asyncio.Semaphore,
    sent: asyncio.Queue[_Batch | None],
    unanswered: deque[_Batch],
) -> None:
    """Sends what has arrived, batch by batch: full ones under load, single commands where the input trickles."""
    position = 0
    try:
        while commands := await _take(inbox, batch):
            await room.acquire()
            current = _Batch(position, commands)
            position += len(commands)
            unanswered.append(current)
            try:
                current.reports = await submit(commands)
            except (ProblemError, UnreachableError):
                unanswered.pop()  # Nothing of this batch was taken.
                raise
            sent.put_nowait(current)
    finally:
        sent.put_nowait(None)


async def _take(inbox: asyncio.Queue[Mapping[str, object] | None], batch: int) -> list[Mapping[str, object]]:
    """Up to `batch` commands: waits for the first, takes along what is there. Empty at the end of the input."""
    commands: list[Mapping[str, object]] = []
    command = await inbox.get()
    while command is not None:
        commands.append(command)
        if len(commands) == batch:
            return commands
        if inbox.empty():
            await asyncio.sleep(0)  # The feeder may have more at hand.
            if inbox.empty():
                return commands
        command = inbox.get_nowait()
    inbox.put_nowait(None)  # Stays the last, for the call that finds nothing before it.
    return commands


async def _settled(client: Submitter, batch: _Batch, stall_timeout_s: float) -> list[Report]:
    """The reports of `batch` when none is pending any more."""
    taken: dict[str, list[int]] = {}
    for place, report in enumerate(batch.reports):
        if report["status"] == "pending":
            assert report["origin"] is not None, "what is pending says where to ask again"
            taken.setdefault(report["origin"], []).append(place)
    # One node gives all of a batch consecutive numbers; behind a gateway to several clusters there is one of each.
    for origin, places in taken.items():
        await _collect(client, batch, origin, places, stall_timeout_s)
    return batch.reports


async def _collect(client: Submitter, batch: _Batch, origin: str, places: list[int], stall_timeout_s: float) -> None:
    """Puts the reports of what `origin` took of the batch into their places."""
    first_sequence = batch.reports[places[0]]["origin_sequence"]
    assert isinstance(first_sequence, int)
    clock = asyncio.get_running_loop().time
    deadline = clock() + stall_timeout_s
    while True:
        wait_s = min(_COLLECT_WAIT_S, stall_timeout_s)
        reports = await client.collect(origin, first_sequence, len(places), wait_s=wait_s)
        if all(report["status"] != "pending" for report in reports):
            for place, report in zip(places, reports, strict=True):
                batch.reports[place] = report
            return
        if clock() >= deadline:
            raise OutcomeUnknownError(f"nothing was executed for {stall_timeout_s:g} s; is there a leader?")


def _outcome_unknown(unanswered: Iterable[_Batch], error: RaftbookError) -> OutcomeUnknownError:
    positions: list[int] = []
    client_order_ids: list[str] = []
    for batch in unanswered:
        positions += range(batch.first_position, batch.first_position + len(batch.commands))
        client_order_ids += named_order_ids(batch.commands)
    return OutcomeUnknownError(
        f"{len(positions)} commands were sent and not answered, the first of them number {positions[0] + 1} of the "
        f"input ({error}); submit them again with the same client order ids, each is executed once",
        positions,
        client_order_ids,
    )
