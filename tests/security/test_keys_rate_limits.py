"""Token buckets: a second's worth at once, then the rate; a batch waits for what it cost; a bounded table."""

from __future__ import annotations

from random import Random

import pytest

from raftbook.security.rate_limits import RateLimiter


def test_a_seconds_worth_at_once_and_then_the_rate():
    limiter = RateLimiter(10)
    assert [limiter.take("a", 5.0) for _ in range(10)] == [0.0] * 10
    assert limiter.take("a", 5.0) == pytest.approx(0.1)
    assert limiter.take("a", 5.05) == pytest.approx(0.05)
    assert limiter.take("a", 5.1) == 0.0
    assert limiter.take("a", 5.1) == pytest.approx(0.1)


def test_names_do_not_share():
    limiter = RateLimiter(1)
    assert limiter.take("a", 0.0) == limiter.take("b", 0.0) == 0.0
    assert limiter.take("a", 0.0) > 0


def test_what_was_refused_costs_nothing():
    limiter = RateLimiter(2)
    for _ in range(100):
        limiter.take("a", 0.0)
    assert limiter.take("a", 0.5) == 0.0


def test_nothing_is_saved_up_beyond_a_second():
    limiter = RateLimiter(10)
    limiter.take("a", 0.0)
    assert [limiter.take("a", 100.0) for _ in range(11)][:10] == [0.0] * 10
    assert limiter.take("a", 100.0) > 0


def test_a_batch_is_not_refused_for_its_size_and_is_waited_for_afterwards():
    limiter = RateLimiter(10)
    assert limiter.take("a", 0.0) == 0.0
    limiter.charge("a", 0.0, 39)
    assert limiter.take("a", 0.0) == pytest.approx(3.1)
    assert limiter.take("a", 3.0) == pytest.approx(0.1)
    assert limiter.take("a", 3.11) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_over_any_time_no_more_than_the_rate_and_a_second_more(seed):
    numbers, limiter, now, taken = Random(seed), RateLimiter(50), 0.0, []
    while now < 20:
        now += numbers.choice([0.0, 0.001, 0.01, 0.5])
        if limiter.take("a", now) == 0.0:
            taken.append(now)
    for first in range(0, len(taken), 37):
        for last in range(first, len(taken), 41):
            assert last - first + 1 <= 50 * (taken[last] - taken[first]) + 50 + 1e-3
    assert len(taken) > 50


def test_zero_limits_nothing_and_keeps_nothing():
    limiter = RateLimiter(0)
    assert all(limiter.take("a", 0.0) == 0.0 for _ in range(1_000))
    limiter.charge("a", 0.0, 1_000)
    assert len(limiter) == 0


def test_the_table_is_bounded_and_forgets_the_full_buckets_first():
    limiter = RateLimiter(2, most_buckets=3)
    for name, now in (("idle", 0.0), ("busy", 9.9), ("spent", 9.9)):
        limiter.take(name, now)
    limiter.take("spent", 9.9)
    limiter.take("new", 10.0)
    assert len(limiter) == 3
    assert limiter.take("spent", 10.0) > 0, "it is still known that it has nothing left"
    for number in range(10):
        limiter.take(number, 10.0)
    assert len(limiter) == 3
    assert limiter.take(9, 10.0) == 0.0
    assert limiter.take(9, 10.0) > 0
