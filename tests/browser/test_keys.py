"""The page over a node that wants API keys."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest_asyncio
from playwright.async_api import expect

from raftbook.engine.types import Role
from raftbook.node.config import KeyConfig, LimitsConfig, SecurityConfig
from raftbook.security.signing import ApiKey, derive_public_key, format_key
from tests.support.prepared_processes import PreparedCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page, Route

KEYS = {
    "operator": ApiKey(Role.ADMIN, "adminkey", bytes(range(32))),
    "trader": ApiKey(Role.TRADE, "tradekey", bytes(range(1, 33))),
    "watcher": ApiKey(Role.READ, "readkey0", bytes(range(2, 34))),
}


@pytest_asyncio.fixture(loop_scope="session")
async def guarded(tmp_path) -> AsyncIterator[str]:
    """The URL of a cluster of one that requires keys; the trader's and the watcher's are for the account alice."""
    keys = tuple(
        KeyConfig(
            id=key.key_id,
            name=name,
            role=key.role.label,
            accounts=("*",) if key.role is Role.ADMIN else ("alice",),
            public_key=derive_public_key(key.secret),
        )
        for name, key in KEYS.items()
    )
    with PreparedCluster(tmp_path, node_count=1, limits=LimitsConfig(storage_reserve_bytes=1 << 20)) as cluster:
        cluster.config = msgspec.structs.replace(cluster.config, security=SecurityConfig(require_keys=True), keys=keys)
        cluster.start()
        url = cluster.url("n1")
        async with asyncio.timeout(30), httpx.AsyncClient() as client:
            while True:
                try:
                    response = await client.get(f"{url}/readyz")
                    if response.status_code == 200:
                        break
                except httpx.TransportError:
                    pass  # It does not listen yet.
                await asyncio.sleep(0.02)
        yield url


async def use_key(page: Page, text: str) -> None:
    await page.fill("#key-text", text)
    await page.get_by_role("button", name="Use this key").click()


async def test_a_late_refusal_of_what_was_asked_without_a_key_asks_for_none_again(guarded: str, browser: Browser):
    context = await browser.new_context()
    try:
        page = await context.new_page()
        may_arrive, has_arrived = asyncio.Event(), asyncio.Event()

        async def hold_refusals(route: Route) -> None:
            response = await route.fetch()
            if response.status == HTTPStatus.UNAUTHORIZED:
                await may_arrive.wait()
            await route.fulfill(response=response)
            if response.status == HTTPStatus.UNAUTHORIZED:
                has_arrived.set()

        await page.route("**/v1/instruments", hold_refusals)
        await page.goto(guarded)
        await expect(page.locator("#key-dialog")).to_be_visible()
        await use_key(page, format_key(KEYS["trader"]))
        may_arrive.set()
        await asyncio.wait_for(has_arrived.wait(), timeout=20)
        await expect(page.locator("#connection")).to_have_attribute("data-phase", "live")
        await page.fill("#ticket-price", "10.00")
        await expect(page.locator("#key-dialog")).to_be_hidden()
    finally:
        await context.close()


async def test_the_page_asks_for_a_key_signs_with_it_and_says_what_it_may_not(guarded: str, browser: Browser):
    context = await browser.new_context()
    try:
        page = await context.new_page()
        await page.add_init_script("localStorage.setItem('raftbook.accounts', 'alice')")
        await page.goto(guarded)
        await expect(page.locator("#key-dialog")).to_be_visible()
        await expect(page.locator("#connection-text")).to_have_text("Key needed")
        await use_key(page, "rb_trade_short")
        await expect(page.locator("#key-error")).to_contain_text("This is no API key")
        await use_key(page, format_key(KEYS["trader"]))
        await expect(page.locator("#connection")).to_have_attribute("data-phase", "live")
        await page.fill("#ticket-price", "10.00")
        await page.fill("#ticket-quantity", "3")
        await page.click("#submit")
        await expect(page.locator("#last-report")).to_contain_text("In the book")
        await expect(page.locator("#order-rows tr")).to_have_count(1)

        # With a key that may read alone, the same account is seen, and an order is refused in words.
        await page.keyboard.press("Escape")
        await page.click("#open-key")
        await use_key(page, format_key(KEYS["watcher"]))
        await expect(page.locator("#connection")).to_have_attribute("data-phase", "live")
        await page.click("#submit")
        await expect(page.locator("#last-report")).to_contain_text("Not taken")
        await expect(page.locator("#order-rows tr")).to_have_count(1)

        stored = await page.evaluate("[JSON.stringify(localStorage), document.cookie]")
        assert format_key(KEYS["watcher"]) not in "".join(stored)
    finally:
        await context.close()
