"""Many subscribers in a process of its own: `python -m cli.bench.feed_subscribers`, a plan on standard input.

It says `ready` when all are subscribed. A second line on standard input, when nothing more is entered, says which
sequence they must come to and when each entry's reports came; the answer is what they got.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import msgspec

from cli.bench.generator import new_event_loop
from cli.bench.measurement import BenchmarkFailedError
from cli.bench.stream_load import Delivered, Reference, Subscriber

SAMPLED: Final = 50
"""Of how many subscribers every arrival is kept, spread over all of them."""
CONNECTING_AT_ONCE: Final = 50
READY_DEADLINE_S: Final = 60.0
END_DEADLINE_S: Final = 60.0
POLL_S: Final = 0.02


class SubscribersPlan(msgspec.Struct, frozen=True):
    """`interval_ms` 0: every update by itself."""

    address: str
    count: int
    symbol: str
    interval_ms: int


class Ending(msgspec.Struct, frozen=True):
    """`reported_at`: log index -> when the first report of that entry came (ns), where latencies count."""

    sequence: int
    reported_at: dict[int, int]


class SubscribersResult(msgspec.Struct, frozen=True):
    """`complete`: subscribers who were told everything up to the last sequence; the others have a close code.

    Latencies are in seconds, of each measured entry at each sampled subscriber.
    """

    complete: int
    close_codes: dict[int, int]
    messages_each: int
    bytes_each: int
    commit_to_delivery_s: list[float]
    log_time_to_delivery_s: list[float]
    own_cpu_s: float


async def run(plan: SubscribersPlan) -> SubscribersResult:
    reference = Reference()
    every = max(1, plan.count // SAMPLED)
    subscribers = [
        Subscriber(reference, makes_reference=number == 0, keeps_arrivals=number % every == 0)
        for number in range(plan.count)
    ]
    subscription: dict[str, object] = {"channel": "book", "symbol": plan.symbol}
    if plan.interval_ms:
        subscription["interval_ms"] = plan.interval_ms
    for first in range(0, plan.count, CONNECTING_AT_ONCE):
        together = subscribers[first : first + CONNECTING_AT_ONCE]
        await asyncio.gather(*(subscriber.open(plan.address, subscription) for subscriber in together))
    deadline = time.monotonic() + READY_DEADLINE_S
    while any(subscriber.snapshot_sequence is None for subscriber in subscribers):
        _check(deadline, "not all subscribers have their snapshot")
        await asyncio.sleep(POLL_S)
    if len({subscriber.snapshot_sequence for subscriber in subscribers}) > 1:
        raise BenchmarkFailedError("the market moved while subscribers joined; nobody else should use this cluster")
    print("ready", flush=True)
    began_cpu_s = time.process_time()
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.readline)
    ending = msgspec.json.decode(line, type=Ending)
    deadline = time.monotonic() + END_DEADLINE_S
    while not _is_over(reference, subscribers, ending.sequence):
        _check(deadline, f"not all subscribers came to sequence {ending.sequence}")
        await asyncio.sleep(POLL_S)
    own_cpu_s = time.process_time() - began_cpu_s
    commit_to_delivery_s, log_time_to_delivery_s = _latencies(reference, subscribers, ending.reported_at)
    codes = [subscriber.close_code for subscriber in subscribers if subscriber.close_code is not None]
    return SubscribersResult(
        complete=sum(subscriber.position == len(reference.stream) for subscriber in subscribers),
        close_codes={code: codes.count(code) for code in sorted(set(codes))},
        messages_each=reference.messages,
        bytes_each=len(reference.stream),
        commit_to_delivery_s=commit_to_delivery_s,
        log_time_to_delivery_s=log_time_to_delivery_s,
        own_cpu_s=own_cpu_s,
    )


def _is_over(reference: Reference, subscribers: list[Subscriber], sequence: int) -> bool:
    """Everybody has come to the last sequence, or was closed."""
    if subscribers[0].close_code is not None or subscribers[0].socket.is_lost:
        raise BenchmarkFailedError(f"the subscriber whose updates are read was closed ({subscribers[0].close_code})")
    if reference.sequence != sequence:
        return False
    for subscriber in subscribers:
        subscriber.catch_up()
        if subscriber.position < len(reference.stream) and not subscriber.socket.is_lost:
            return False
    return True


def _check(deadline: float, problem: str) -> None:
    if time.monotonic() > deadline:
        raise BenchmarkFailedError(f"{problem}; is the machine overloaded?")


def _latencies(
    reference: Reference, subscribers: list[Subscriber], reported_at: dict[int, int]
) -> tuple[list[float], list[float]]:
    """From commit and from log time to delivery, of each entry in `reported_at` at each sampled subscriber.

    Commit is the first sign of an entry outside the node: its first report, or its first arrival here.
    """
    arrivals: dict[Delivered, list[int]] = {}
    for subscriber in subscribers:
        entries = iter(reference.delivered)
        entry = next(entries, None)
        for arrived_at, position in subscriber.arrivals:
            while entry is not None and entry.end <= position:
                if entry.log_index in reported_at:
                    arrivals.setdefault(entry, []).append(arrived_at)
                entry = next(entries, None)
    from_commit: list[float] = []
    from_log_time: list[float] = []
    for entry, arrived in arrivals.items():
        committed_at = min(reported_at[entry.log_index], *arrived)
        from_commit += [(arrived_at - committed_at) / 1e9 for arrived_at in arrived]
        from_log_time += [(arrived_at - entry.timestamp) / 1e9 for arrived_at in arrived]
    return from_commit, from_log_time


def main() -> int:
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=SubscribersPlan)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            result = runner.run(run(plan))
    except (BenchmarkFailedError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
