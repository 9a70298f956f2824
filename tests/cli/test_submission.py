"""One order, and an answer that never comes."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from cli.main import app


@contextmanager
def node_that_dies_over_a_request():
    """Yields the URL of a server that reads a request and closes the connection without a word."""

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(timeout=10)


@pytest.mark.parametrize("wait", ["committed", "pending"])
@pytest.mark.parametrize("named", [(), ("--client-order-id", "mine")], ids=["generated id", "own id"])
def test_a_lost_answer_leaves_with_3_and_the_name_under_which_to_submit_again(wait, named):
    order = ("submit", "--symbol", "ACME", "--side", "buy", "--quantity", "1", "--price", "1", "--wait", wait)
    with node_that_dies_over_a_request() as url:
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
