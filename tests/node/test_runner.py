"""What halts a node, and what does not."""

from __future__ import annotations

import asyncio
import errno
import json
import resource

import httpx
import pytest

from raftbook.errors import StorageError
from raftbook.node import runner
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
    monkeypatch.setattr(runner, "_max_client_connections", lambda: 2)
    listener = free_listener()
    server = runner._HttpServer(DirectService())
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
    bound = runner._max_client_connections()
    assert bound == for_clients or (for_clients is None and bound > 2**31)
