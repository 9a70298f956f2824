"""A client with a key, and over TLS: against the node's own HTTP server, which lets nobody else in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest

from raftbook.client import RaftbookClient
from raftbook.engine.types import Role
from raftbook.errors import ConfigError, InvalidKeyError, ProblemError, UnreachableError
from raftbook.json_format import command_from_fields
from raftbook.node.config import SecurityConfig
from raftbook.node.http_server import HttpServer
from raftbook.security.signing import format_key
from raftbook.security.tls import NodeTls
from tests.client.commands import new
from tests.client.two_nodes import PATIENCE_S
from tests.support.api_keys import creation_of, key_of
from tests.support.certificates import files_of, make_certificates
from tests.support.direct_service import DirectService, make_config
from tests.support.sample_orders import ACME
from tests.support.server import free_listener

READER = key_of(Role.READ, "reader01")
ALICE = key_of(Role.TRADE, "alice001")
STRANGER = key_of(Role.TRADE, "stranger1")


@asynccontextmanager
async def locked_node(*, tls=None, require_client_certificates=False):
    """A node that requires keys; (URL, service)."""
    listener = free_listener()
    host, port = listener.getsockname()
    config = msgspec.structs.replace(make_config(f"{host}:{port}"), security=SecurityConfig(require_keys=True))
    service = DirectService(config)
    keys = [creation_of(READER, "*"), creation_of(ALICE, "alice")]
    await service.submit([command_from_fields("add_instrument", ACME), *keys], wait_s=1)
    server = HttpServer(service, tls=tls)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not server.started:  # noqa: ASYNC110 (uvicorn tells nobody)
                await asyncio.sleep(0.002)
        yield f"http{'' if tls is None else 's'}://{host}:{port}", service
    finally:
        server.should_exit = True
        await serving


async def first_of(feed):
    async with asyncio.timeout(PATIENCE_S), feed:
        return await anext(feed)


async def test_a_trading_key_signs_every_request_and_the_handshakes():
    async with locked_node() as (url, _), RaftbookClient(url, api_key=format_key(ALICE)) as client:
        assert (await client.submit(new("a1")))["status"] == "accepted"
        assert (await client.orders(account="alice", symbol="ACME"))[0]["client_order_id"] == "a1"
        assert (await first_of(client.own_orders("alice")))["orders"][0]["client_order_id"] == "a1"
        async with client.session() as entry:
            assert (await entry.submit(new("a2")))["status"] == "accepted"
            with pytest.raises(ProblemError) as caught:
                await entry.submit(new("b1", account="bob"))
        assert caught.value.code == "forbidden"


async def test_a_reading_key_reads_and_no_more():
    async with locked_node() as (url, service), RaftbookClient(url, api_key=format_key(READER)) as client:
        assert (await client.book("ACME"))["bids"] == []
        assert (await first_of(client.feed("book", "ACME")))["type"] == "snapshot"
        with pytest.raises(ProblemError) as caught:
            await client.submit(new("a1"))
        assert (caught.value.status, caught.value.code) == (403, "forbidden")
        assert service.taken == 3


@pytest.mark.parametrize("key", [None, STRANGER], ids=["no key", "a stranger's"])
async def test_whoever_is_not_let_in_hears_it_at_once(key):
    api_key = None if key is None else format_key(key)
    async with locked_node() as (url, service), RaftbookClient(url, api_key=api_key) as client:
        node = client.at(url)
        for attempt in (client.book("ACME"), node.submit(new("a1")), first_of(node.feed("book", "ACME"))):
            with pytest.raises(ProblemError) as caught:
                await asyncio.wait_for(attempt, PATIENCE_S)
            assert caught.value.status == 401
        assert service.taken == 3


async def test_another_node_at_the_same_address_is_recognised():
    """What was signed named the one before; its refusal is no last word."""
    async with locked_node() as (url, _), RaftbookClient(url, api_key=format_key(ALICE)) as client:
        authenticator = client._http._authenticator
        authenticator._node_ids[url] = "the node before"
        assert (await client.submit(new("a1")))["status"] == "accepted"
        authenticator._node_ids[url] = "the node before"
        assert (await first_of(client.own_orders("alice")))["type"] == "snapshot"


def test_what_is_no_key_is_refused_at_once():
    with pytest.raises(InvalidKeyError):
        RaftbookClient(api_key="secret")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"), ["n1"], clients=["alice"])


def node_tls(certificates, **options):
    tls = NodeTls.load(files_of(certificates, "n1"), "n1", hosts=["127.0.0.1"], now=datetime.now(UTC), **options)
    return tls.for_clients


async def test_over_tls_the_node_must_have_a_certificate_of_the_cluster(certificates):
    key, ca_file = format_key(ALICE), certificates.certificate_file("ca")
    async with locked_node(tls=node_tls(certificates)) as (url, _):
        async with RaftbookClient(url, api_key=key, ca_file=ca_file) as client:
            assert (await client.submit(new("a1")))["status"] == "accepted"
            async with client.session() as entry:
                assert (await entry.submit(new("a2")))["status"] == "accepted"
        async with RaftbookClient(url, api_key=key) as client:
            for attempt in (client.submit(new("a3")), first_of(client.at(url).own_orders("alice"))):
                with pytest.raises(UnreachableError, match="certificate is not trusted"):
                    await attempt


async def test_a_node_that_asks_for_the_client_s_certificate_gets_it(certificates):
    files = files_of(certificates, "alice")
    options = {"ca_file": files.ca_file, "api_key": format_key(ALICE)}
    async with locked_node(tls=node_tls(certificates, require_client_certificates=True)) as (url, _):
        with_it = {"certificate_file": files.certificate_file, "key_file": files.key_file}
        async with RaftbookClient(url, **options, **with_it) as client:
            assert (await client.submit(new("a1")))["status"] == "accepted"
            assert (await first_of(client.own_orders("alice")))["type"] == "snapshot"
        async with RaftbookClient(url, **options) as client:
            with pytest.raises(UnreachableError):
                await client.submit(new("a2"))


async def test_no_client_speaks_tls_without_looking_at_certificates():
    async with RaftbookClient("http://127.0.0.1:8101") as client:
        with pytest.raises(ConfigError, match="made for http alone"):
            client.at("https://127.0.0.1:8102")
    async with RaftbookClient("http://127.0.0.1:8101", "https://127.0.0.1:8102") as client:
        assert client._tls.check_hostname


@pytest.mark.parametrize("url", ["http://n1.example.com:8101", "http://192.0.2.1:8101"])
async def test_a_read_key_goes_nowhere_in_clear_text(url):
    """A key that signs may: it is not sent."""
    async with RaftbookClient(url, api_key=format_key(READER)) as client:
        with pytest.raises(ConfigError, match="clear text; write https://"):
            await client.node()
        with pytest.raises(ConfigError, match="clear text"):
            await anext(client.feed("book", "ACME"))
