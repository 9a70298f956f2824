"""Why a node could not be talked to: from what really happens on sockets, in words that say what to change."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from raftbook.client.reasons import reason_of


async def reason_at(url, **options):
    async with httpx.AsyncClient(trust_env=False, **options) as client:
        with pytest.raises(httpx.TransportError) as caught:
            await client.get(url, timeout=0.3)
    return reason_of(caught.value)


async def reason_at_server(answer, scheme):
    """At one that reads a little and then does `answer`."""

    async def serve(reader, writer):
        await reader.read(10)
        await answer(writer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return await reason_at(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def nothing(writer):
    pass


async def speak_plainly(writer):
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def test_nobody_listens():
    assert await reason_at("http://127.0.0.1:1") == "refused"


async def test_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert await reason_at(f"http://127.0.0.1:{silent.getsockname()[1]}") == "no answer in time"


def test_there_is_no_such_host():
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert reason_of(error) == "no such host: Name or service not known"


@pytest.mark.parametrize(
    ("answer", "scheme", "words"),
    [
        (nothing, "http", "it closed the connection without an answer; if it speaks TLS, write https://"),
        (speak_plainly, "https", "it speaks plain HTTP; write http:// instead of https://"),
    ],
    ids=["leaves", "speaks no TLS"],
)
async def test_somebody_listens(answer, scheme, words):
    assert await reason_at_server(answer, scheme) == words


def test_what_is_unknown_is_told_as_it_is():
    assert reason_of(ValueError("odd")) == "odd"
    assert reason_of(ValueError()) == "ValueError"
