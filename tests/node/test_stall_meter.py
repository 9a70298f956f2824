"""How a stall of the loop is seen."""

from __future__ import annotations

import pytest

from raftbook.node.stall_meter import StallMeter


def test_a_timer_in_time_is_no_stall():
    meter = StallMeter(0.01)
    assert [meter.tick(now) for now in (5.0, 5.01, 5.015, 5.025)] == pytest.approx([0, 0, 0, 0], abs=1e-9)
    assert meter.longest_s == pytest.approx(0, abs=1e-9)


def test_the_longest_is_kept_for_ever_and_the_longest_of_late_until_it_is_asked_for():
    meter = StallMeter(0.01)
    meter.tick(1.0)
    assert meter.tick(1.51) == pytest.approx(0.5)
    assert meter.tick(1.62) == pytest.approx(0.1)
    assert meter.take_recent_s() == pytest.approx(0.5)
    meter.tick(1.83)
    assert meter.take_recent_s() == pytest.approx(0.2)
    assert meter.take_recent_s() == 0
    assert meter.longest_s == pytest.approx(0.5)
