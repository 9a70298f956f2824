"""Links that are cut, in both directions or in one, while clients trade."""

from __future__ import annotations

import time

import pytest

from tests.system.clients import Clients, new_order, wait_for
from tests.system.log_checks import check_against_logs

MINUTE_NS = 60_000_000_000


def in_a_minute() -> int:
    return time.time_ns() + MINUTE_NS


async def test_the_leader_is_cut_off_from_both_followers_and_healed(make_cluster):
    cluster = make_cluster(proxied=True)
    leader = await cluster.start_and_elect()
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            cluster.cut(leader)
            alone = [new_order("alone", f"a{number}", "buy", "90.00", not_after=in_a_minute()) for number in range(20)]
            attempts = [await clients.enter(leader, order, wait_s=0) for order in alone]
            assert {attempt.report["status"] for attempt in attempts} == {"pending"}
            await cluster.wait_for_leader_among(*cluster.others(leader))
            await clients.progress()
            cluster.heal()
            await cluster.wait_for_role(leader, "follower")
            for attempt in attempts:
                report = await clients.collect(attempt)
                assert report["status"] == "accepted"
            await clients.progress()
        await check_against_logs(cluster, clients)


async def test_orders_entered_at_a_follower_that_is_cut_off_are_executed_once_when_it_is_back(make_cluster):
    cluster = make_cluster(proxied=True)
    leader = await cluster.start_and_elect()
    follower = cluster.others(leader)[0]
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            cluster.cut(follower)

            order = new_order("alone", "a1", "buy", "90.00", not_after=in_a_minute())
            pending = await clients.post_order(follower, order, wait="pending")
            assert pending.status_code == 202
            assert pending.json()["status"] == "pending"
            assert pending.headers["Location"] == pending.json()["next"]

            other_order = new_order("alone", "a2", "buy", "90.00", not_after=in_a_minute())
            started_at = time.monotonic()
            unknown = await clients.post_order(follower, other_order, wait="committed", wait_s="0.5")
            assert 0.5 <= time.monotonic() - started_at < 10
            assert unknown.status_code == 503
            assert unknown.json()["code"] == "outcome_unknown"
            assert "submit it again with the same client_order_id" in unknown.json()["detail"]

            await clients.progress()
            cluster.heal()
            for record in [record for record in clients.records if record.command["account"] == "alone"]:
                report = await clients.collect(record.attempts[0])
                assert report["status"] == "accepted"
                assert "duplicate" not in report
            await clients.progress()
        await check_against_logs(cluster, clients)


async def test_an_order_that_a_cut_off_follower_could_not_pass_on_in_time_is_refused_when_it_is_back(make_cluster):
    cluster = make_cluster(proxied=True)
    leader = await cluster.start_and_elect()
    follower = cluster.others(leader)[0]
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            cluster.cut(follower)
            not_after = time.time_ns() + 500_000_000
            order = new_order("alone", "late", "buy", "90.00", not_after=not_after)
            pending = await clients.post_order(follower, order, wait="pending")
            assert pending.status_code == 202
            await wait_for(lambda: time.time_ns() > not_after, "the end of the order's time")
            cluster.heal()
            report = await clients.collect(_attempt_of(clients, "late"))
            assert (report["status"], report["reason"]) == ("rejected", "submission_expired")
            await clients.progress()
        logs = await check_against_logs(cluster, clients)
    assert [log.state.exchange.order_by_client_id("alone", "late") for log in logs] == [None, None, None]


async def test_an_order_that_was_refused_elsewhere_is_not_accepted_when_its_node_is_back(make_cluster):
    """Its first attempt waits in a cut-off node; by the time it gets through the book would take the order."""
    cluster = make_cluster(proxied=True)
    leader = await cluster.start_and_elect()
    follower, other = cluster.others(leader)
    order = new_order("alice", "maker-only", "sell", "99.00", post_only=True, not_after=in_a_minute())
    async with Clients(cluster) as clients:
        await clients.enter(leader, new_order("bob", "bid", "buy", "99.00"))
        cluster.cut(follower)
        pending = await clients.enter(follower, order, wait_s=0)
        assert pending.report["status"] == "pending"
        refused = await clients.enter(other, order)
        assert refused.report["reason"] == "post_only_would_trade"
        canceled = await clients.enter(leader, {"op": "cancel", "account": "bob", "client_order_id": "bid"})
        assert canceled.report["status"] == "accepted"
        cluster.heal()
        again = await clients.collect(pending)
        assert (again["status"], again["reason"]) == ("rejected", "post_only_would_trade")
        logs = await check_against_logs(cluster, clients)
    assert [log.state.exchange.depth("ACME") for log in logs] == [([], [])] * 3


