"""The commands that talk to nodes, against three real ones."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

import pytest

from raftbook.client import RaftbookClient
from tests.cli.command_line import PROJECT_ROOT, SMALL_RESERVE, environment
from tests.support.prepared_processes import PreparedCluster

pytestmark = pytest.mark.system


@pytest.fixture
def at_node(cluster, raftbook):
    """Runs a command at one of the nodes, a follower or not."""

    def run(node_id, *arguments, **options):
        return raftbook(*arguments, RAFTBOOK_URL=cluster.url(node_id), **options)

    return run


@pytest.fixture(scope="module")
def lonely(tmp_path_factory):
    """A cluster of which only n1 runs."""
    with PreparedCluster(tmp_path_factory.mktemp("lonely"), limits=SMALL_RESERVE) as running:
        running.start("n1")
        asyncio.run(
            running.wait_until(lambda statuses: statuses["n1"], deadline_s=60, awaited="the node's first answer")
        )
        yield running


def submit(account, client_order_id, side, quantity, price, symbol="ACME"):
    return (
        *("submit", "--symbol", symbol, "--side", side, "--quantity", quantity, "--price", price),
        *("--account", account, "--client-order-id", client_order_id),
    )


def command_lines(account, count, symbol="ACME"):
    """Sells far from any buyer, as JSON lines."""
    return "".join(
        json.dumps(
            {"op": "new", "symbol": symbol, "account": account, "client_order_id": f"{account}-{number}"}
            | {"side": "sell", "price": "900", "quantity": "1"}
        )
        + "\n"
        for number in range(count)
    )


class TestOneOrder:
    def test_is_entered_seen_at_another_node_replaced_and_canceled(self, at_node):
        entered = at_node("n1", *submit("one", "a1", "buy", "5", "10.25"))
        assert (entered.exit_code, entered.stderr) == (0, "")
        assert entered.json["status"] == "accepted"

        read_own_write = ("orders", "--account", "one", "--at-least", str(entered.json["log_index"]))
        (seen,) = at_node("n2", *read_own_write).json
        assert seen == entered.json["order"]
        assert (seen["price"], seen["leaves_quantity"], seen["status"]) == ("10.25", "5", "open")

        replaced = at_node("n3", "replace", "--account", "one", "--client-order-id", "a1", "--quantity", "4")
        assert replaced.json["order"]["leaves_quantity"] == "4"

        canceled = at_node("n2", "cancel", "--account", "one", "--order-id", str(seen["order_id"]))
        assert (canceled.exit_code, canceled.json["order"]["status"]) == (0, "canceled")

    def test_a_refused_one_prints_its_report_and_exits_1(self, at_node):
        refused = at_node("n1", *submit("refused", "a1", "buy", "5", "10.251"))
        assert refused.exit_code == 1
        assert (refused.json["status"], refused.json["reason"]) == ("rejected", "price_too_precise")
        assert at_node("n1", "cancel", "--account", "refused", "--client-order-id", "a1").exit_code == 1

    def test_the_same_again_at_another_node_is_answered_with_the_first(self, at_node):
        first = at_node("n1", *submit("again", "a1", "buy", "5", "10.25"))
        again = at_node("n3", *submit("again", "a1", "buy", "5", "10.25"))
        assert again.exit_code == 0
        assert again.json["order"] == first.json["order"]
        assert again.json["events"][0]["duplicate"] is True

    def test_without_a_client_order_id_gets_one(self, at_node):
        report = at_node("n1", *submit("unnamed", "x", "buy", "5", "10.25")[:-2]).json
        assert report["order"]["client_order_id"].startswith("cli-")

    def test_pending_is_content_once_the_node_has_taken_it(self, at_node):
        taken = at_node("n1", *submit("pending", "a1", "buy", "5", "10.25"), "--wait", "pending")
        assert (taken.exit_code, taken.json["status"]) == (0, "pending")

    def test_a_stop_limit_iceberg_with_a_time_is_entered_changed_and_listed(self, at_node):
        entered = at_node(
            "n1",
            *submit("stops", "s1", "buy", "10", "20.00"),
            *("--type", "stop_limit", "--stop-price", "19.00", "--display-quantity", "4"),
            *("--expire-time", "2199-11-30T16:00:00Z", "--self-trade-prevention", "cancel_oldest"),
        )
        assert (entered.exit_code, entered.stderr) == (0, "")
        order = entered.json["order"]
        assert (order["status"], order["time_in_force"], order["stop_price"]) == ("untriggered", "gtd", "19.00")
        assert (order["display_quantity"], order["self_trade_prevention"]) == ("4", "cancel_oldest")

        replaced = at_node(
            "n2",
            *("replace", "--account", "stops", "--client-order-id", "s1", "--stop-price", "18.50"),
            *("--display-quantity", "0", "--expire-time", str(order["expire_time"] + 1), "--quantity", "9"),
        )
        assert (replaced.exit_code, replaced.stderr) == (0, "")
        changed = replaced.json["order"]
        assert (changed["stop_price"], changed["quantity"]) == ("18.50", "9")
        assert changed["expire_time"] == order["expire_time"] + 1
        assert "display_quantity" not in changed

        read_own_write = ("--account", "stops", "--at-least", str(replaced.json["log_index"]))
        for status in ("open", "untriggered"):
            assert at_node("n3", "orders", *read_own_write, "--status", status).json == [changed]
        table = at_node("n3", "orders", *read_own_write, "--output", "table").stdout
        assert "18.50" in table
        assert "2199-11-30 16:00:00" in table

    def test_an_order_expires_though_nobody_submits_anything(self, at_node, cluster):
        async def submit_for_a_moment():
            async with RaftbookClient(cluster.url("n1")) as client:
                order = {"op": "new", "symbol": "ACME", "account": "times", "client_order_id": "t1", "side": "buy"}
                soon = time.time_ns() + 2_000_000_000
                return await client.submit(order | {"price": "10.25", "quantity": "5", "expire_time": soon})

        assert asyncio.run(submit_for_a_moment())["order"]["status"] == "open"
        give_up_at = time.monotonic() + 30
        while not (expired := at_node("n2", "orders", "--account", "times", "--status", "expired").json):
            assert time.monotonic() < give_up_at
        assert (expired[0]["client_order_id"], expired[0]["status"]) == ("t1", "expired")
        assert at_node("n2", "orders", "--account", "times").json == []

    def test_cancel_all_cancels_one_side_of_one_account(self, at_node):
        for client_order_id, side, price in (("a1", "buy", "1"), ("a2", "sell", "999")):
            at_node("n1", *submit("all", client_order_id, side, "5", price))
        report = at_node("n1", "cancel-all", "--account", "all", "--side", "sell").json
        assert report["events"][-1]["canceled_count"] == 1
        (left,) = at_node("n1", "orders", "--account", "all").json
        assert left["client_order_id"] == "a1"

    def test_a_dry_run_says_what_would_happen_and_submits_nothing(self, at_node):
        at_node("n1", "instrument", "add", "DRY,price_decimals=2,quantity_decimals=0")
        asked = at_node("n1", *submit("dry-a", "s1", "sell", "3", "10.00", "DRY")).json
        trying = (*submit("dry-b", "b1", "buy", "5", "10.25", "DRY"), "--dry-run")
        tried = at_node("n1", *trying, "--output", "table")
        assert (tried.exit_code, tried.stdout) == (
            0,
            "would trade 3 at an average of 10.00, and 2 would wait at 10.25 as the first there\n",
        )
        assert "not submitted; an estimate at log index" in tried.stderr
        assert int(asked["log_index"]) <= at_node("n1", *trying).json["log_index"]
        assert at_node("n1", "orders", "--account", "dry-b", "--status", "all").json == []
        refused = at_node("n1", *submit("dry-b", "b1", "buy", "5", "10.251", "DRY"), "--dry-run")
        assert (refused.exit_code, refused.json["reason"]) == (1, "price_too_precise")

    def test_a_table_for_people(self, at_node):
        table = at_node("n1", *submit("table", "a1", "buy", "5", "10.25"), "--output", "table").stdout
        assert "accepted at log index" in table
        assert "client order id" in table


class TestMarket:
    @pytest.fixture
    def traded(self, at_node):
        """An instrument with one trade, one bid and one ask; the log index up to which to read."""
        added = at_node("n1", "instrument", "add", "TRADED,price_decimals=2,quantity_decimals=0")
        if added.exit_code:
            pytest.fail(added.stdout)
        orders = (("s1", "sell", "5", "10.00"), ("b1", "buy", "2", "10.00"), ("b2", "buy", "7", "9.50"))
        for client_order_id, side, quantity, price in orders:
            last = at_node("n1", *submit("traded", client_order_id, side, quantity, price, "TRADED")).json
        return str(last["log_index"])

    def test_book_trades_instruments_and_status(self, at_node, traded):
        book = at_node("n2", "book", "TRADED", "--at-least", traded)
        assert book.json["bids"] == [["9.50", "7"]]
        assert book.json["asks"] == [["10.00", "3"]]
        assert book.json["log_index"] >= int(traded)
        ladder = at_node("n2", "book", "TRADED", "--output", "table", "--consistency", "linearizable").stdout
        assert "spread 0.50" in ladder
        assert "TRADED at log index " in ladder

        (trade,) = at_node("n3", "trades", "TRADED", "--at-least", traded).json
        assert (trade["price"], trade["quantity"], trade["taker_side"]) == ("10.00", "2", "buy")

        assert at_node("n2", "instrument", "status", "TRADED", "halted").exit_code == 0
        halted = at_node("n2", *submit("traded", "b3", "buy", "1", "9.00", "TRADED"))
        assert (halted.exit_code, halted.json["reason"]) == (1, "instrument_halted")
        known = at_node("n2", "instruments").json
        assert {entry["symbol"]: entry["status"] for entry in known}["TRADED"] == "halted"

    def test_an_instrument_with_limits_gathers_orders_and_uncrosses(self, at_node):
        limits = {
            "min_quantity": "2",
            "max_quantity": "1000",
            "min_notional": "10.00",
            "price_band": "5.00",
            "market_protection": "2.50",
            "max_open_orders": 3,
            "self_trade_prevention": "cancel_newest",
        }
        options = [part for name, value in limits.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        added = at_node("n1", "instrument", "add", "GATHER,price_decimals=2,quantity_decimals=0", *options)
        assert (added.exit_code, added.stderr) == (0, "")
        assert {name: added.json["events"][0][name] for name in limits} == limits
        assert at_node("n1", *submit("gather", "small", "buy", "1", "10.00", "GATHER")).json["reason"] == (
            "quantity_too_small"
        )

        assert at_node("n2", "instrument", "status", "GATHER", "auction").exit_code == 0
        for client_order_id, side, price in (("g1", "buy", "10.50"), ("g2", "sell", "10.00")):
            last = at_node("n3", *submit(f"gather-{side}", client_order_id, side, "5", price, "GATHER")).json
        read_own_write = ("--at-least", str(last["log_index"]))
        book = at_node("n1", "book", "GATHER", *read_own_write).json
        assert (book["status"], book["indication"]["price"], book["indication"]["quantity"]) == (
            "auction",
            "10.25",
            "5",
        )
        assert "crossed by 0.50" in at_node("n1", "book", "GATHER", *read_own_write, "--output", "table").stdout

        uncrossed = at_node("n2", "instrument", "uncross", "GATHER", "--then", "closed")
        assert (uncrossed.exit_code, uncrossed.stderr) == (0, "")
        assert [event["event"] for event in uncrossed.json["events"]] == [
            "trade",
            "auction_uncrossed",
            "status_changed",
        ]
        read_own_write = ("--at-least", str(uncrossed.json["log_index"]))
        (trade,) = at_node("n3", "trades", "GATHER", *read_own_write).json
        assert (trade["price"], trade["auction"]) == ("10.25", True)
        known = at_node("n3", "instruments", *read_own_write).json
        assert {entry["symbol"]: entry["status"] for entry in known}["GATHER"] == "closed"
        again = at_node("n2", "instrument", "uncross", "GATHER")
        assert (again.exit_code, again.json["reason"]) == (1, "not_in_auction")

    def test_the_book_of_no_instrument_names_the_nearest(self, at_node):
        missing = at_node("n1", "book", "ACMEE")
        assert (missing.exit_code, missing.stdout) == (1, "")
        assert "ACME" in missing.stderr

    def test_watch_prints_the_book_each_time_that_it_changes(self, at_node, cluster):
        at_node("n1", "instrument", "add", "WATCHED,price_decimals=2,quantity_decimals=0")
        watching = subprocess.Popen(
            [sys.executable, "-m", "cli", "book", "WATCHED", "--watch", "--url", cluster.url("n1")],
            cwd=PROJECT_ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
        )
        with watching:
            try:
                assert json.loads(watching.stdout.readline())["bids"] == []
                at_node("n2", *submit("watch", "a1", "buy", "5", "10.25", "WATCHED"))
                assert json.loads(watching.stdout.readline())["bids"] == [["10.25", "5"]]
            finally:
                watching.terminate()


class TestCluster:
    def test_status_names_the_leader_and_every_node(self, at_node):
        status = at_node("n2", "cluster", "status")
        assert (status.exit_code, status.stderr) == (0, "")
        assert status.json["quorum"] is True
        roles = {node["id"]: node["role"] for node in status.json["nodes"]}
        assert roles.pop(status.json["leader"]) == "leader"
        assert list(roles.values()) == ["follower", "follower"]
        table = at_node("n2", "cluster", "status", "--output", "table").stdout
        for header in (
            "node",
            "role",
            "term",
            "commit index",
            "applied index",
            "lag",
            "digest",
            "address",
            "reachable",
        ):
            assert header in table

    def test_verify_finds_equal_digests_at_one_index(self, at_node):
        verified = at_node("n1", "verify")
        assert verified.exit_code == 0
        assert verified.json["agree"] is True
        assert len({node["chain_digest"] for node in verified.json["nodes"]}) == 1
        assert verified.json["index"] > 0


class TestFile:
    def test_reports_come_in_the_order_of_the_commands(self, at_node, tmp_path):
        file = tmp_path / "orders.jsonl"
        file.write_text(command_lines("file", 1_000))
        finished = at_node("n2", "submit", "--file", str(file))
        assert finished.exit_code == 0
        names = [report["order"]["client_order_id"] for report in finished.json_lines]
        assert names == [f"file-{number}" for number in range(1_000)]
        assert finished.stderr.startswith("raftbook: 1,000 commands in ")
        assert finished.stderr.endswith(": 1,000 accepted\n")

    def test_what_is_no_command_is_answered_in_its_place(self, at_node):
        lines = command_lines("mixed", 3).splitlines()
        lines = ["no JSON", lines[0], "", '{"op":"new"}', lines[1], lines[2], "{"]
        finished = at_node("n1", "submit", "--file", "-", input="\n".join(lines))
        assert finished.exit_code == 1
        reports = finished.json_lines
        assert [report["status"] == "accepted" for report in reports] == [False, True, False, False, True, True, False]
        assert [report["line"] for report in reports if report["status"] == "rejected"] == [1, 3, 4, 7]
        assert "3 accepted, 4 rejected" in finished.stderr

    def test_an_empty_one_is_done_at_once(self, at_node):
        finished = at_node("n1", "submit", "--file", "-", input="")
        assert (finished.exit_code, finished.stdout, finished.stderr) == (0, "", "")

    def test_each_line_of_a_conversation_is_answered_before_the_next_is_written(self, cluster):
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "submit", "--file", "-", "--url", cluster.url("n3")],
            cwd=PROJECT_ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            for line in [*command_lines("talk", 2).splitlines(), "no JSON"]:
                process.stdin.write(line + "\n")
                process.stdin.flush()
                assert json.loads(process.stdout.readline())["status"] == ("rejected" if "JSON" in line else "accepted")
            process.stdin.close()
            assert process.wait(timeout=30) == 1


class TestWithoutAQuorum:
    def test_a_submission_s_outcome_stays_unknown(self, raftbook, lonely):
        order = submit("lonely", "a1", "buy", "5", "10.25")
        finished = raftbook(*order, "--timeout", "0.5", RAFTBOOK_URL=lonely.url("n1"))
        assert finished.exit_code == 3
        assert finished.json["status"] == "pending"
        assert "--client-order-id a1" in finished.stderr
        assert len(finished.stderr.splitlines()) == 1

    def test_status_says_so_and_how_to_start_the_missing(self, raftbook, lonely):
        status = raftbook("cluster", "status", "--output", "table", RAFTBOOK_URL=lonely.url("n1"))
        assert "NO QUORUM" in status.stdout
        assert "no quorum: 1 of 3 nodes" in status.stderr
        for node_id in ("n2", "n3"):
            assert f"raftbook node start --config FILE --id {node_id}" in status.stderr


def test_a_node_that_dies_under_a_file_leaves_no_doubt_where_to_go_on(raftbook, tmp_path):
    """The reports that came are printed, the rest is unknown, and to submit the whole again elsewhere does no harm."""
    file = tmp_path / "orders.jsonl"
    file.write_text(command_lines("dying", 60_000))
    with PreparedCluster(tmp_path / "cluster", limits=SMALL_RESERVE) as cluster:
        cluster.start()
        leader = asyncio.run(cluster.wait_for_leader(deadline_s=60))
        victim, survivor, _ = sorted(cluster.node_ids, key=lambda node_id: node_id == leader)
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "submit", "--file", str(file), "--url", cluster.url(victim)],
            cwd=PROJECT_ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            reports = [process.stdout.readline() for _ in range(2_000)]
            cluster.kill(victim)
            rest, stderr = process.communicate(timeout=60)
        assert process.returncode == 3
        answered = [json.loads(line) for line in [*reports, *rest.splitlines()]]
        assert f"go on with line {len(answered) + 1}" in stderr
        assert all(report["status"] == "accepted" for report in answered)

        head = tmp_path / "head.jsonl"
        head.write_text("".join(file.read_text().splitlines(keepends=True)[: len(answered) + 5_000]))
        again = raftbook("submit", "--file", str(head), RAFTBOOK_URL=cluster.url(survivor), timeout=120)
        assert again.exit_code == 0
        first_ids = [report["order"]["order_id"] for report in answered]
        ids = [report["order"]["order_id"] for report in again.json_lines]
        assert ids[: len(first_ids)] == first_ids, "executed once: the first answer stands"
        assert len(set(ids)) == len(ids)


def test_sigterm_ends_a_node_with_0_and_a_taken_port_is_told(tmp_path, raftbook):
    with PreparedCluster(tmp_path, node_count=1, limits=SMALL_RESERVE) as cluster:
        cluster.start()
        asyncio.run(cluster.wait_for_leader(deadline_s=60))
        second = raftbook(
            *("node", "start", "--config", str(cluster.config_path("n1")), "--id", "n1"),
            *("--data-dir", str(tmp_path / "elsewhere")),
        )
        assert second.exit_code == 1
        assert cluster.config.nodes[0].api_address in second.stderr.splitlines()[-1]
        assert asyncio.run(cluster.terminate("n1")) == {"n1": 0}
