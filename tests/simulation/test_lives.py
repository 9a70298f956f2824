"""Random lives of a cluster (raftbook.simulation.life), each checked all along and to its end.

CI takes 200 seeds; RAFTBOOK_SIMULATION_SEEDS sets how many there are. `raftbook simulate` runs longer campaigns.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from raftbook.simulation.life import live

PROJECT_ROOT = Path(__file__).resolve().parents[2]
SEED_COUNT = int(os.environ.get("RAFTBOOK_SIMULATION_SEEDS", "200"))
BLOCK = 10
STEPS = 32


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1, SEED_COUNT + 1, BLOCK))
def test_whatever_happens_the_promise_holds(first):
    outcomes = [live(seed, steps=STEPS) for seed in range(first, min(first + BLOCK, SEED_COUNT + 1))]
    # A life without faults, or in which nothing is ordered, would prove nothing.
    assert sum(outcome.executed for outcome in outcomes) > 20 * len(outcomes)
    assert sum(outcome.answered for outcome in outcomes) > 20 * len(outcomes)
    assert sum(sum(outcome.faults.values()) for outcome in outcomes) > 20 * len(outcomes)
    events = sum((outcome.events for outcome in outcomes), Counter())
    for name in ("trade", "order_canceled: expired", "order_triggered", "auction_uncrossed", "indicative_changed"):
        assert events[name] > 0, f"{name}: {events}"


def test_one_seed_is_one_story():
    assert live(7, steps=STEPS) == live(7, steps=STEPS)
    assert live(7, steps=STEPS).trace_digest != live(8, steps=STEPS).trace_digest


def test_one_seed_is_one_story_under_every_hash_seed():
    program = f"from raftbook.simulation.life import live; print(live(4, steps={STEPS}).trace_digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=PROJECT_ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(PROJECT_ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(digests) == 1
    assert digests != {""}


def test_a_disk_that_was_full_to_the_last_moment_is_no_broken_promise():
    """Its only node refuses the first order after that, and takes the next."""
    assert live(68, steps=80).faults["disk full"] > 0