def _attempt_of(clients, client_order_id):
    return next(r for r in clients.records if r.command["client_order_id"] == client_order_id).attempts[0]


@pytest.mark.parametrize("of_leader", [True, False], ids=["leader", "follower"])
@pytest.mark.parametrize("outgoing", [True, False], ids=["what it sends", "what it is sent"])
async def test_one_direction_of_a_node_s_links_is_cut(make_cluster, of_leader, outgoing):
    """Half a link is worse than none: one end still hears the other. The majority goes on all the same."""
    cluster = make_cluster(proxied=True)
    leader = await cluster.start_and_elect()
    node = leader if of_leader else cluster.others(leader)[0]
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            for other in cluster.others(node):
                cluster.cut_one_way(*((node, other) if outgoing else (other, node)))
            if of_leader:
                await cluster.wait_for_leader_among(*cluster.others(node))
            await clients.progress()
            cluster.heal()
            await cluster.wait_for_role(node, "follower", "leader")
            await clients.progress()
        await check_against_logs(cluster, clients)


async def test_a_follower_that_does_not_hear_the_leader_alone_does_not_disturb_it(make_cluster):
    cluster = make_cluster(proxied=True)
    leader = await cluster.start_and_elect()
    follower = cluster.others(leader)[0]
    async with Clients(cluster) as clients:
        async with clients.trading():
            await clients.progress()
            cluster.cut_one_way(leader, follower)
            await clients.progress(200)
            cluster.heal()
            await cluster.wait_for_role(follower, "follower", "leader")
            await clients.progress()
        await check_against_logs(cluster, clients)


async def test_reads_in_a_minority_are_local_or_refused_and_right_in_the_majority(make_cluster):
    cluster = make_cluster(proxied=True)
    leader = await cluster.start_and_elect()
    second, third = cluster.others(leader)
    book = "/v1/book/ACME"
    async with Clients(cluster) as clients:
        before = (await clients.enter(leader, new_order("alice", "before", "buy", "99.00"))).report
        await cluster.wait_for_applied(before["log_index"])
        cluster.cut(leader)
        await cluster.wait_for_leader_among(second, third)
        after = (await clients.enter(second, new_order("alice", "after", "buy", "99.50"))).report
        assert after["status"] == "accepted"

        refused = await clients.read(leader, book, consistency="linearizable", wait_s="0.5")
        assert (refused.status_code, refused.json()["code"]) == (503, "no_quorum")
        behind = await clients.read(leader, book, at_least=str(after["log_index"]), wait_s="0.5")
        assert (behind.status_code, behind.json()["code"]) == (503, "not_caught_up")
        local = await clients.read(leader, book)
        assert local.status_code == 200
        assert local.json()["bids"] == [["99.00", "1"]]

        for node_id in (second, third):
            latest = await clients.read(node_id, book, consistency="linearizable")
            assert latest.status_code == 200
            assert latest.json()["bids"] == [["99.50", "1"], ["99.00", "1"]]
            assert int(latest.headers["Raftbook-Log-Index"]) > after["log_index"]
        cluster.heal()
        own_write = await clients.read(leader, book, at_least=str(after["log_index"]), wait_s="30")
        assert own_write.json()["bids"] == [["99.50", "1"], ["99.00", "1"]]
        await check_against_logs(cluster, clients)


async def test_a_client_reads_its_own_write_at_every_other_node(make_cluster):
    cluster = make_cluster()
    await cluster.start_and_elect()
    async with Clients(cluster) as clients:
        for number in range(9):
            node_id = cluster.node_ids[number % 3]
            report = (await clients.enter(node_id, new_order("alice", f"a{number}", "buy", "99.00"))).report
            for other in cluster.others(node_id):
                read = await clients.read(other, "/v1/book/ACME", at_least=str(report["log_index"]))
                assert read.json()["bids"] == [["99.00", str(number + 1)]]
                latest = await clients.read(other, "/v1/book/ACME", consistency="linearizable")
                assert latest.json()["bids"] == [["99.00", str(number + 1)]]
        await check_against_logs(cluster, clients)
