"""What a seed draws: the same each time and everywhere, varied from seed to seed, and never what would be unfair."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from tests.system.chaos.capabilities import Capabilities
from tests.system.chaos.schedule import LEADER, OF_ALL, OF_LINK, FaultKind, draw_schedule, lacking_for
from tests.system.raftbook_command import environment

THREE = ["n1", "n2", "n3"]
FIVE = ["n1", "n2", "n3", "n4", "n5"]
DURATION_S = 8.0


@pytest.fixture(scope="module", params=[THREE, FIVE], ids=["3 nodes", "5 nodes"])
def schedules(request):
    return request.param, [draw_schedule(seed, request.param, DURATION_S) for seed in range(200)]


def test_a_seed_draws_the_same_again_in_another_process_with_other_hashes():
    program = f"from tests.system.chaos.schedule import *; print(draw_schedule(7, {THREE}, {DURATION_S}))"
    command = [sys.executable, "-c", program]
    texts = {
        subprocess.run(
            command, env={**environment(), "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("0", "1")
    }
    assert texts == {str(draw_schedule(7, THREE, DURATION_S))}


def test_seeds_differ_in_their_kinds_and_together_have_all(schedules):
    _, drawn = schedules
    assert len({schedule.kinds for schedule in drawn}) > len(drawn) / 2
    assert {fault.kind for schedule in drawn for fault in schedule.faults} == set(FaultKind)


def test_faults_come_in_order_within_the_time_and_are_of_the_seed_s_kinds(schedules):
    _, drawn = schedules
    for schedule in drawn:
        times = [fault.at_s for fault in schedule.faults]
        assert times == sorted(times)
        assert all(0 < at_s < DURATION_S for at_s in times)
        assert {fault.kind for fault in schedule.faults} <= set(schedule.kinds)
        assert len(schedule.kinds) >= 3


def test_targets_are_as_many_as_the_kind_wants(schedules):
    node_ids, drawn = schedules
    for fault in itertools.chain.from_iterable(schedule.faults for schedule in drawn):
        if fault.kind is FaultKind.SPLIT:
            assert 1 <= len(set(fault.targets)) < len(node_ids) / 2, "a majority remains"
        elif fault.kind in OF_LINK:
            assert len(set(fault.targets)) == 2
        else:
            assert len(fault.targets) == (0 if fault.kind in OF_ALL else 1)
        assert set(fault.targets) <= {LEADER, *node_ids}


def test_a_witness_is_spared(schedules):
    _, drawn = schedules
    with_witness = [schedule for schedule in drawn if schedule.witness is not None]
    assert 0 < len(with_witness) < len(drawn)
    for schedule in with_witness:
        for fault in schedule.faults:
            assert schedule.witness not in fault.targets
            assert fault.kind not in OF_ALL


@pytest.mark.parametrize(
    ("lacking", "kinds"),
    [
        ("lacking_compiler", {"sync error", "write error", "slow sync", "clock jump"}),
        ("lacking_packet_filter", {"lose packets", "drop packets", "lose clients' packets", "reset by packets"}),
        ("lacking_packet_delay", {"delay packets"}),
        ("lacking_mount", {"full disk"}),
    ],
)
def test_what_a_machine_lacks_takes_these_kinds_away_and_gives_the_reason(lacking, kinds):
    capabilities = Capabilities(None, None, None, None)
    assert [kind for kind in FaultKind if lacking_for(kind, capabilities)] == []
    assert capabilities.lacking == []
    capabilities = capabilities._replace(**{lacking: "it is not there"})
    assert {kind for kind in FaultKind if lacking_for(kind, capabilities) == "it is not there"} == kinds
    assert len(capabilities.lacking) == 1
    assert "it is not there" in capabilities.lacking[0]
