"""A few seeds of chaos, each a cluster of its own; `make chaos` runs more of them, and longer.

A seed runs as the command that a campaign runs, in namespaces of its own where the machine has them. Then lives
that must not end well, since a check that has never failed may not be one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec
import pytest

from cli.local_cluster import PROJECT_FOLDER
from tests.system.chaos.capabilities import probe
from tests.system.chaos.chaos_cluster import ChaosCluster
from tests.system.chaos.life import LIVENESS_S, live, live_again
from tests.system.chaos.schedule import FaultKind, Schedule, draw_schedule
from tests.system.clients import Clients, wait_for
from tests.system.raftbook_command import environment

SECONDS = 4.5
DEADLINE_S = 150.0
FEWEST_FAULTS = 3
FEWEST_SUBMISSIONS = 100

SEEDS = [(6141, 3), (14704, 5)]
"""(seed, nodes): few that have every kind of fault between them, and one in which nodes compact their logs."""


def schedule_of(seed, node_count):
    return draw_schedule(seed, [f"n{number + 1}" for number in range(node_count)], SECONDS)


def test_the_seeds_below_have_every_kind_of_fault():
    schedules = [schedule_of(seed, node_count) for seed, node_count in SEEDS]
    assert {fault.kind for schedule in schedules for fault in schedule.faults} == set(FaultKind)
    assert any(schedule.witness is not None for schedule in schedules)


@pytest.mark.parametrize(("seed", "node_count"), SEEDS)
def test_nothing_acknowledged_is_lost_and_nothing_runs_twice(tmp_path, seed, node_count):
    report = tmp_path / "report.json"
    options = ["--seeds", str(seed), "--nodes", str(node_count), "--seconds", f"{SECONDS:g}", "--story"]
    command = [sys.executable, "-m", "tests.system.chaos", *options, "--folder", str(tmp_path), "--report", str(report)]
    ended = subprocess.run(
        command,
        cwd=PROJECT_FOLDER,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    print(ended.stdout, ended.stderr)
    assert ended.returncode == 0
    (outcome,) = msgspec.json.decode(report.read_bytes())
    inflicted, *others = (sum(outcome[name].values()) for name in ("faults", "passed_over", "lacking"))
    assert inflicted + sum(others) == len(schedule_of(seed, node_count).faults)
    assert inflicted >= FEWEST_FAULTS
    assert outcome["submissions"] >= FEWEST_SUBMISSIONS
    assert outcome["observations"] > 0
    assert outcome["violations"] == []


@pytest.fixture
def capabilities():
    """What this very process can do, which is in no namespaces of its own."""
    found = probe()
    if found.lacking_compiler is not None:
        pytest.skip(f"disks cannot be made to lie: {found.lacking_compiler}")
    outside = "this process is in no namespaces of its own"
    return found._replace(lacking_packet_filter=outside, lacking_packet_delay=outside, lacking_mount=outside)


async def test_disks_that_lie_are_found_out(tmp_path, capabilities):
    """All nodes acknowledge what their disks throw away, and are killed: no cluster survives that, so it must show."""

    async def lie_and_kill(cluster):
        for faults in cluster.faults.values():
            faults.lie()
        index = await cluster.wait_until(highest_index, deadline_s=DEADLINE_S, awaited="an index")
        await cluster.wait_for_applied(index + 20)
        cluster.kill(*cluster.node_ids)
        for faults in cluster.faults.values():
            faults.heal_disk()
        cluster.start()

    nothing = Schedule(seed=1, kinds=(), witness=None, faults=())
    outcome = await live(nothing, tmp_path / "lies", capabilities, node_count=3, sabotage=lie_and_kill)
    assert any("lost what was reported" in violation for violation in outcome.violations), outcome.violations


def highest_index(statuses):
    return max((status["applied_index"] for status in statuses.values() if status is not None), default=None)


async def test_a_node_that_an_outsider_kills_is_found_out(tmp_path, capabilities):
    async def kill_unasked(cluster):
        os.kill(cluster.process_id("n2"), signal.SIGKILL)
        await wait_for(lambda: not cluster.is_running("n2"), "the end of n2")
        cluster.start("n2")

    nothing = Schedule(seed=1, kinds=(), witness=None, faults=())
    outcome = await live(nothing, tmp_path / "killed", capabilities, node_count=3, sabotage=kill_unasked)
    (violation,) = outcome.violations
    assert violation.startswith("n2 ended with exit code -9: killed by somebody else")


async def test_a_node_that_does_not_come_back_is_found_out(tmp_path, capabilities):
    with ChaosCluster(tmp_path / "stuck", node_count=3, capabilities=capabilities, witness=None) as cluster:
        leader = await cluster.start_and_elect()
        stuck, *_ = cluster.others(leader)
        async with Clients(cluster) as clients:
            assert await live_again(cluster, clients) < LIVENESS_S
            cluster.pause(stuck)
            with pytest.raises(ExceptionGroup) as failure:
                await live_again(cluster, clients, bound_s=3.0)
            assert [str(error).partition("\n")[0] for error in failure.value.exceptions] == [
                f"{stuck} executes nothing 3 s after healing"
            ]
