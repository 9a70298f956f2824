"""`raftbook bench shards`: one shard and two at the same load, and what is made of what was counted."""

from __future__ import annotations

from itertools import islice

import pytest

from cli.bench import shards
from cli.bench.measurement import BenchmarkFailedError, Scale
from tests.support.prepared_processes import PreparedCluster

BRIEF = Scale(seconds=0.4, warm_up_s=0.1, repetitions=1, resting_orders=0, backlog=0, attack_share=0.0, largest_book=0)


async def test_four_ways_of_sending_the_same_orders(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "LocalCluster", PreparedCluster)
    monkeypatch.setattr(shards, "TURNS", 1)
    announced: list[str] = []
    measured = await shards.measure_shards(BRIEF, tmp_path, announced.append)
    assert [measurement.name for measurement in measured] == [way.name for way in shards.WAYS]
    assert announced == [f"{way.name}, turn 1" for way in shards.WAYS]
    for way, measurement in zip(shards.WAYS, measured, strict=True):
        assert measurement.figures["all_nodes_cpu_us_per_order"] > 0
        assert ("gateway_cpu_us_per_order" in measurement.figures) == way.has_gateway


def test_costs_are_told_by_all_orders_of_the_load():
    one = shards._Turn(100, 1.0, [0.001] * 100, [{"leader": 0.02, "n2": 0.01, "n3": 0.01}], 0.0, 0.001)
    figures = shards._figures([one, one])
    assert figures["orders_per_s"] == 100
    assert figures["leader_cpu_us_per_order_of_its_shard"] == 200
    assert figures["follower_cpu_us_per_order_of_its_shard"] == 100
    assert figures["all_nodes_cpu_us_per_order"] == 400
    assert figures["busiest_node_cpu_us_per_order_of_all"] == 200
    assert "gateway_cpu_us_per_order" not in figures

    nodes = [{"leader": 0.012, "n2": 0.005, "n3": 0.007}, {"leader": 0.008, "n2": 0.004, "n3": 0.004}]
    figures = shards._figures([one._replace(nodes_cpu_s=nodes, gateway_cpu_s=0.03)])
    assert figures["leader_cpu_us_per_order_of_its_shard"] == 200
    assert figures["follower_cpu_us_per_order_of_its_shard"] == 100
    assert figures["all_nodes_cpu_us_per_order"] == 400
    assert figures["busiest_node_cpu_us_per_order_of_all"] == 120
    assert figures["gateway_cpu_us_per_order"] == 300


def test_every_order_has_a_name_of_its_own():
    requests = shards._requests(1)
    sent = list(islice(shards._in_rounds(requests, 3), 3 * len(requests)))
    sent += islice(shards._in_rounds(requests, 4), len(requests))
    assert len(set(sent)) == len(sent)


def test_a_load_that_is_refused_is_no_measurement():
    load = shards._Load()
    with pytest.raises(BenchmarkFailedError, match="2 orders were refused and 1 not taken"):
        load._answered(None, (0.0, [0.0, 0.0], 2, 1))
