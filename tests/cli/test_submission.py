"""One order, and an answer that never comes."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from cli.bulk_submission import BulkSubmission, opened
from cli.main import app
from raftbook.errors import OutcomeUnknownError

CLUSTER = b'{"name":"test","leader":"n1","quorum":true,"nodes":[]}'


@contextmanager
def node_that_dies_over_an_order():
    """Yields the URL of a server that tells of its cluster, reads an order and closes the connection without a word."""

    def serve():
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1 << 16).startswith(b"GET /v1/cluster ")
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(CLUSTER), CLUSTER))
            assert connection.recv(1 << 16).startswith(b"POST /v1/commands?")
        listener.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(timeout=10)


@pytest.mark.parametrize("wait", ["committed", "pending"])
@pytest.mark.parametrize("named", [(), ("--client-order-id", "mine")], ids=["generated id", "own id"])
def test_a_lost_answer_leaves_with_3_and_the_name_under_which_to_submit_again(wait, named):
    order = ("submit", "--symbol", "ACME", "--side", "buy", "--quantity", "1", "--price", "1", "--wait", wait)
    if wait == "committed":
        order += ("--timeout", "0.1")
    with node_that_dies_over_an_order() as url:
        result = CliRunner().invoke(app, [*order, *named, "--url", url])
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert f"submit it again with --client-order-id {'mine,' if named else 'cli-'}" in result.stderr


def test_a_node_that_does_not_answer_is_not_waited_for_longer_than_asked():
    order = (
        "submit",
        "--symbol",
        "ACME",
        "--side",
        "buy",
        "--quantity",
        "1",
        "--price",
        "1",
        "--client-order-id",
        "a1",
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started_at = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = CliRunner().invoke(app, [*order, "--timeout", "0.2", "--url", url])
    assert time.monotonic() - started_at < 8, "the client alone would wait for 10 s"
    assert result.exit_code == 3
    assert "no definite answer" in result.stderr
    assert "submit it again with --client-order-id a1" in result.stderr


@pytest.mark.parametrize(
    ("line", "is_doubtful"),
    [
        ({"op": "new", "client_order_id": "a1"}, False),
        ({"op": "new"}, True),
        ({"op": "cancel", "client_order_id": "a1"}, False),
        ({"op": "cancel_all"}, True),
    ],
)
async def test_of_lines_that_must_not_be_repeated_unseen_a_lost_node_leaves_word(tmp_path, line, is_doubtful):
    order = {"symbol": "ACME", "side": "buy", "price": "1", "quantity": "1"} if line["op"] == "new" else {}
    file = tmp_path / "lines.jsonl"
    file.write_text(json.dumps({"account": "alice", **line, **order}) + "\n")

    class LostNode:
        async def pipeline(self, commands):
            async for _ in commands:
                pass
            raise OutcomeUnknownError("the node is gone")
            yield

    with opened(str(file)) as descriptor:
        bulk = BulkSubmission(descriptor, lambda _report: None)
        with pytest.raises(OutcomeUnknownError):
            await bulk.run(LostNode(), lambda _count: None)
    advice = bulk.how_to_go_on(str(file))
    assert "begin again with line 1" in advice
    assert ("raftbook orders" in advice) == is_doubtful
