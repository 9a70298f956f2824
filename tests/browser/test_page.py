"""The trading page in a real browser, over a cluster of real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.browser.conftest import PHONE

if TYPE_CHECKING:
    import httpx
    from playwright.async_api import Locator, Page

    from cli.local_cluster import LocalCluster
    from tests.browser.conftest import Pages


async def enter(page: Page, side: str, price: str, quantity: str) -> None:
    await page.locator(f".side.{side}").click()
    await page.fill("#ticket-price", price)
    await page.fill("#ticket-quantity", quantity)
    await page.click("#submit")


def ladder_row(page: Page, side: str, price: str) -> Locator:
    return page.locator(f"#{side} .ladder-row", has=page.get_by_text(price, exact=True))


async def open_orders(http: httpx.AsyncClient, cluster: LocalCluster, account: str) -> list[dict]:
    """As a node that is up has them, everything before the call included."""
    node_id = next(node_id for node_id in cluster.node_ids if cluster.is_running(node_id))
    response = await http.get(f"{cluster.url(node_id)}/v1/orders?account={account}&consistency=linearizable")
    response.raise_for_status()
    return response.json()


async def test_an_order_of_one_nodes_page_shows_up_and_trades_on_anothers(pages: Pages):
    seller, buyer = await pages.open("n1", account="seller"), await pages.open("n2", account="buyer")
    await enter(seller, "sell", "100.25", "7")
    await expect(seller.locator("#last-report")).to_contain_text("In the book")
    await expect(seller.locator("#order-rows tr")).to_contain_text(["100.25"])
    await expect(ladder_row(seller, "asks", "100.25").locator(".own")).to_have_text("7")

    asked = ladder_row(buyer, "asks", "100.25")
    await expect(asked).to_contain_text("7")
    await expect(asked.locator(".own")).to_be_empty()
    await asked.click()  # Takes the price into the ticket.
    await expect(buyer.locator("#ticket-price")).to_have_value("100.25")
    await buyer.fill("#ticket-quantity", "2")
    await buyer.click("#submit")
    await expect(buyer.locator("#last-report")).to_contain_text("Filled")

    for page in (seller, buyer):
        await expect(page.locator("#tape li").first).to_contain_text("100.25")
        await expect(page.locator("#quote-last")).to_have_text("100.25")
        await expect(ladder_row(page, "asks", "100.25")).to_contain_text("5")
        await expect(page.locator("#chart-legend")).to_contain_text("C 100.25")
        await expect(page.locator("#stat-volume")).to_have_text("2")
    await expect(seller.locator("#toasts")).to_contain_text("Sold 2 ACME")
    await expect(seller.locator("#order-rows tr").first).to_contain_text("2")
    await seller.click("#tab-fills")
    await expect(seller.locator("#fill-rows tr")).to_contain_text(["maker"])


async def test_an_order_is_entered_changed_and_canceled_by_keyboard_alone(pages: Pages):
    page = await pages.open("n3", account="typist")
    press = page.keyboard.press
    await press("b")
    await page.keyboard.type("90.10")
    await press("ArrowUp")  # One tick, which is 0.05.
    await press("Tab")
    await page.keyboard.type("3")
    await press("Enter")
    await expect(page.locator("#last-report")).to_contain_text("In the book")
    row = page.locator("#order-rows tr")
    await expect(row).to_contain_text("90.15")

    await row.get_by_label("Change order").focus()
    await press("Enter")
    await page.keyboard.type("90.20")
    await press("Tab")
    await page.keyboard.type("4")
    await press("Enter")
    await expect(row).to_contain_text("90.20")
    await expect(row.locator(".of-quantity")).to_have_text("4")

    await page.locator("#order-rows tr").get_by_label("Cancel order").focus()
    await press("Escape")
    await page.evaluate("document.activeElement.blur()")
    await press("x")  # Cancel all asks first; the safe answer has the focus.
    await expect(page.locator("#confirm-dialog")).to_be_visible()
    await press("Tab")
    await press("Enter")
    await expect(page.locator("#orders-empty")).to_be_visible()
    await expect(page.locator("#toasts")).to_contain_text("1 order canceled")


async def test_the_ticket_tells_what_is_wrong_before_anything_is_sent(pages: Pages, http, cluster):
    page = await pages.open("n1", account="careless")
    await enter(page, "buy", "90.03", "2.5")
    await expect(page.locator("#error-price")).to_contain_text("try 90.00 or 90.05")
    await expect(page.locator("#error-quantity")).to_have_text("Whole numbers only")
    await expect(page.locator("#ticket-price")).to_be_focused()
    assert await open_orders(http, cluster, "careless") == []
    # What the page lets pass and the exchange refuses comes back in words.
    await page.fill("#ticket-price", "90.05")
    await page.fill("#ticket-quantity", str(2**63 - 1))
    await page.click("#submit")
    await expect(page.locator("#last-report")).to_contain_text("too large")


async def test_every_kind_of_order_is_entered_as_the_exchange_knows_it(pages: Pages, http, cluster):
    page = await pages.open("n2", account="collector")
    for kind, fields in (
        ("stop", {"#ticket-stop-price": "150.00", "#ticket-quantity": "1"}),
        ("stop_limit", {"#ticket-stop-price": "150.00", "#ticket-price": "151.00", "#ticket-quantity": "2"}),
        ("iceberg", {"#ticket-price": "80.00", "#ticket-quantity": "30", "#ticket-display-quantity": "10"}),
    ):
        await page.locator(f"input[name=type][value={kind}] + span").click()
        for field, value in fields.items():
            await page.fill(field, value)
        await page.click("#submit")
        await expect(page.locator("#last-report")).to_have_attribute("data-kind", "good")
        await page.evaluate("document.getElementById('last-report').dataset.kind = ''")
    await page.locator("input[name=type][value=limit] + span").click()
    await page.locator("[data-field=postOnly]").click()
    await page.select_option("#ticket-time-in-force", "day")
    await enter(page, "buy", "79.00", "4")
    await expect(page.locator("#order-rows tr")).to_have_count(4)
    orders = await open_orders(http, cluster, "collector")
    told = [
        (each["order_type"], each["time_in_force"], each.get("stop_price"), each.get("display_quantity"),
         each.get("post_only", False))
        for each in orders
    ]  # fmt: skip
    assert told == [
        ("stop", "gtc", "150.00", None, False),
        ("stop_limit", "gtc", "150.00", None, False),
        ("limit", "gtc", None, "10", False),
        ("limit", "day", None, None, True),
    ]


async def test_an_instrument_is_chosen_and_its_auction_is_shown(pages: Pages, http, cluster):
    page = await pages.open("n1", account="auctioneer")
    await page.select_option("#instrument", "WIDGET")
    await expect(page.locator("#hint-tick")).to_have_text("tick 0.0001")
    await http.patch(f"{cluster.url('n2')}/v1/instruments/WIDGET", json={"status": "auction"})
    await expect(page.locator("#status")).to_have_text("Auction")
    await enter(page, "buy", "3.5", "1.5")
    await enter(page, "sell", "3.4", "0.5")
    await expect(page.locator("#banner")).to_contain_text("0.500 would trade at 3.")
    await expect(page.locator("#banner")).to_contain_text("1.000 more to buy")
    await http.post(f"{cluster.url('n2')}/v1/instruments/WIDGET/uncross", json={})
    await expect(page.locator("#status")).to_have_text("Trading")
    await expect(page.locator("#banner")).to_be_hidden()
    await expect(page.locator("#tape li").first).to_contain_text("0.500")
    await page.reload()
    await expect(page.locator("#instrument")).to_have_value("WIDGET")


async def test_a_phone_shows_one_view_at_a_time_and_never_scrolls_sideways(pages: Pages):
    page = await pages.open("n2", account="walker", size=PHONE)
    for tab, panel in (
        ("chart", "#chart"),
        ("book", "#ladder"),
        ("trade", "#ticket"),
        ("orders", "#open-orders"),
        ("cluster", "#node-rows"),
    ):
        await page.locator(f"#bottom-tabs [data-tab={tab}]").click()
        await expect(page.locator(panel)).to_be_visible()
        for name in ("html", ".desk"):
            wider = await page.locator(name).evaluate("each => each.scrollWidth - each.clientWidth")
            assert wider == 0, f"{tab}: {name} is {wider} px wider than the phone"
    await expect(page.locator("#ladder")).to_be_hidden()


CONTRASTS = """() => {
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([red, green, blue]) =>
    0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
  const groundOf = (node) => {
    for (let each = node; each !== null; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    throw new Error("no ground");
  };
  const low = new Set();
  let count = 0;
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim() !== "");
    if (!own || !node.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || node.disabled) continue;
    if (node.closest(":disabled, .hidden, option")) continue;
    const [one, other] = [luminance(parse(getComputedStyle(node).color)), luminance(groundOf(node))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    count += 1;
    if (ratio < 4.5) low.add(`${node.tagName} ${node.className} "${node.textContent}" ${ratio.toFixed(2)}`);
  }
  return { count, low: [...low] };
}"""


async def test_dark_and_light_follow_the_system_until_switched_and_both_can_be_read(pages: Pages):
    dark = await pages.open("n1", account="reader", theme="dark")
    light = await pages.open("n1", account="reader", theme="light")
    grounds = [await page.evaluate("getComputedStyle(document.body).backgroundColor") for page in (dark, light)]
    assert grounds == ["rgb(8, 10, 15)", "rgb(238, 240, 244)"]
    for page in (dark, light):
        contrasts = await page.evaluate(CONTRASTS)
        assert contrasts["count"] > 60
        assert contrasts["low"] == [], "text with a contrast below 4.5 (WCAG AA)"
    await light.keyboard.press("t")
    assert await light.evaluate("getComputedStyle(document.body).backgroundColor") == grounds[0]
    await light.reload()
    assert await light.evaluate("getComputedStyle(document.body).backgroundColor") == grounds[0]


async def test_the_cluster_is_shown_live_and_the_page_moves_when_told(pages: Pages, cluster):
    page = await pages.open("n1", account="operator")
    leader = await cluster.wait_for_leader(deadline_s=30)
    await expect(page.locator("#node-rows tr")).to_have_count(3)
    await expect(page.locator(f"tr[data-node={leader}] .role")).to_have_text("leader")
    await expect(page.locator("#agreement-text")).to_contain_text("3 of 3 digests agree")
    await page.locator("tr[data-node=n3] .use-node").click()
    await expect(page.locator("#connection-text")).to_have_text("n3")
    await enter(page, "buy", "70.00", "1")
    await expect(page.locator("#last-report")).to_contain_text("at n3")


async def test_when_the_leader_dies_the_page_goes_on_and_nothing_is_lost_or_doubled(pages: Pages, http, cluster):
    pages.may_lose_nodes = True
    leader = await cluster.wait_for_leader(deadline_s=30)
    page = await pages.open(leader, account="survivor")
    await enter(page, "buy", "60.00", "1")
    await expect(page.locator("#last-report")).to_contain_text("In the book")

    # The order gets into the socket of a process that does not run any more, and is sent again elsewhere.
    cluster.pause(leader)
    await enter(page, "buy", "60.05", "2")
    await expect(page.locator("#last-report")).to_contain_text("Sending")
    cluster.kill(leader)
    await expect(page.locator("#last-report")).to_contain_text("In the book")
    await expect(page.locator("#last-report")).to_contain_text("executed once")
    await expect(page.locator("#connection-text")).not_to_have_text(leader)
    await expect(page.locator("#connection")).to_have_attribute("data-phase", "live")
    await expect(page.locator("#toasts")).to_contain_text(f"{leader} does not answer")

    await enter(page, "buy", "60.10", "3")
    await expect(page.locator("#order-rows tr")).to_have_count(3)
    orders = await open_orders(http, cluster, "survivor")
    assert [(each["price"], each["quantity"]) for each in orders] == [("60.00", "1"), ("60.05", "2"), ("60.10", "3")]
    for price, quantity in (("60.10", "3"), ("60.05", "2"), ("60.00", "1")):
        await expect(ladder_row(page, "bids", price)).to_contain_text(quantity)
    await expect(page.locator(f"tr[data-node={leader}] .role")).to_have_text("unreachable")
    await expect(page.locator("#agreement-text")).to_contain_text("2 of 3 digests agree")

    cluster.start(leader)
    await expect(page.locator("#agreement-text")).to_contain_text("3 of 3 digests agree")


async def test_without_any_node_the_page_says_so_calmly_and_comes_back(pages: Pages, cluster):
    pages.may_lose_nodes = True
    page = await pages.open("n2", account="patient")
    cluster.kill(*cluster.node_ids)
    await expect(page.locator("#banner")).to_contain_text("No node answers")
    await expect(page.locator("body")).to_have_attribute("data-stale", "")
    await enter(page, "buy", "50.00", "9")
    await expect(page.locator("#banner")).to_contain_text("One command is under way")
    # Nobody wants an order of minutes ago: it is given up before there is a node again.
    await expect(page.locator("#last-report")).to_contain_text("not sent any more")
    cluster.start()
    await expect(page.locator("#banner")).to_be_hidden()
    await enter(page, "buy", "50.05", "9")
    await expect(page.locator("#last-report")).to_contain_text("In the book")
    await expect(page.locator("#order-rows tr")).to_contain_text(["50.05"])
