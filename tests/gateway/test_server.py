"""The gateway behind a real server and a real socket: what only shows on the wire."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import httpx
import pytest

from raftbook.gateway import make_app
from tests.support.sample_orders import ACME, order
from tests.support.server import serve

MAX_BODY_BYTES = 65_536


@pytest.fixture
async def url(service):
    async with serve(make_app(service)) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.post("/v1/instruments", json=ACME)).status_code == 200
        yield url


async def talk(url, *pieces):
    """Sends these bytes and reads one answer: (head in lower case, body)."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(10):
            answer_head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next(line for line in answer_head.split("\r\n") if line.startswith("content-length: "))
            return answer_head, await reader.readexactly(int(length.removeprefix("content-length: ")))
    finally:
        writer.close()


def head(path, *headers):
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def test_a_body_of_10_mb_is_refused_before_any_of_it_is_sent(url):
    answer, body = await talk(url, head("/v1/commands", "Content-Type: application/json", "Content-Length: 10485760"))

    assert answer.startswith("http/1.1 413 ")
    assert json.loads(body)["code"] == "body_too_large"


async def test_a_body_of_unknown_length_is_refused_at_the_bound_before_it_ends(url):
    first = head("/v1/commands", "Content-Type: application/json", "Transfer-Encoding: chunked")

    answer, body = await talk(url, first, chunk(b" " * (MAX_BODY_BYTES + 1)))

    assert answer.startswith("http/1.1 413 ")
    assert json.loads(body)["code"] == "body_too_large"


async def test_a_client_that_sends_10_mb_all_the_same_reads_the_refusal(url, service):
    index = service.state.index
    async with httpx.AsyncClient(base_url=url) as http:
        response = await http.post(
            "/v1/commands", content=b" " * (10 << 20), headers={"Content-Type": "application/json"}
        )

        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
        assert (await http.post("/v1/orders", json=order())).status_code == 200
    assert service.state.index == index + 1


async def test_a_body_in_chunks_is_a_body_like_any_other(url, service):
    body = json.dumps(order()).encode()
    first = head("/v1/orders", "Content-Type: application/json", "Transfer-Encoding: chunked")

    answer, report = await talk(url, first, chunk(body[:20]), chunk(body[20:]), b"0\r\n\r\n")

    assert answer.startswith("http/1.1 200 ")
    assert f"raftbook-log-index: {service.state.index}\r\n" in answer
    assert json.loads(report)["status"] == "accepted"


async def test_a_client_that_hangs_up_in_the_middle_of_its_body_changes_nothing(url, service):
    index = service.state.index
    body = json.dumps(order()).encode()
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(head("/v1/orders", "Content-Type: application/json", f"Content-Length: {len(body) + 1}") + body)
    writer.write_eof()
    async with asyncio.timeout(10):
        await reader.read()
    writer.close()

    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/healthz")).status_code == 200
    assert service.state.index == index
