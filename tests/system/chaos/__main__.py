"""Campaigns of chaos: many seeds, one after the other, and a table of what was done, checked and found.

    python -m tests.system.chaos --seeds 1-20                   three nodes, each seed for some ten seconds
    python -m tests.system.chaos --seeds 7 --nodes 5 --story    one seed again, with its schedule and its story
    make chaos CHAOS="--seeds 1-200 --seconds 30"

The exit code is 0 where nothing was violated. A seed that found something leaves its folder behind: the nodes' logs,
their disks, and the story. The same seed draws the same faults again on every machine; what happens between the
processes is theirs, so a rare find may need the seed more than once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tests.system.chaos.capabilities import command_in_namespaces, is_in_namespaces, probe
from tests.system.chaos.life import live
from tests.system.chaos.packet_filter import begin_network
from tests.system.chaos.schedule import draw_schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.system.chaos.outcome import Outcome

DEFAULT_SECONDS: Final = 8.0
ADMINISTRATORS_PATH: Final = "/usr/sbin:/sbin"


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{ADMINISTRATORS_PATH}"
    if not is_in_namespaces():
        command = command_in_namespaces([sys.executable, "-m", "tests.system.chaos", *arguments])
        if command is not None:
            sys.stdout.flush()
            os.execvp(command[0], command)
    else:
        begin_network()
    return _run(options)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.chaos", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=_seeds, default=[1], help="such as 7, or 1-20, or 3,5,9-12")
    parser.add_argument("--nodes", type=int, choices=(3, 5), default=3)
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="in which faults begin, for each seed")
    parser.add_argument("--folder", type=Path, help="where the clusters' files go; made anew in the temporary folder")
    parser.add_argument("--story", action="store_true", help="print each schedule, and what became of it")
    parser.add_argument("--report", type=Path, help="write the outcomes into this file, as JSON")
    return parser.parse_args(arguments)


def _seeds(text: str) -> list[int]:
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def _run(options: argparse.Namespace) -> int:
    capabilities = probe()
    for sentence in capabilities.lacking:
        print(f"this machine lacks {sentence}")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="raftbook-chaos-"))
    began = time.monotonic()
    outcomes: list[Outcome] = []
    print(_HEADING, flush=True)
    for seed in options.seeds:
        outcome = _live_one(seed, options, folder)
        outcomes.append(outcome)
        print(_row(str(seed), [outcome]), flush=True)
    print(_row("total", outcomes))
    _print_totals(outcomes, time.monotonic() - began)
    if options.report is not None:
        options.report.write_bytes(msgspec.json.encode(outcomes))
    if not any(outcome.violations for outcome in outcomes) and options.folder is None:
        shutil.rmtree(folder)
    return 1 if any(outcome.violations for outcome in outcomes) else 0


def _live_one(seed: int, options: argparse.Namespace, folder: Path) -> Outcome:
    node_ids = [f"n{number + 1}" for number in range(options.nodes)]
    schedule = draw_schedule(seed, node_ids, options.seconds)
    if options.story:
        print(schedule, flush=True)
    own_folder = folder / f"{options.nodes}-nodes-seed-{seed}"
    outcome = asyncio.run(live(schedule, own_folder, probe(), node_count=options.nodes))
    if options.story:
        print("what became of it:", *outcome.story, sep="\n")
    if outcome.violations:
        lines = [str(schedule), "", *outcome.story, "", *outcome.violations]
        (own_folder / "story.txt").write_text("\n".join(lines))
        print(f"seed {seed} VIOLATES, see {own_folder}; again: {_again(seed, options)}")
        print(*outcome.violations, sep="\n", flush=True)
    else:
        shutil.rmtree(own_folder)
    return outcome


def _again(seed: int, options: argparse.Namespace) -> str:
    return f"python -m tests.system.chaos --seeds {seed} --nodes {options.nodes} --seconds {options.seconds:g} --story"


_HEADING: Final = (
    f"{'seed':>6} {'faults':>7} {'passed over':>11} {'not here':>8} {'submissions':>11} {'longest gap':>11} "
    f"{'to heal':>8} {'took':>7} {'violations':>10}"
)


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    return (
        f"{name:>6} {sum(o.faults.total() for o in outcomes):>7,} {sum(o.passed_over.total() for o in outcomes):>11,} "
        f"{sum(o.lacking.total() for o in outcomes):>8,} {sum(o.submissions for o in outcomes):>11,} "
        f"{max((o.longest_gap_s for o in outcomes), default=0):>9.2f} s "
        f"{max((o.liveness_s for o in outcomes), default=0):>6.2f} s {sum(o.duration_s for o in outcomes):>5.0f} s "
        f"{sum(len(o.violations) for o in outcomes):>10}"
    )


def _print_totals(outcomes: Sequence[Outcome], took_s: float) -> None:
    observed = f"{sum(o.observations for o in outcomes):,} statuses of nodes and "
    observed += f"{sum(o.fresh_reads for o in outcomes):,} linearizable reads observed"
    print(f"\nin {took_s:,.0f} s, {observed}")
    for title, counts in (
        ("faults", _total(o.faults for o in outcomes)),
        ("passed over, for want of a target", _total(o.passed_over for o in outcomes)),
        ("not possible on this machine", _total(o.lacking for o in outcomes)),
        ("nodes that ended by themselves, with a reason", _total(o.ends for o in outcomes)),
    ):
        listed = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "none"
        print(f"{title}: {listed}")


def _total(counts: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counts, Counter())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
