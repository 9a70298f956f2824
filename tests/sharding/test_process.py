"""The gateway as a server of its own: who may reach it, what it tells of itself, and shards that come while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import pytest
from structlog.testing import capture_logs

from raftbook.client import RaftbookClient
from raftbook.errors import ConfigError
from raftbook.gateway import make_app
from raftbook.node.config import SecurityConfig
from raftbook.security.tls import client_context
from raftbook.sharding.map_file import load_gateway_file, parse_gateway_file
from raftbook.sharding.process import NAME, checked_address, load_tls, make_server, reload
from raftbook.sharding.upstream import Upstream
from tests.sharding.conftest import add_instruments
from tests.support.certificates import make_certificates
from tests.support.direct_service import DirectService, make_config
from tests.support.server import free_listener
from tests.support.stream_client import open_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from raftbook.security.tls import NodeTls
    from raftbook.sharding.gateway import ShardGateway
    from raftbook.sharding.map_file import GatewayFile
    from raftbook.sharding.shard_map import Shard

NORTH = '[[shards]]\nname = "north"\nnodes = ["http://north:1"]\nsymbols = ["ACME"]\n'
SOUTH = '[[shards]]\nname = "south"\nnodes = ["http://south:1"]\nsymbols = ["BETA"]\n'
GATEWAY = '[gateway]\nname = "test"\n'
TLS = SecurityConfig(ca_file="ca.pem", certificate_file="{id}.pem", key_file="{id}.key")
STEPS = {"price_decimals": 2, "quantity_decimals": 0, "tick_size": "0.01", "lot_size": "1"}
FILES = 'ca_file = "ca.pem"\ncertificate_file = "gateway.pem"\nkey_file = "gateway.key"\n'


class Nodes:
    """The shards' nodes, and what the gateway made to reach them."""

    def __init__(self) -> None:
        self.apps = {name: make_app(DirectService(make_config(f"{name}:1"))) for name in ("north", "south")}
        self.connected: list[str] = []

    def connect(self, shard: Shard) -> Upstream:
        self.connected.append(shard.name)
        return Upstream(shard, transport=httpx.ASGITransport(self.apps[shard.name]))


@contextlib.asynccontextmanager
async def serving(
    file: GatewayFile, nodes: Nodes, tls: NodeTls | None = None
) -> AsyncIterator[tuple[ShardGateway, str]]:
    listener = free_listener()
    host, port = listener.getsockname()
    server, gateway = make_server(file, f"{host}:{port}", tls, nodes.connect)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110 (uvicorn tells nobody)
                await asyncio.sleep(0.002)
        yield gateway, f"{'http' if tls is None else 'https'}://{host}:{port}"
    finally:
        server.should_exit = True
        await task
        await gateway.aclose()


# ---------------------------------------------------------------- who may reach it


def test_beyond_this_machine_it_listens_only_with_tls_and_client_certificates():
    assert checked_address("127.0.0.1:8100", SecurityConfig()) == ("127.0.0.1", 8100)
    whole = SecurityConfig(ca_file="a", certificate_file="b", key_file="c", require_client_certificates=True)
    assert checked_address("0.0.0.0:8100", whole) == ("0.0.0.0", 8100)
    for too_little in (SecurityConfig(), TLS, SecurityConfig(require_client_certificates=True)):
        for address in ("0.0.0.0:8100", "[::]:8100", "192.0.2.1:8100", "gateway.example.com:8100"):
            with pytest.raises(ConfigError, match="listens beyond this machine only to clients with certificates"):
                checked_address(address, too_little)
    with pytest.raises(ConfigError, match="no HOST:PORT"):
        checked_address("8100", whole)


@pytest.mark.parametrize(
    ("security", "words"),
    [
        ('ca_file = "ca.pem"\n', "certificate_file: it is missing, and TLS needs all three files"),
        ("require_client_certificates = true\n", "client certificates are for TLS"),
        (f"{FILES}require_keys = true\n", "a gateway has no keys of its own"),
        ('ca_fiel = "ca.pem"\n', "do you mean ca_file"),
    ],
)
def test_a_faulty_table_of_security_says_what_to_write(security, words):
    with pytest.raises(ConfigError, match=words):
        parse_gateway_file(f"{GATEWAY}[security]\n{security}{NORTH}", file="m.toml")


async def test_over_tls_only_who_shows_a_certificate_is_let_in(tmp_path: Path):
    folder = make_certificates(tmp_path, [NAME], clients=["desk"])
    text = f"{GATEWAY}[security]\n{FILES}require_client_certificates = true\n{NORTH}"
    (tmp_path / "shards.toml").write_text(text)
    file = load_gateway_file(tmp_path / "shards.toml")
    tls = load_tls(file.security, "127.0.0.1")
    assert tls is not None
    ca, certificate, key = folder.certificate_file("ca"), folder.certificate_file("desk"), folder.key_file("desk")
    async with serving(file, Nodes(), tls) as (_, url):
        async with RaftbookClient(url, ca_file=ca, certificate_file=certificate, key_file=key) as client:
            report = await client.submit({"op": "add_instrument", "symbol": "ACME", **STEPS})
            assert report["status"] == "accepted"
        async with httpx.AsyncClient(verify=client_context(ca)) as stranger:
            with pytest.raises((httpx.ReadError, httpx.ConnectError, ssl.SSLError)):
                await stranger.get(f"{url}/healthz")
        async with httpx.AsyncClient() as plain:
            with pytest.raises(httpx.HTTPError):
                await plain.get(url.replace("https", "http") + "/healthz")


