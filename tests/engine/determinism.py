"""The same log gives the same events and the same state: on every run, machine and interpreter.

    python -m tests.engine.determinism                              the digests, as golden/ keeps them
    python -m tests.engine.determinism --interpreters PYTHON …      what each of these makes of the logs, in a table

The logs are drawn from seeds and hold every kind of command there is, some of them no command at all. The second form
makes a virtual environment with the locked dependencies for each interpreter, and throws it away again. Exit code 1 if
any two differ, or if they differ from what is kept.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.table import Table

from raftbook.codec import RawRun, encode_command, encode_entry
from raftbook.engine import Command, Event, Exchange, Execution, Malformed
from raftbook.engine.types import CLOSED_ORDERS_KEPT
from raftbook.simulation.workload import OrderFlow
from raftbook.state_machine import StateMachine
from tests.engine.dense_flow import DenseFlow
from tests.engine.key_flow import KeyFlow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PROJECT_ROOT = Path(__file__).resolve().parents[2]
KEPT = Path(__file__).parent / "golden" / "digests.txt"
"""`pytest --rewrite` writes it anew."""

ORIGIN = "n1.1"
DENSE_SEEDS = range(1, 13)
DENSE_COMMANDS = 300
FLOW_COMMANDS = 2_000
NO_COMMAND = b"\xff"
SUBPROCESS_TIMEOUT_S = 600


class Log(NamedTuple):
    name: str
    closed_orders_kept: int
    raw_entries: tuple[bytes, ...]


class Digests(NamedTuple):
    """Of the log's bytes, of every event that it led to (the chain), and of the state at its end; hexadecimal."""

    log: str
    events: str
    state: str


def state_machine(closed_orders_kept: int) -> StateMachine:
    machine = StateMachine()
    machine.exchange = Exchange(closed_orders_kept=closed_orders_kept)
    return machine


def raw_entry(timestamp: int, first_sequence: int, commands: Sequence[Command]) -> bytes:
    raw = tuple(NO_COMMAND if isinstance(command, Malformed) else encode_command(command) for command in commands)
    return encode_entry(timestamp, [RawRun(ORIGIN, first_sequence, raw)] if raw else [])


def dense_log(seed: int) -> Log:
    """A life of close commands, as the engine and its oracle live it."""
    flow = DenseFlow(Random(seed))
    machine = state_machine(flow.closed_orders_kept)
    now, sequence = flow.first_moment, 1
    commands: Sequence[Command] = flow.instruments()
    raw_entries = []
    while sequence <= DENSE_COMMANDS:
        raw_entries.append(raw_entry(now, sequence, commands))
        machine.apply(machine.index + 1, raw_entries[-1])
        sequence += len(commands)
        now += flow.elapsed(now)
        commands = flow.commands(now, machine.exchange.orders(), machine.exchange.statuses)
    return Log(f"dense-{seed}", flow.closed_orders_kept, tuple(raw_entries))


def flow_log() -> Log:
    """Order flow as a market's, half of it of the rarer kinds, in entries of many sizes."""
    numbers = Random(1)
    now, sequence = 1_700_000_000_000_000_000, 1
    flow = OrderFlow(1, ("ACME", "BTC"), exotic_share=0.5, clock=lambda: now)
    commands: Sequence[Command] = flow.instruments()
    raw_entries = []
    while sequence <= FLOW_COMMANDS:
        raw_entries.append(raw_entry(now, sequence, commands))
        sequence += len(commands)
        now += numbers.randrange(200_000_000)
        commands = list(islice(flow, numbers.randrange(30)))
    return Log("flow", CLOSED_ORDERS_KEPT, tuple(raw_entries))


def keys_log() -> Log:
    """API keys between orders."""
    numbers = Random(1)
    flow, keys = DenseFlow(numbers), KeyFlow(numbers, share=0.5)
    now, sequence = flow.first_moment, 1
    commands: Sequence[Command] = flow.instruments()
    raw_entries = []
    while sequence <= DENSE_COMMANDS:
        raw_entries.append(raw_entry(now, sequence, commands))
        sequence += len(commands)
        now += flow.elapsed(now)
        commands = (*flow.commands(now, (), {}), *keys.commands(now))
    return Log("keys", flow.closed_orders_kept, tuple(raw_entries))


def logs() -> Iterator[Log]:
    yield from map(dense_log, DENSE_SEEDS)
    yield flow_log()
    yield keys_log()


def events_of(executions: Iterable[Execution]) -> list[Event]:
    return [event for execution in executions for event in execution.events]


def digests_of(log: Log) -> Digests:
    machine = state_machine(log.closed_orders_kept)
    for index, raw in enumerate(log.raw_entries, 1):
        machine.apply(index, raw)
    return Digests(digest_of_log(log), machine.chain_digest.hex(), machine.state_digest())


def digest_of_log(log: Log) -> str:
    return blake2b(b"".join(log.raw_entries), digest_size=32).hexdigest()


def report() -> str:
    """A line for each digest: whose log, of what, and the digest."""
    lines = []
    for log in logs():
        lines += [f"{log.name} {name} {digest}\n" for name, digest in digests_of(log)._asdict().items()]
    return "".join(lines)


# The command.


def report_of(interpreter: str) -> tuple[str, str]:
    """(version, report) of an interpreter with the locked dependencies, in an environment of its own."""
    path = shutil.which(interpreter)
    if path is None:
        raise SystemExit(f"there is no {interpreter} on the PATH; install it, or leave it out of --interpreters")
    with tempfile.TemporaryDirectory(prefix="raftbook-determinism-") as folder:
        run(path, "-m", "venv", folder)
        python = f"{folder}/bin/python"
        run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", "requirements.lock")
        return run(python, "--version").split()[1], run(python, "-m", "tests.engine.determinism")


def run(*command: str) -> str:
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, timeout=SUBPROCESS_TIMEOUT_S
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def compare(interpreters: Sequence[str]) -> bool:
    """Print what each makes of the logs; True if all made the same as is kept."""
    kept = KEPT.read_text()
    table = Table(title=f"{len(DENSE_SEEDS) + 1} logs", title_justify="left")
    for header in ("Python", *Digests._fields, "as kept"):
        table.add_column(header, overflow="fold")
    same = True
    for interpreter in interpreters:
        print(f"{interpreter} …", file=sys.stderr)
        version, found = report_of(interpreter)
        columns = (digest_of_lines(found, name) for name in Digests._fields)
        table.add_row(version, *columns, "yes" if found == kept else "NO")
        same = same and found == kept
    Console().print(table)
    return same


def digest_of_lines(found: str, name: str) -> str:
    """One short digest for all lines that are about `name`."""
    lines = [line for line in found.splitlines() if line.split()[1] == name]
    return blake2b("\n".join(lines).encode(), digest_size=6).hexdigest()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.determinism", description=__doc__)
    parser.add_argument("--interpreters", nargs="+", metavar="PYTHON", help="compare these")
    options = parser.parse_args(arguments)
    if options.interpreters:
        return 0 if compare(options.interpreters) else 1
    print(report(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
