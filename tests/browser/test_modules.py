"""The page's modules that touch no document, in a browser, as they run in it; numbers are held against Python's own."""

from __future__ import annotations

import json
import random
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from raftbook.engine.types import Role
from raftbook.security import signing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

    from cli.local_cluster import LocalCluster

BIG = "(_, value) => (typeof value === 'bigint' ? `${value}n` : value)"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def blank(cluster: LocalCluster, browser: Browser) -> AsyncIterator[Page]:
    """A page of a node's origin on which nothing runs, so that its modules can be imported."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{cluster.url('n1')}/assets/vendor/inter.LICENSE.txt")
    yield page
    await context.close()


async def run(page: Page, modules: str, code: str, argument: Any = None) -> Any:
    """What `code` returns, BigInts as texts with an n; `modules` are the names of those that it may use."""
    names = modules.split()
    imports = ", ".join(f"import('/assets/{name}.js')" for name in names)
    function = f"""async (argument) => {{
      const [{", ".join(names)}] = await Promise.all([{imports}]);
      const run = async () => {{ {code} }};
      return JSON.stringify(await run() ?? null, {BIG});
    }}"""
    return json.loads(await page.evaluate(function, argument))


INSTRUMENT = """const { Instrument } = await import("/assets/instrument.js");
  const instrument = new Instrument({symbol: "ACME", price_decimals: 2, quantity_decimals: 3, tick_size: "0.05",
    lot_size: "0.005", min_quantity: "0.01", max_quantity: "1000", min_notional: "5", status: "trading"});"""


# --- Decimals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "decimals", "units"),
    [
        ("100.25", 2, "10025n"),
        (" 7 ", 2, "700n"),
        (".5", 2, "50n"),
        ("5.", 2, "500n"),
        ("0.10", 1, "1n"),
        ("92233720368547758.07", 2, "9223372036854775807n"),
        ("0.000000000000000001", 18, "1n"),
        ("0.125", 2, None),
        ("", 2, None),
        (".", 2, None),
        ("-1", 2, None),
        ("1e3", 2, None),
        ("1,000", 2, None),
        ("٣", 2, None),
        ("9" * 60, 2, None),
    ],
)
async def test_a_decimal_is_read_exactly_or_not_at_all(blank: Page, text: str, decimals: int, units: str | None):
    assert await run(blank, "format", "return format.parseUnits(...argument)", [text, decimals]) == units


async def test_decimals_are_what_pythons_are_however_large(blank: Page):
    rng = random.Random(7)
    cases = [(rng.randrange(10 ** rng.randrange(1, 19)), rng.randrange(0, 19)) for _ in range(300)]
    given = [[str(units), decimals] for units, decimals in cases]
    told = await run(
        blank,
        "format",
        """return argument.map(([units, decimals]) => [format.formatUnits(BigInt(units), decimals),
             format.showUnits(BigInt(units), decimals),
             format.parseUnits(format.formatUnits(BigInt(units), decimals), decimals)])""",
        given,
    )
    for (units, decimals), (text, shown, read) in zip(cases, told, strict=True):
        exact = Decimal(units).scaleb(-decimals)
        assert text == f"{exact:.{decimals}f}"
        assert shown == f"{exact:,.{decimals}f}"
        assert read == f"{units}n"


async def test_numbers_for_people(blank: Page):
    told = await run(
        blank,
        "format",
        """return [format.showCompact(1234567n, 0), format.showCompact(9999n, 0), format.showCompact(45_678_900n, 3),
             format.showChange(10074n, 10000n), format.showChange(9950n, 10000n), format.showChange(5n, 0n),
             format.showTime(1795384989500000000),
             format.toJson({op: "new", expire_time: 1795300000123456789n, price: undefined, post_only: true})]""",
    )
    assert told == ["1.23M", "9,999", "45.67K", "+0.74%", "\u22120.50%", None, "22:03:09",
                    '{"op":"new","expire_time":1795300000123456789,"post_only":true}']  # fmt: skip


# --- The local book --------------------------------------------------------------------------------------------------


async def test_a_local_book_equals_what_its_updates_say(blank: Page):
    """Against a plain dictionary, over hundreds of random changes, some of them merged."""
    rng = random.Random(3)
    levels: dict[str, dict[Decimal, Decimal]] = {"bids": {}, "asks": {}}
    messages: list[dict] = [{"type": "snapshot", "sequence": 10, "status": "trading", "bids": [], "asks": []}]
    sequence = 10
    for _ in range(600):
        merged = rng.choice((1, 1, 1, 4))
        update: dict = {"type": "update", "sequence": sequence + merged, "bids": [], "asks": []}
        if merged > 1:
            update["first_sequence"] = sequence + 1
        sequence += merged
        for side, base in (("bids", 9_000), ("asks", 10_000)):
            price = Decimal(base + 5 * rng.randrange(60)).scaleb(-2)
            quantity = Decimal(rng.choice((0, 0, 5, 40, 1_005))).scaleb(-3)
            update[side] = [[str(price), str(quantity)]]
            levels[side].pop(price, None)
            if quantity:
                levels[side][price] = quantity
        messages.append(update)
    told = await run(
        blank,
        "book",
        f"""{INSTRUMENT}
        const local = new book.LocalBook(instrument);
        const applied = argument.every((message) => local.apply(message));
        const list = (side) => side.prices.map((price) => [instrument.price(price),
          instrument.quantity(side.quantities.get(price))]);
        return [applied, local.position, list(local.bids), list(local.asks)]""",
        messages,
    )
    expected = [
        [[f"{price:.2f}", f"{levels[side][price]:.3f}"] for price in sorted(levels[side], reverse=side == "bids")]
        for side in ("bids", "asks")
    ]
    assert told == [True, sequence, *expected]
    assert len(expected[0]) > 10


async def test_what_does_not_follow_is_not_applied(blank: Page):
    told = await run(
        blank,
        "book",
        f"""{INSTRUMENT}
        const local = new book.LocalBook(instrument);
        const update = (first, sequence) => local.apply({{type: "update", first_sequence: first, sequence,
          bids: [["1.00", "1"]], asks: []}});
        const results = [update(1, 1)];
        local.apply({{type: "snapshot", sequence: 5, status: "auction", bids: [], asks: [],
          indication: {{quantity: "1"}}}});
        results.push(update(7, 8), update(5, 6), local.bids.prices.length, update(6, 8), local.position,
          local.indication.quantity);
        local.apply({{type: "update", sequence: 9, status: "trading"}});
        results.push(local.indication, local.status, local.position);
        return results""",
    )
    assert told == [False, False, False, 0, True, 8, "1", None, "trading", 9]


async def test_levels_are_gathered_away_from_the_spread(blank: Page):
    told = await run(
        blank,
        "book",
        f"""{INSTRUMENT}
        const local = new book.LocalBook(instrument);
        local.apply({{type: "snapshot", sequence: 1,
          bids: [["10.05", "1"], ["10.00", "2"], ["9.95", "4"], ["9.90", "8"]],
          asks: [["10.10", "1"], ["10.15", "2"], ["10.20", "4"], ["10.25", "8"]]}});
        return [book.gatherLevels(local.bids, true, 10n, 2), book.gatherLevels(local.asks, false, 10n, 2)]""",
    )
    assert told == [
        [{"price": "1000n", "quantity": "3000n", "total": "3000n"},
         {"price": "990n", "quantity": "12000n", "total": "15000n"}],
        [{"price": "1010n", "quantity": "1000n", "total": "1000n"},
         {"price": "1020n", "quantity": "6000n", "total": "7000n"}],
    ]  # fmt: skip


# --- Trades, candles, own orders -------------------------------------------------------------------------------------


async def test_trades_come_once_each_and_a_missing_one_is_noticed(blank: Page):
    told = await run(
        blank,
        "trade_tape",
        f"""{INSTRUMENT}
        const seen = [];
        const tape = new trade_tape.TradeTape(instrument, (trade) => seen.push(trade.id));
        const trade = (id, previous) => ({{type: "update", sequence: 10 + id, trade_id: id, previous_trade_id: previous,
          price: "1.00", quantity: "1", taker_side: "buy", timestamp: 0, log_index: id}});
        const results = [tape.apply(trade(3, 2))];
        tape.apply({{type: "snapshot", sequence: 12, trades: [trade(2)]}});
        results.push(tape.apply(trade(4, 2)), tape.apply(trade(7, 5)), tape.apply(trade(5, 4)), tape.position);
        tape.reset();
        tape.apply({{type: "snapshot", sequence: 18, trades: [trade(4), trade(5), trade(7)]}});
        return [...results, seen, tape.trades.map(({{id}}) => id)]""",
    )
    assert told == [False, True, False, True, 15, [4, 5, 7], [4, 5, 7]]


async def test_candles_go_on_from_the_trades_behind_those_that_were_counted(blank: Page):
    minute = 60_000_000_000
    told = await run(
        blank,
        "candle_history",
        f"""{INSTRUMENT}
        const at = {29_000_000 * minute};
        const history = new candle_history.CandleHistory(instrument, "1m", [{{start: at, open: "1.00", high: "1.10",
          low: "0.90", close: "1.05", volume: "2"}}], 40);
        const add = (logIndex, seconds, price) => history.add({{logIndex, timestamp: at + seconds * 1e9, price,
          quantity: 500n}}) !== null;
        return [add(40, 1, 500n), add(41, 2, 120n), add(42, 59, 80n), add(43, 60, 81n), add(44, 300, 85n),
          history.candles.map(({{start, open, high, low, close, volume}}) =>
            [start - at / 1e9, open, high, low, close, volume])]""",
    )
    assert told == [
        False, True, True, True, True,
        [[0, "100n", "120n", "80n", "80n", "3000n"], [60, "81n", "81n", "81n", "81n", "500n"],
         [300, "85n", "85n", "85n", "85n", "500n"]],
    ]  # fmt: skip


async def test_own_orders_follow_their_events(blank: Page):
    told = await run(
        blank,
        "own_orders format",
        """const fills = [], ends = [];
        const addDecimals = (_, one, other, sign) =>
          format.formatUnits(format.parseUnits(one, 1) + sign * format.parseUnits(other, 1), 1);
        const own = new own_orders.OwnOrders("me", {addDecimals,
          onFill: (fill) => fills.push([fill.role, fill.atEntry]), onEnd: (order) => ends.push(order.reason)});
        const order = (id, extra) => ({order_id: id, account: "me", symbol: "X", side: "buy", price: "1",
          quantity: "5.0", filled_quantity: "0.0", leaves_quantity: "5.0", status: "open", ...extra});
        own.apply({type: "snapshot", sequence: 4, orders: [order(1), order(2)]});
        const trade = (maker, taker, quantity) => ({event: "trade", symbol: "X", trade_id: 1, quantity,
          price: "1", taker_side: "sell", maker_order_id: maker, maker_account: "me", taker_order_id: taker});
        own.apply({type: "update", sequence: 5, events: [trade(1, 9, "2.0")]});
        const partly = own.orders.get(1).leaves_quantity;
        own.apply({type: "update", sequence: 5, events: [trade(1, 9, "2.0")]});
        own.apply({type: "update", sequence: 6, events: [trade(1, 9, "3.0"),
          {event: "order_accepted", log_index: 6, ...order(3, {status: "untriggered"})},
          {...trade(8, 3, "1.0"), log_index: 6, maker_account: "other", taker_account: "me"},
          {event: "order_canceled", ...order(2, {status: "canceled", reason: "self_trade"})}]});
        own.apply({type: "update", sequence: 7, events: [
          {...trade(8, 3, "1.0"), log_index: 7, maker_account: "other", taker_account: "me"}]});
        return [partly, [...own.orders.keys()], fills, ends, own.position]""",
    )
    assert told == [
        "3.0",
        [3],
        [["maker", False], ["maker", False], ["taker", True], ["taker", False]],
        ["self_trade"],
        7,
    ]


# --- Delivery of commands --------------------------------------------------------------------------------------------

SEND = """const make = (op) => new delivery.Delivery({op}, 1_000_000);
  const sent = (op) => { const one = make(op); one.transmitted(); return one; };"""


async def test_every_copy_of_a_command_has_one_end_and_none_is_sent_after_it(blank: Page):
    told = await run(
        blank,
        "delivery",
        f"""{SEND}
        const one = make("new");
        return [one.command.not_after, one.maySend(1_004_999), one.maySend(1_005_000), one.failure().code,
          one.failure().message]""",
    )
    assert told[:4] == ["1005000000000n", True, False, "not_sent"]
    assert "not sent any more" in told[4]


@pytest.mark.parametrize(("op", "again"), [("new", True), ("cancel", True), ("replace", False), ("cancel_all", False)])
async def test_only_what_may_come_twice_is_sent_again_when_its_answer_is_lost(blank: Page, op: str, again: bool):
    told = await run(
        blank,
        "delivery",
        f"""{SEND}
        const [lost, unheld, failed, busy] = [0, 1, 2, 3].map(() => sent(argument));
        lost.lost();
        const steps = [unheld.refused({{code: "not_held", detail: "gone"}}, 3),
          failed.refused({{code: "internal_error", detail: "a fault"}}, 3), busy.refused({{code: "busy"}}, 3)];
        return [[lost, unheld, failed].map((one) => [one.maySend(1_000_001), one.failure().code]), steps,
          busy.maySend(1_000_001)]""",
        op,
    )
    step = "again" if again else "end"
    assert told == [[[again, "outcome_unknown"]] * 3, [step, step, "again"], True]


async def test_a_full_disk_sends_a_command_elsewhere_until_every_node_is_full(blank: Page):
    told = await run(
        blank,
        "delivery",
        f"""{SEND}
        const one = sent("replace");
        const full = () => {{ one.transmitted(); return one.refused({{code: "storage_full", detail: "full"}}, 2); }};
        return [one.refused({{code: "storage_full"}}, 2), one.maySend(1_000_001), full(), one.failure().code]""",
    )
    assert told == ["elsewhere", True, "end", "storage_full"]


# --- Tickets ---------------------------------------------------------------------------------------------------------

TICKET = {"side": "buy", "type": "limit", "price": "10.05", "stopPrice": "", "quantity": "2.005", "displayQuantity": "",
          "timeInForce": "gtc", "postOnly": False, "expireTime": ""}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"price": "10.03"}, {"price": "Not on the tick of 0.05; try 10.00 or 10.05"}),
        ({"price": "0.02"}, {"price": "Not on the tick of 0.05; try 0.05"}),
        ({"price": "10.051"}, {"price": "At most 2 decimals"}),
        ({"price": "ten"}, {"price": "Not a number: write digits and a point, such as 12.5"}),
        ({"price": ""}, {"price": "Enter a number"}),
        ({"quantity": "2.001"}, {"quantity": "Not a multiple of the lot, 0.005"}),
        ({"quantity": "0"}, {"quantity": "Must be above zero"}),
        ({"quantity": "0.005"}, {"quantity": "At least 0.010"}),
        ({"quantity": "1000.005"}, {"quantity": "At most 1,000.000"}),
        ({"quantity": "0.4"}, {"quantity": "At this price the total is below the least of 5.00"}),
        ({"type": "iceberg", "displayQuantity": "2.005"}, {"displayQuantity": "Must be less than the quantity"}),
        ({"type": "iceberg", "displayQuantity": "0.02"}, {"displayQuantity": "Show at least 0.021"}),
        ({"type": "stop_limit"}, {"stopPrice": "Enter a number"}),
        ({"timeInForce": "gtd", "expireTime": "2020-01-01T00:00"}, {"expireTime": "Must be later than now"}),
    ],
)
async def test_a_ticket_is_checked_as_the_exchange_will(blank: Page, change: dict, wrong: dict):
    told = await run(
        blank,
        "order_check",
        f"{INSTRUMENT} return order_check.checkTicket(argument, instrument, Date.UTC(2026, 1, 1))",
        {**TICKET, **change},
    )
    assert told["errors"] == wrong
    assert told["command"] is None


async def test_a_good_ticket_becomes_a_command_with_exact_texts(blank: Page):
    change = {"price": "010.0500", "postOnly": True, "timeInForce": "gtd", "expireTime": "2027-01-01T00:00:00.000Z"}
    told = await run(
        blank,
        "order_check",
        f"{INSTRUMENT} return order_check.checkTicket(argument, instrument, Date.UTC(2026, 1, 1))",
        {**TICKET, **change},
    )
    assert told == {
        "errors": {},
        "notional": "2015025n",
        "command": {
            "op": "new", "symbol": "ACME", "side": "buy", "order_type": "limit", "time_in_force": "gtd",
            "quantity": "2.005", "price": "10.05", "expire_time": "1798761600000000000n", "post_only": True,
        },
    }  # fmt: skip


# --- Nodes, digests, keys --------------------------------------------------------------------------------------------


async def test_the_page_goes_on_at_the_node_that_failed_least(blank: Page):
    told = await run(
        blank,
        "nodes",
        """const list = new nodes.NodeList("http://localhost:1");
        list.identify("http://localhost:1", "n1");
        const members = ["n1", "n2", "n3"].map((id, index) => ({id, api_address: `127.0.0.1:${index + 1}`}));
        list.learn(members);
        const path = [list.current.url];
        for (let step = 0; step < 5; step += 1) path.push(list.moveOn().id);
        list.succeeded(list.byId("n1"));
        path.push(list.moveOn().id);
        return [path, nodes.streamUrl(list.byId("n2"))]""",
    )
    assert told == [["http://localhost:1", "n2", "n3", "n1", "n2", "n3", "n1"], "ws://127.0.0.1:2/v1/stream"]


@pytest.mark.parametrize(
    ("digests", "state", "odd"),
    [
        (("a", "a", "a"), "agree", []),
        (("a", None, "a"), "agree", []),
        (("a", None, None), "unknown", []),
        (("a", "b", "a"), "differ", ["n2"]),
        (("a", "b", None), "differ", ["n1", "n2"]),
    ],
)
async def test_digests_agree_or_the_odd_one_is_named(blank: Page, digests: tuple, state: str, odd: list):
    given = [{"id": f"n{number + 1}", "digest": digest} for number, digest in enumerate(digests)]
    told = await run(blank, "digests", "return digests.compareDigests(7, argument)", given)
    assert (told["state"], told["odd"]) == (state, odd)


STORAGE = """const kept = new Map();
  const storage = {getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => kept.set(name, value),
    removeItem: (name) => kept.delete(name)};"""


async def test_what_the_page_signs_the_nodes_recognise(blank: Page):
    # The secret's base64url has all that a careless reader of it would trip over: -, _ and no padding.
    key = signing.ApiKey(Role.TRADE, "key7key7", bytes.fromhex("fbef" * 8) + bytes(range(16)))
    public_key = signing.derive_public_key(key.secret)
    headers, message, again = await run(
        blank,
        "signing",
        f"""{STORAGE}
        const credentials = new signing.Credentials(storage);
        credentials.use(signing.parseKey(argument));
        return [await credentials.headers("n2", "POST", "/v1/x?a=b", "body"), await credentials.streamMessage("n3"),
          (await new signing.Credentials(storage).headers("n2", "GET", "/v1/x"))["Raftbook-Key"]]""",
        signing.format_key(key),
    )
    assert again == headers[signing.KEY_HEADER] == message["key_id"] == "key7key7"
    timestamp, nonce = int(headers[signing.TIMESTAMP_HEADER]), headers[signing.NONCE_HEADER]
    assert abs(timestamp - time.time_ns()) < 60 * 10**9
    assert signing.NONCE_PATTERN.fullmatch(nonce)
    text = signing.text_to_sign("n2", "POST", "/v1/x?a=b", timestamp, nonce, b"body")
    assert signing.verify(public_key, headers[signing.SIGNATURE_HEADER], text)
    moment = int(message["timestamp"].rstrip("n"))
    text = signing.text_to_sign("n3", "GET", signing.STREAM_TARGET, moment, message["nonce"], b"")
    assert signing.verify(public_key, message["signature"], text)


async def test_only_a_read_key_is_ever_sent(blank: Page):
    texts = [signing.format_key(signing.ApiKey(role, "key1key1", bytes(32))) for role in Role]
    told = await run(
        blank,
        "signing",
        f"""{STORAGE}
        return Promise.all(argument.map(async (text) => {{
          const credentials = new signing.Credentials(storage);
          credentials.use(signing.parseKey(text));
          const sent = [await credentials.headers("n1", "GET", "/v1/x"), await credentials.streamMessage("n1")];
          return sent.some((each) => Object.values(each).some((value) => String(value).includes(text.slice(-43))));
        }}))""",
        texts,
    )
    assert dict(zip(Role, told, strict=True)) == {Role.READ: True, Role.TRADE: False, Role.ADMIN: False}


@pytest.mark.parametrize(
    "text", ["", "rb_trade_key1key1", "rb_root_key1key1_" + "A" * 43, "rb_read_key1key1_" + "A" * 42]
)
async def test_what_is_no_key_is_not_taken_for_one(blank: Page, text: str):
    assert await run(blank, "signing", "return signing.parseKey(argument)", text) is None
