"""The page's files, and which pages may call a node."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from raftbook.gateway.origins import AllowedOrigins, OnlyOwnPages
from raftbook.gateway.page import content_security_policy, load_assets

if TYPE_CHECKING:
    import httpx

    from raftbook.node.service import NodeService

ASSETS = load_assets()


def own_origin(service: NodeService) -> str:
    return f"http://{service.config.nodes[0].api_address}"


# --- Files -----------------------------------------------------------------------------------------------------------


async def test_the_page_names_only_files_that_are_there(http: httpx.AsyncClient):
    page = await http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="/assets/([^"]+)"', page.text)
    assert {"main.js", "theme.css", "favicon.svg"} <= set(named)
    for name in named:
        assert (await http.get(f"/assets/{name}")).status_code == 200, name


@pytest.mark.parametrize("name", [name for name in ASSETS if name.endswith(".js") and "/" not in name])
def test_every_module_imports_only_files_that_are_there_and_says_what_it_is_for(name: str):
    source = ASSETS[name].body.decode()
    assert source.startswith("// ")
    for imported in re.findall(r'^import .* from "\./([^"]+)";', source, re.MULTILINE):
        assert imported in ASSETS, f"{name} imports {imported}"
    assert "innerHTML" not in source
    assert "parseFloat" not in source or name == "ladder.js", "a price is never a float"  # There it is a row's height.


async def test_whatever_the_page_is_made_of_comes_with_its_licence():
    assert "Apache License" in ASSETS["vendor/lightweight-charts.LICENSE.txt"].body.decode()
    assert "tradingview.com" in ASSETS["vendor/lightweight-charts.NOTICE.txt"].body.decode()
    assert "SIL Open Font License" in ASSETS["vendor/inter.LICENSE.txt"].body.decode()
    assert b'href="https://www.tradingview.com/"' in ASSETS["index.html"].body


async def test_a_browser_that_has_a_file_does_not_get_it_again(http: httpx.AsyncClient):
    first = await http.get("/assets/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await http.get("/assets/main.js", headers={"If-None-Match": f'W/{first.headers["etag"]}, "other"'})
    assert (again.status_code, again.content) == (304, b"")
    assert (await http.get("/assets/main.js", headers={"If-None-Match": '"other"'})).status_code == 200
    vendored = await http.get("/assets/vendor/lightweight-charts-5.2.1.js")
    assert "immutable" in vendored.headers["cache-control"]


@pytest.mark.parametrize(
    ("accepts", "packed"), [("gzip, br", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("br", False)]
)
async def test_a_file_is_packed_for_those_who_take_it_so(http: httpx.AsyncClient, accepts: str, packed: bool):
    response = await http.get("/assets/main.js", headers={"Accept-Encoding": accepts})
    body = ASSETS["main.js"].body
    assert response.content == body  # Unpacked, where it was.
    assert (response.headers.get("content-encoding") == "gzip") is packed
    assert (int(response.headers["content-length"]) < len(body) / 2) is packed
    assert response.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../page.py",
        "/assets/%2e%2e/page.py",
        "/assets/..%2fpage.py",
        "/assets//etc/passwd",
        "/assets/",
        "/assets/vendor",
        "/assets/main.js%00",
        "/assets/MAIN.JS",
    ],
)
async def test_no_path_leads_out_of_the_pages_files(http: httpx.AsyncClient, path: str):
    response = await http.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_mistyped_file_is_named(http: httpx.AsyncClient):
    problem = (await http.get("/assets/mian.js")).json()
    assert problem["code"] == "no_such_asset"
    assert "main.js" in problem["detail"]


async def test_nothing_runs_on_the_page_that_is_not_the_nodes_own(http: httpx.AsyncClient, service: NodeService):
    page = await http.get("/")
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    address = service.config.nodes[0].api_address
    assert policy["connect-src"].split() == ["'self'", f"http://{address}", f"ws://{address}"]
    assert "<script>" not in page.text
    assert " style=" not in page.text
    for response in (page, await http.get("/assets/main.js")):
        assert response.headers["x-content-type-options"] == "nosniff"


def test_with_tls_the_page_connects_with_tls_alone():
    policy = content_security_policy(["a.example:8101", "[::1]:8102"], secure=True)
    assert "connect-src 'self' https://a.example:8101 wss://a.example:8101;" in policy


# --- Origins ---------------------------------------------------------------------------------------------------------

LOOPBACK = AllowedOrigins(["127.0.0.1:8101", "127.0.0.1:8102"], "127.0.0.1:8101")
NETWORK = AllowedOrigins(["n1.example:8101", "10.0.0.2:8101"], "n1.example:8101")


@pytest.mark.parametrize(
    ("origins", "origin", "scheme", "host", "allowed"),
    [
        (LOOPBACK, "http://127.0.0.1:8102", "http", "127.0.0.1:8101", True),
        (LOOPBACK, "http://localhost:8102", "http", "127.0.0.1:8101", True),
        (LOOPBACK, "http://[::1]:8101", "http", "127.0.0.1:8101", True),
        (LOOPBACK, "http://localhost:9999", "http", "localhost:9999", True),  # A tunnel.
        (LOOPBACK, "http://localhost:9999", "http", "127.0.0.1:8101", False),  # Another server on this machine.
        (LOOPBACK, "https://127.0.0.1:8102", "http", "127.0.0.1:8101", False),
        (LOOPBACK, "http://evil.example", "http", "127.0.0.1:8101", False),
        (LOOPBACK, "http://evil.example:8101", "http", "evil.example:8101", False),  # DNS rebinding.
        (LOOPBACK, "http://127.0.0.1.evil.example:8101", "http", "127.0.0.1.evil.example:8101", False),
        (LOOPBACK, "http://127.0.0.1:81010", "http", "127.0.0.1:8101", False),
        (LOOPBACK, "null", "http", "127.0.0.1:8101", False),
        (LOOPBACK, "http://", "http", "", False),
        (LOOPBACK, "http://[", "http", "[", False),
        (NETWORK, "https://10.0.0.2:8101", "https", "n1.example:8101", True),
        (NETWORK, "https://trading.example", "https", "trading.example", True),  # Behind a proxy, under its name.
        (NETWORK, "https://trading.example", "https", "n1.example:8101", False),
        (NETWORK, "http://localhost:8101", "http", "n1.example:8101", False),
    ],
)
def test_only_pages_of_the_clusters_own_nodes_may_call(
    origins: AllowedOrigins, origin: str, scheme: str, host: str, allowed: bool
):
    assert origins.allows(origin, scheme, host) is allowed


async def test_a_page_of_the_cluster_may_read_answers_and_their_headers(http: httpx.AsyncClient, service: NodeService):
    response = await http.get("/v1/cluster", headers={"Origin": own_origin(service)})
    assert response.headers["access-control-allow-origin"] == own_origin(service)
    assert "Raftbook-Log-Index" in response.headers["access-control-expose-headers"]
    assert "Origin" in response.headers["vary"]
    refusal = await http.get("/v1/nowhere", headers={"Origin": own_origin(service)})
    assert refusal.headers["access-control-allow-origin"] == own_origin(service)


async def test_its_preflight_is_answered(http: httpx.AsyncClient, service: NodeService):
    headers = {"Origin": own_origin(service), "Access-Control-Request-Method": "DELETE"}
    response = await http.options("/v1/orders", headers=headers)
    assert response.status_code == 204
    assert "DELETE" in response.headers["access-control-allow-methods"]
    assert "Raftbook-Signature" in response.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in response.headers


async def test_a_page_from_elsewhere_does_nothing_and_reads_nothing(http: httpx.AsyncClient):
    foreign = {"Origin": "http://evil.example"}
    order = {"symbol": "ACME", "side": "buy", "quantity": "1", "price": "1", "account": "victim"}
    refused = await http.post("/v1/orders", json=order, headers=foreign)
    assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin")
    preflight = await http.options("/v1/orders", headers={**foreign, "Access-Control-Request-Method": "DELETE"})
    assert preflight.status_code == 403
    assert "access-control-allow-origin" not in preflight.headers
    read = await http.get("/v1/orders?account=victim", headers=foreign)
    assert read.json() == []
    assert "access-control-allow-origin" not in read.headers


async def test_a_program_sends_no_origin_and_is_not_concerned(http: httpx.AsyncClient):
    response = await http.get("/v1/cluster")
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("origins", "host", "known"),
    [
        (LOOPBACK, "127.0.0.1:8101", True),
        (LOOPBACK, "127.3.2.1", True),
        (LOOPBACK, "localhost:9999", True),  # A tunnel.
        (LOOPBACK, "[::1]:8101", True),
        (LOOPBACK, "evil.example:8101", False),
        (LOOPBACK, "127.0.0.1.evil.example:8101", False),
        (LOOPBACK, "", False),
        (LOOPBACK, "[", False),
        (AllowedOrigins(["127.0.0.1:8101", "n2.example:8101"], "127.0.0.1:8101"), "n2.example:8101", True),
        (NETWORK, "trading.example", True),
    ],
)
def test_a_node_on_loopback_goes_by_its_own_names_alone(origins: AllowedOrigins, host: str, known: bool):
    assert origins.is_known_host(host) is known


async def test_a_name_that_was_rebound_to_loopback_reads_nothing(http: httpx.AsyncClient):
    response = await http.get("/v1/orders?account=victim", headers={"Host": "evil.example:8101"})
    assert (response.status_code, response.json()["code"]) == (403, "foreign_host")


async def test_a_websocket_to_a_name_that_was_rebound_is_refused():
    async def app(*_: object) -> None:
        raise AssertionError("it was let through")

    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "scheme": "ws",
        "headers": [(b"host", b"evil.example:8101")],
        "extensions": {"websocket.http.response": {}},
    }
    await OnlyOwnPages(app, LOOPBACK)(scope, None, send)
    assert sent[0]["status"] == 403
