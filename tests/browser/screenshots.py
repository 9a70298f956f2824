"""Pictures of the page over a cluster with a market in it: python -m tests.browser.screenshots FOLDER.

Four for the documentation (desk and phone, dark and light), and further ones to look at.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
from playwright.async_api import async_playwright

from cli.local_cluster import LocalCluster
from tests.browser.chromium import launch
from tests.browser.demo_market import OWNER, DemoMarket, SetBackClocks, live_through, submit

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

SEED: Final = 11
PAST_MINUTES: Final = 150
DESK: Final = (1440, 900)
PHONE: Final = (390, 844)
PHONE_TABS: Final = ("chart", "book", "trade", "orders", "cluster")


async def take_pictures(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch, LocalCluster(Path(scratch) / "cluster") as cluster:
        clocks = SetBackClocks(cluster)
        clocks.set_back(60.0 * PAST_MINUTES)
        cluster.start()
        leader = await cluster.wait_for_leader(deadline_s=30)
        url = cluster.url(leader)
        market = DemoMarket(SEED)
        async with httpx.AsyncClient() as client:
            await live_through(market, clocks, client, url, PAST_MINUTES)
            await submit(client, url, market.orders_of_owner())
            trading = asyncio.create_task(_trade_on(market, client, url))
            async with async_playwright() as playwright:
                browser = await launch(playwright)
                for theme in ("dark", "light"):
                    await _desk(browser, cluster.url("n1"), theme, folder)
                    await _phone(browser, cluster.url("n1"), theme, folder)
                await browser.close()
            trading.cancel()


async def _trade_on(market: DemoMarket, client: httpx.AsyncClient, url: str) -> None:
    while True:
        await submit(client, url, market.moment())
        await asyncio.sleep(0.1)


async def _open(browser: Browser, url: str, theme: str, size: tuple[int, int], scale: float) -> Page:
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]}, device_scale_factor=scale, color_scheme=theme
    )
    page = await context.new_page()
    page.on("console", lambda message: print(f"  console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: print(f"  page error: {error}"))
    await page.add_init_script(f"localStorage.setItem('raftbook.accounts', '{OWNER}')")
    await page.goto(url)
    await page.locator("#connection[data-phase=live]").wait_for()
    await page.locator("#agreement[data-state=agree]").wait_for(state="attached")
    await page.locator("#order-rows tr").first.wait_for(state="attached")
    await page.wait_for_timeout(2_500)  # The tape fills up.
    return page


async def _desk(browser: Browser, url: str, theme: str, folder: Path) -> None:
    page = await _open(browser, url, theme, DESK, 1)
    await page.keyboard.press("b")
    await page.locator("#asks .ladder-row").nth(2).click()
    await page.locator("#ticket-quantity").fill("25")
    await page.screenshot(path=folder / f"page-{theme}.png")
    await page.context.close()


async def _phone(browser: Browser, url: str, theme: str, folder: Path) -> None:
    page = await _open(browser, url, theme, PHONE, 2)
    for tab in PHONE_TABS:
        await page.locator(f"#bottom-tabs [data-tab={tab}]").click()
        await page.wait_for_timeout(400)
        await page.screenshot(path=folder / f"phone-{tab}-{theme}.png")
    await page.context.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.browser.screenshots FOLDER")
    pictures = Path(sys.argv[1])
    pictures.mkdir(parents=True, exist_ok=True)
    asyncio.run(take_pictures(pictures))
