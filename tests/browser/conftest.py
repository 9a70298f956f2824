"""A cluster of three node processes and one chromium, both shared by all tests here: to start them takes longest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from raftbook.node.config import InstrumentConfig, LimitsConfig
from tests.browser.chromium import NoBrowserError, launch
from tests.support.prepared_processes import PreparedCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, ConsoleMessage, Page

FOLDER: Final = Path(__file__).resolve().parent
DESK: Final = (1440, 900)
PHONE: Final = (390, 844)

INSTRUMENTS: Final = (
    InstrumentConfig(symbol="ACME", price_decimals=2, tick_size="0.05", lot_size="1"),
    InstrumentConfig(symbol="WIDGET", price_decimals=4, quantity_decimals=3, tick_size="0.0001", lot_size="0.005"),
)

expect.set_options(timeout=20_000)  # Milliseconds; the machine may be busy with other tests.

LOST_NODE: Final = re.compile(r"WebSocket connection to .* failed|ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE")
"""What the browser itself says of a node that is gone. The page cannot keep it from saying so."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.xdist_group("browser"))
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PreparedCluster]:
    limits = LimitsConfig(storage_reserve_bytes=1 << 20)
    folder = tmp_path_factory.mktemp("browser")
    with PreparedCluster(folder, name="page", instruments=INSTRUMENTS, limits=limits) as cluster:
        cluster.start()
        await cluster.wait_for_leader(deadline_s=60)
        yield cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        try:
            browser = await launch(playwright)
        except NoBrowserError as error:
            pytest.fail(str(error))
        yield browser
        await browser.close()


class Pages:
    """Pages that are opened by a test, and what their consoles said."""

    def __init__(self, cluster: PreparedCluster, browser: Browser) -> None:
        self._cluster = cluster
        self._browser = browser
        self._contexts: list[Any] = []
        self.complaints: list[str] = []
        self.may_lose_nodes = False

    async def open(
        self, node_id: str, *, account: str, symbol: str = "ACME", size: tuple[int, int] = DESK, theme: str = "dark"
    ) -> Page:
        """The page of a node, connected and with its book there."""
        context = await self._browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=theme, reduced_motion="reduce"
        )
        context.set_default_timeout(20_000)
        self._contexts.append(context)
        page = await context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        await page.add_init_script(f"localStorage.setItem('raftbook.accounts', '{account}')")
        await page.goto(f"{self._cluster.url(node_id)}/#{symbol}")
        await page.locator("#connection[data-phase=live]").wait_for()
        await page.locator("#orders-empty", has_text="No open orders").wait_for(state="attached")
        return page

    def _note(self, message: ConsoleMessage) -> None:
        lost = self.may_lose_nodes and LOST_NODE.search(message.text)
        if message.type in ("error", "warning") and not lost:
            self.complaints.append(f"{message.type}: {message.text} ({message.location})")

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def pages(cluster: PreparedCluster, browser: Browser) -> AsyncIterator[Pages]:
    """Fails the test where a page complained on its console: of an error, or of what its policy forbids."""
    pages = Pages(cluster, browser)
    yield pages
    await pages.close()
    assert pages.complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield client
