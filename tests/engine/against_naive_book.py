"""The engine against its oracle, as long as wanted: lives of dense commands, each drawn from its seed.

    python -m tests.engine.against_naive_book --commands 5000000 --seed 1 --jobs 2

A life that fails prints the command that repeats it. Exit code 1 if any did.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.engine.dense_flow import DenseFlow
from tests.engine.key_flow import MOST_KEYS, KeyFlow
from tests.engine.side_by_side import SideBySide

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMANDS_PER_LIFE = 400
KEYS_SHARE = 0.06
"""Of the entries that have a command about an API key."""
LINE_EVERY_LIVES = 50
"""Where standard error is no terminal."""
ENTRIES_PER_CHECK = 3
ENTRIES_PER_STATE = 6
"""Events are compared after every entry; invariants and the whole state cost the most, so only after so many."""


class Life(NamedTuple):
    seed: int
    commands: int
    reached: Counter[str]
    digest: str
    """Of all events, in hexadecimal: the same seed gives the same one on every machine."""


class Failure(NamedTuple):
    seed: int
    story: str


def live(seed: int) -> Life:
    """One life, the same for every time it is lived. AssertionError where engine and oracle differ."""
    numbers = Random(seed)
    flow, keys = DenseFlow(numbers), KeyFlow(Random(f"keys of {seed}"), KEYS_SHARE)
    both = SideBySide(flow.closed_orders_kept, MOST_KEYS)
    now = flow.first_moment
    both.apply(now, flow.instruments())
    entries = 0
    while both.next_sequence <= COMMANDS_PER_LIFE:
        now += flow.elapsed(now)
        commands = flow.commands(now, both.naive.all_orders(open_only=True), both.exchange.statuses)
        both.apply(now, (*commands, *keys.commands(now)))
        entries += 1
        if entries % ENTRIES_PER_CHECK == 0:
            both.exchange.check()
        if entries % ENTRIES_PER_STATE == 0:
            both.assert_equal_state()
        if numbers.random() < 0.01:
            both.restore()
    both.exchange.check()
    both.assert_equal_state()
    return Life(seed, both.next_sequence - 1, both.reached, both.digest.hexdigest())


def outcome_of(seed: int) -> Life | Failure:
    try:
        return live(seed)
    except Exception:  # noqa: BLE001 (whatever the engine raises is a finding; the story tells it)
        return Failure(seed, traceback.format_exc())


def outcomes(first_seed: int, commands: int, jobs: int) -> Iterator[Life | Failure]:
    """Lives one seed after the other, until they come to so many commands."""
    seed, done = first_seed, 0
    running: set[Future[Life | Failure]] = set()
    with ProcessPoolExecutor(jobs) as pool:
        while done < commands or running:
            while done + COMMANDS_PER_LIFE * len(running) < commands and len(running) < 2 * jobs:
                running.add(pool.submit(outcome_of, seed))
                seed += 1
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                outcome = future.result()
                done += outcome.commands if isinstance(outcome, Life) else COMMANDS_PER_LIFE
                yield outcome


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.against_naive_book", description=__doc__)
    parser.add_argument("--commands", type=int, default=100_000, help="how many, at least")
    parser.add_argument("--seed", type=int, default=1, help="of the first life")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args(arguments)

    screen = Console(stderr=True)
    columns = (TextColumn("commands"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    began_s = time.monotonic()
    lives, commands, failures = 0, 0, 0
    reached: Counter[str] = Counter()
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as progress:
        task = progress.add_task("commands", total=options.commands)
        for outcome in outcomes(options.seed, options.commands, options.jobs):
            lives += 1
            if lives % LINE_EVERY_LIVES == 0 and not screen.is_terminal:
                print(f"{lives:,} lives, {commands:,} of {options.commands:,} commands", file=sys.stderr, flush=True)
            if isinstance(outcome, Failure):
                failures += 1
                again = f"python -m tests.engine.against_naive_book --seed {outcome.seed} --commands 1"
                print(f"{outcome.story}\nseed {outcome.seed} FAILED; again: {again}", flush=True)
                continue
            commands += outcome.commands
            reached += outcome.reached
            progress.update(task, completed=commands)
    took_s = time.monotonic() - began_s
    for name, count in sorted(reached.items()):
        print(f"{count:>12,} {name}")
    print(
        f"{lives:,} lives from seed {options.seed}, {commands:,} commands, {failures} failed, in {took_s:,.0f} s "
        f"({commands / took_s:,.0f} a second)"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