def test_a_certificate_of_another_process_is_refused(tmp_path: Path):
    make_certificates(tmp_path, ["n1"])
    security = SecurityConfig(
        ca_file=str(tmp_path / "ca.pem"), certificate_file=str(tmp_path / "n1.pem"), key_file=str(tmp_path / "n1.key")
    )
    with pytest.raises(ConfigError, match="not node gateway, so no peer would take it"):
        load_tls(security, "127.0.0.1")


async def test_an_address_that_asks_too_often_is_told_so():
    file = parse_gateway_file(f"{GATEWAY}[limits]\naddress_requests_per_s = 2\n{NORTH}", file="m.toml")
    async with serving(file, Nodes()) as (_, url), httpx.AsyncClient(base_url=url) as http:
        statuses = [(await http.get(path)).status_code for path in ("/healthz", "/made/up") * 10]
    assert statuses[0] == 200
    assert 429 in statuses


# ---------------------------------------------------------------- what it tells of itself


async def test_its_figures_are_told_to_prometheus():
    async with (
        serving(parse_gateway_file(GATEWAY + NORTH, file="m.toml"), Nodes()) as (_, url),
        httpx.AsyncClient(base_url=url) as http,
        open_stream(url),
    ):
        await http.get("/healthz")
        text = (await http.get("/metrics")).text
    assert 'raftbook_http_requests_total{method="GET",route="/healthz",status="200"} 1.0' in text
    assert "raftbook_feed_connections 1.0" in text
    assert "raftbook_held_body_bytes 0.0" in text
    assert "process_resident_memory_bytes" in text


# ---------------------------------------------------------------- its file, read again


async def test_shards_come_while_it_runs_and_what_is_connected_stays(tmp_path: Path):
    path = tmp_path / "shards.toml"
    path.write_text(GATEWAY + NORTH)
    nodes = Nodes()
    async with serving(load_gateway_file(path), nodes) as (gateway, url), httpx.AsyncClient(base_url=url) as http:
        await add_instruments(http, ["ACME"])
        async with open_stream(url) as stream:
            assert (await stream.ask("ping"))["type"] == "pong"
            assert (await http.get("/v1/book/BETA")).json()["code"] == "unknown_symbol"

            path.write_text(GATEWAY + NORTH + SOUTH)
            reload(gateway, str(path), None)

            await add_instruments(http, ["BETA"])
            assert (await http.get("/v1/book/BETA")).status_code == 200
            assert (await stream.ask("ping"))["type"] == "pong"
        requests = (await http.get("/metrics")).text
        assert 'raftbook_http_requests_total{method="GET",route="/v1/book/{symbol}",status="404"} 1.0' in requests
    assert nodes.connected == ["north", "south"], "the way to a shard that stays is kept"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            GATEWAY + NORTH.replace("ACME", "BETA") + SOUTH.replace("BETA", "ACME"),
            "ACME cannot move from north to south",
        ),
        (GATEWAY + NORTH + SOUTH.replace("BETA", "ACME"), "is in shard north too"),
        (GATEWAY + NORTH + SOUTH.replace("http:", "https:") + 'ca_file = "absent.pem"\n', "absent.pem"),
        ("[gateway", "not valid TOML"),
    ],
)
async def test_a_file_that_is_unfit_changes_nothing(tmp_path: Path, text, words):
    path = tmp_path / "shards.toml"
    path.write_text(GATEWAY + NORTH + SOUTH)
    nodes = Nodes()
    if "absent" in text:
        nodes.connect = Upstream
    async with serving(load_gateway_file(path), nodes) as (gateway, url), httpx.AsyncClient(base_url=url) as http:
        path.write_text(text)
        with capture_logs() as logged:
            reload(gateway, str(path), None)
        shards = (await http.get("/v1/cluster")).json()["shards"]
    assert [(told["shard"], told["symbols"]) for told in shards] == [("north", ["ACME"]), ("south", ["BETA"])]
    [line] = logged
    assert line["event"] == "shards not reloaded"
    assert words in line["error"]


async def test_a_renewed_certificate_is_taken(tmp_path: Path):
    folder = make_certificates(tmp_path, [NAME])
    path = tmp_path / "shards.toml"
    path.write_text(f"{GATEWAY}[security]\n{FILES}{NORTH}")
    file = load_gateway_file(path)
    tls = load_tls(file.security, "127.0.0.1")
    assert tls is not None
    before = tls.expires_at
    folder.renew(NAME, hosts=None, now=datetime.now(UTC), days=500)
    async with serving(file, Nodes(), tls) as (gateway, _):
        reload(gateway, str(path), tls)
    assert tls.expires_at > before
