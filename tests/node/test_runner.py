"""What halts a node, and what does not."""

from __future__ import annotations

import asyncio
import errno
import json
import resource
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cli.local_cluster import free_ports
from raftbook.errors import StorageError
from raftbook.node import http_server, runner
from tests.support.direct_service import DirectService
from tests.support.server import free_listener, url_of


@pytest.fixture
def halted(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    errors: list[BaseException] = []
    monkeypatch.setattr(runner, "halt", errors.append)
    return errors


async def test_an_exception_in_a_callback_halts_the_node(halted):
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(runner._halt_on_unhandled)
    for error in (ZeroDivisionError(), AssertionError(), StorageError("disk"), OSError(errno.EIO, "disk")):

        def fail(error: BaseException = error) -> None:
            raise error

        loop.call_soon(fail)
        await asyncio.sleep(0)
        assert halted.pop() is error


async def test_a_listener_that_is_out_of_descriptors_does_not(halted):
    context = {"message": "socket.accept() out of system resource", "exception": OSError(errno.EMFILE, ""), "socket": 1}
    runner._halt_on_unhandled(asyncio.get_running_loop(), context)
    assert halted == []


async def test_idle_clients_cannot_use_up_the_descriptors(monkeypatch):
    monkeypatch.setattr(http_server, "_max_client_connections", lambda: 2)
    listener = free_listener()
    server = http_server.HttpServer(DirectService())
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    idle: list[asyncio.StreamWriter] = []
    try:
        async with asyncio.timeout(10):
            for _ in range(2):
                _, writer = await asyncio.open_connection(*listener.getsockname())
                idle.append(writer)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            head, body = (await reader.read()).split(b"\r\n\r\n", 1)
            writer.close()
            idle.pop().close()
            while len(server.server_state.connections) > 1:  # noqa: ASYNC110 (uvicorn tells nobody)
                await asyncio.sleep(0.002)
            async with httpx.AsyncClient(base_url=url_of(listener)) as http:
                alive = await http.get("/healthz")
    finally:
        for writer in idle:
            writer.close()
        server.should_exit = True
        await serving
        listener.close()

    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body)["code"] == "too_many_connections"
    assert alive.status_code == 200


@pytest.mark.parametrize(("limit", "for_clients"), [(1024, 896), (64, 32), (resource.RLIM_INFINITY, None)])
def test_clients_get_what_the_node_does_not_need(limit, for_clients, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    bound = http_server._max_client_connections()
    assert bound == for_clients or (for_clients is None and bound > 2**31)


RUN_UNTIL = """
import sys
from pathlib import Path
from raftbook.node.config import ClusterConfig, Config, NodeConfig
from raftbook.node.runner import run

folder, peer_port, api_port, condition = sys.argv[1:]
node = NodeConfig(id="n1", peer_address=f"127.0.0.1:{peer_port}", api_address=f"127.0.0.1:{api_port}")
config = Config(cluster=ClusterConfig(name="test"), nodes=(node,))
seen = []

def until(service):
    seen.append(service.ready)
    return eval(condition)

code = run(config, "n1", Path(folder), until=until)
print(seen[0], seen[-1])
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("condition", "exit_code", "words"), [("service.ready", 0, "False True"), ("1 // 0", 1, "ZeroDivisionError")]
)
def test_a_node_may_run_until_a_condition_is_met(tmp_path, condition, exit_code, words):
    """As long as it is not, the node runs; what goes wrong in it is told when the node has stopped in order."""
    arguments = [sys.executable, "-c", RUN_UNTIL, str(tmp_path), *map(str, free_ports(2)), condition]
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(arguments, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == exit_code, ended.stderr
    assert words in ended.stdout + ended.stderr
    assert "node drains" in ended.stderr
