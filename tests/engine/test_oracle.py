"""Examples worked out by hand from SEMANTICS.md, for both who must know: the engine, and the oracle that checks it.

Whatever both misread in the same way, no comparison of the two would show.
"""

from __future__ import annotations

import pytest

from raftbook.engine import (
    AddInstrument,
    AuctionEvent,
    Entry,
    Exchange,
    InstrumentEvent,
    NewOrder,
    Number,
    OrderEvent,
    OrderType,
    Rejection,
    Run,
    SelfTradePrevention,
    SetStatus,
    Side,
    TimeInForce,
    Trade,
    TradingStatus,
    Uncross,
)
from raftbook.simulation.naive_exchange import NaiveExchange

AUCTION = SetStatus("X", TradingStatus.AUCTION)
UNCROSS = Uncross("X")


class Market:
    """One instrument, X, in whole numbers; orders are written as `buy 5 @ 100`, market orders as `sell 3`.

    Every order's account is its own, unless one is named; its client order id is its number, which is its order id.
    """

    def __init__(self, exchange_type, tick_size=1, **limits):
        self.exchange = exchange_type()
        self.time = 0
        self.log_index = 0
        self.sequence = 1
        self.entered = 0
        self.say(AddInstrument("X", 0, 0, Number(tick_size, 0), Number(1, 0), **limits))

    def say(self, *commands):
        """Returns the events of one entry with these commands."""
        self.log_index += 1
        run = Run("n1.1", self.sequence, commands)
        self.sequence += len(commands)
        executions = self.exchange.apply(self.log_index, Entry(self.time, (run,) if commands else ()))
        return [event for execution in executions for event in execution.events]

    def order(self, text, account=None, **fields):
        side, quantity, *price = text.replace("@", "").split()
        stop = "stop_price" in fields
        types = (OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT)
        numbers = {name: Number(fields.pop(name), 0) for name in ("stop_price", "display_quantity") if name in fields}
        self.entered += 1
        return NewOrder(
            "X",
            account or f"account-{self.entered}",
            str(self.entered),
            Side[side.upper()],
            types[2 * stop + len(price)],
            fields.pop("time_in_force", TimeInForce.GTC),
            Number(int(price[0]), 0) if price else None,
            Number(int(quantity), 0),
            **numbers,
            **fields,
        )

    def enter(self, *texts):
        return self.say(*(self.order(text) for text in texts))

    def trade_at(self, price):
        """The last trade is at this price from now on, and nothing is left of it."""
        self.enter(f"sell 1 @ {price}", f"buy 1 @ {price}")


@pytest.fixture(params=[Exchange, NaiveExchange], ids=["engine", "oracle"])
def exchange_type(request):
    return request.param


def trades(events):
    """Each as (price, quantity, maker, taker)."""
    return [(e.price, e.quantity, e.maker_order_id, e.taker_order_id) for e in events if isinstance(e, Trade)]


def what_happened(events):
    """Each in a word or two; trades as `quantity @ price`."""
    told = []
    for event in events:
        match event:
            case Trade():
                told.append(f"{event.quantity} @ {event.price}")
            case OrderEvent():
                reason = "" if event.reason is None else f" {event.reason}"
                told.append(f"{event.order.order_id} {event.kind.label.removeprefix('order_')}{reason}")
            case InstrumentEvent():
                told.append(event.status.label)
            case Rejection():
                told.append(event.reason.value)
            case _:
                told.append(event.kind.label)
    return told


# The price of an auction.

CROSSED = ("buy 10 @ 103", "buy 10 @ 101", "sell 5 @ 100", "sell 10 @ 102")
"""At 100 and 101 5 would trade, at 102 and 103 10, with 5 more to sell."""


@pytest.mark.parametrize(
    ("orders", "last", "price", "quantity", "imbalance"),
    [
        (CROSSED, None, 102, 10, -5),  # The middle of 102 and 103, rounded down.
        (CROSSED, 110, 103, 10, -5),
        (CROSSED, 103, 103, 10, -5),
        (CROSSED, 50, 102, 10, -5),
        # 10 at any price from 95 to 105; up to 100 another 5 are bid for, from 101 on nothing is left.
        (("buy 10 @ 105", "buy 5 @ 100", "sell 10 @ 95"), None, 103, 10, 0),
        (("buy 10 @ 105", "buy 5 @ 100", "sell 10 @ 95"), 97, 101, 10, 0),
        (("buy 10 @ 105", "buy 5 @ 100", "sell 10 @ 95"), 104, 104, 10, 0),
        # A market order has no price: the range has one end only, or none.
        (("buy 5", "sell 5 @ 100"), None, 100, 5, 0),
        (("buy 5", "sell 5 @ 100"), 120, 120, 5, 0),
        (("sell 5", "buy 5 @ 100"), None, 100, 5, 0),
        (("sell 5", "buy 5 @ 100"), 80, 80, 5, 0),
        (("sell 5", "buy 5"), None, None, 0, 0),
        (("sell 5", "buy 7"), 80, 80, 5, 2),
        # Below 100 the market orders leave nothing, from 100 on 3 more are offered.
        (("sell 5", "buy 5", "sell 3 @ 100"), None, 99, 5, 0),
        # At every price, but an order asks for the lowest that there is.
        (("buy 5", "sell 5 @ 1"), None, 1, 5, 0),
        (("buy 5 @ 99", "sell 5 @ 100"), None, None, 0, 0),
        (("buy 5",), 100, None, 0, 0),
    ],
)
def test_the_auction_price(exchange_type, orders, last, price, quantity, imbalance):
    market = Market(exchange_type)
    if last is not None:
        market.trade_at(last)
    market.say(AUCTION)
    told = [event for event in market.enter(*orders) if isinstance(event, AuctionEvent)]
    side = {0: None, 1: Side.BUY, -1: Side.SELL}[(imbalance > 0) - (imbalance < 0)]
    expected = [] if price is None else [(price, quantity, abs(imbalance), side)]
    assert [(e.price, e.quantity, e.imbalance_quantity, e.imbalance_side) for e in told] == expected


def test_the_middle_is_rounded_down_to_a_tick(exchange_type):
    market = Market(exchange_type, tick_size=5)
    market.say(AUCTION)
    assert market.enter("buy 1 @ 120", "sell 1 @ 105")[-1].price == 110


def test_hidden_quantity_counts_in_the_auction_price(exchange_type):
    market = Market(exchange_type)
    market.say(AUCTION)
    iceberg = market.order("buy 50 @ 100", display_quantity=1)
    assert market.say(iceberg, market.order("sell 20 @ 100"))[-1].quantity == 20


# Auctions.


def test_market_orders_trade_first_then_the_better_price_then_who_came_first(exchange_type):
    """7 are bid for at 105 and 11 below, 6 are offered: at 105 the least is left."""
    market = Market(exchange_type)
    market.say(AUCTION)
    market.enter("buy 4 @ 104", "buy 2 @ 105", "buy 2 @ 105", "buy 3", "sell 6 @ 100")
    events = market.say(UNCROSS)
    assert trades(events) == [(105, 3, 4, 5), (105, 2, 2, 5), (105, 1, 3, 5)]
    assert what_happened(events)[3:] == ["auction_uncrossed", "trading"]


def test_who_entered_first_is_the_maker_of_an_auction_trade(exchange_type):
    market = Market(exchange_type)
    market.say(AUCTION)
    market.enter("sell 1 @ 10", "buy 3 @ 10", "sell 2 @ 10")
    [first, second] = [event for event in market.say(UNCROSS) if isinstance(event, Trade)]
    assert (first.maker_order_id, first.taker_order_id, first.taker_side) == (1, 2, Side.BUY)
    assert (second.maker_order_id, second.taker_order_id, second.taker_side) == (2, 3, Side.SELL)


def test_after_the_uncross_who_cannot_wait_is_canceled_and_then_stops_are_elected(exchange_type):
    market = Market(exchange_type)
    market.trade_at(100)
    market.say(market.order("sell 1", stop_price=90), AUCTION)
    ioc = market.order("buy 5 @ 90", time_in_force=TimeInForce.IOC)
    market.say(ioc, market.order("buy 1 @ 85"), market.order("sell 2 @ 90"))
    market.enter("buy 1", "sell 1 @ 95")
    # At 90 six are bid for and two are offered; at 91 and above only one is bid for.
    assert what_happened(market.say(UNCROSS)) == [
        *("1 @ 90", "1 @ 90", "auction_uncrossed", "4 canceled ioc", "trading"),
        *("3 triggered", "1 @ 85"),
    ]


def test_a_lot_of_an_iceberg_at_a_time_trades_in_an_auction(exchange_type):
    market = Market(exchange_type)
    market.say(AUCTION, market.order("sell 5 @ 10", display_quantity=2))
    market.enter("sell 2 @ 10", "buy 6 @ 10")
    assert trades(market.say(UNCROSS)) == [(10, 2, 1, 3), (10, 2, 2, 3), (10, 2, 1, 3)]


# Icebergs and own orders.


def test_the_next_tip_waits_behind_the_others_of_its_level(exchange_type):
    market = Market(exchange_type)
    market.say(market.order("sell 6 @ 10", display_quantity=2))
    market.enter("sell 3 @ 10")
    assert what_happened(market.enter("buy 7 @ 10")) == [
        *("3 accepted", "2 @ 10", "1 restated iceberg_refresh", "3 @ 10", "2 @ 10", "1 restated iceberg_refresh"),
    ]


def test_a_decrement_takes_the_hidden_part_first(exchange_type):
    market = Market(exchange_type)
    market.say(market.order("sell 10 @ 10", "ann", display_quantity=3))
    taker = market.order("buy 8 @ 10", "ann", self_trade_prevention=SelfTradePrevention.DECREMENT_AND_CANCEL)
    [_, restated, canceled] = market.say(taker)
    assert (restated.order.order_id, restated.order.quantity, restated.order.visible_quantity) == (1, 2, 2)
    assert (canceled.order.order_id, canceled.order.quantity, canceled.prevented_by_order_id) == (2, 8, 1)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (SelfTradePrevention.CANCEL_OLDEST, ["4 accepted", "1 @ 10", "2 canceled self_trade", "1 @ 10"]),
        (SelfTradePrevention.CANCEL_NEWEST, ["4 accepted", "4 canceled fok"]),
        (SelfTradePrevention.NONE, ["4 accepted", "1 @ 10", "1 @ 10"]),
    ],
)
def test_fok_looks_ahead_as_its_prevention_would_walk(exchange_type, mode, expected):
    market = Market(exchange_type)
    market.say(market.order("sell 1 @ 10"), market.order("sell 5 @ 10", "ann"), market.order("sell 1 @ 10"))
    fok = market.order("buy 2 @ 10", "ann", time_in_force=TimeInForce.FOK, self_trade_prevention=mode)
    assert what_happened(market.say(fok)) == expected


# Stops.


def test_what_a_stops_trade_elects_comes_behind_it(exchange_type):
    market = Market(exchange_type)
    market.trade_at(100)
    market.enter("sell 1 @ 101", "sell 1 @ 103", "sell 1 @ 104")
    market.say(market.order("buy 1", stop_price=103), market.order("buy 1", stop_price=101))
    assert what_happened(market.enter("buy 1 @ 101")) == [
        *("8 accepted", "1 @ 101", "7 triggered", "1 @ 103", "6 triggered", "1 @ 104"),
    ]


def test_of_stops_elected_together_the_furthest_through_comes_first_then_who_came_first(exchange_type):
    market = Market(exchange_type)
    market.trade_at(100)
    market.enter("sell 5 @ 103")
    market.say(*(market.order("buy 1", stop_price=price) for price in (103, 101, 102, 101)))
    assert what_happened(market.enter("buy 1 @ 103")) == [
        *("8 accepted", "1 @ 103", "5 triggered", "1 @ 103", "7 triggered", "1 @ 103"),
        *("6 triggered", "1 @ 103", "4 triggered", "1 @ 103"),
    ]


def test_a_stop_whose_condition_already_holds_is_elected_at_once(exchange_type):
    market = Market(exchange_type)
    market.trade_at(100)
    market.enter("buy 1 @ 99")
    assert what_happened(market.say(market.order("sell 1", stop_price=100))) == ["4 accepted", "4 triggered", "1 @ 99"]


# Bands, protection and time.


def test_a_trade_outside_the_band_starts_an_auction_instead(exchange_type):
    market = Market(exchange_type, price_band=Number(5, 0))
    market.enter("sell 1 @ 105", "sell 1 @ 106")
    market.trade_at(100)
    assert what_happened(market.enter("buy 2")) == ["5 accepted", "1 @ 105", "auction", "5 canceled volatility"]
    assert what_happened(market.say(Uncross("X"), market.order("buy 1 @ 111"))) == [
        *("auction_uncrossed", "trading", "price_outside_band"),
    ]


def test_a_market_order_goes_no_further_than_its_protection(exchange_type):
    market = Market(exchange_type, market_protection=Number(5, 0))
    market.enter("sell 1 @ 100", "sell 1 @ 105", "sell 1 @ 106")
    assert what_happened(market.enter("buy 3")) == [
        *("4 accepted", "1 @ 100", "1 @ 105", "4 canceled market_protection"),
    ]


def test_orders_expire_by_time_then_by_id_before_the_commands_of_an_entry(exchange_type):
    market = Market(exchange_type)
    gtd = {"time_in_force": TimeInForce.GTD}
    market.say(*(market.order("buy 1 @ 10", expire_time=expiry, **gtd) for expiry in (20, 10, 10, 21)))
    assert market.exchange.next_expiry == 10
    market.time = 20
    assert what_happened(market.enter("sell 2 @ 10")) == [
        *("2 canceled expired", "3 canceled expired", "1 canceled expired", "5 accepted", "1 @ 10"),
    ]
    assert market.exchange.next_expiry is None


# Numbers that would leave 64 bits.


def test_where_both_would_leave_64_bits_in_an_auction_the_buy_goes_and_the_sell_goes_on(exchange_type):
    market = Market(exchange_type)
    market.trade_at(4)
    market.say(AUCTION)
    market.enter(f"buy {2**62}", "buy 5", f"sell {2**62} @ 1")
    events = market.say(UNCROSS)
    assert what_happened(events) == ["3 canceled out_of_range", "5 @ 4", "auction_uncrossed", "trading"]
    assert (events[2].quantity, events[2].imbalance_quantity, events[2].imbalance_side) == (5, 5, Side.BUY)


def test_a_sell_that_an_auction_paid_more_than_it_asked_for_may_be_too_much_to_wait_on(exchange_type):
    """4 * (2**61 - 1) are 4 less than 2**63; 2**61 + 1 are left to sell at 1."""
    market = Market(exchange_type)
    market.trade_at(4)
    market.say(AUCTION)
    market.enter(f"sell {2**62} @ 1", f"buy {2**61 - 1} @ 4")
    assert what_happened(market.say(UNCROSS)) == [
        *(f"{2**61 - 1} @ 4", "3 canceled out_of_range", "auction_uncrossed", "trading"),
    ]


def test_an_elected_stop_that_finds_too_much_at_its_price_is_canceled(exchange_type):
    market = Market(exchange_type)
    market.trade_at(3)
    market.say(market.order("sell 2 @ 1", stop_price=2))
    market.enter(f"sell {2**63 - 1} @ 1")
    assert what_happened(market.enter("buy 1 @ 1")) == [
        *("5 accepted", "1 @ 1", "3 triggered", "3 canceled out_of_range"),
    ]


def test_a_taker_stops_where_its_notional_would_leave_64_bits(exchange_type):
    market = Market(exchange_type)
    market.enter(f"sell 3 @ {2**61}", f"sell 1 @ {2**61 + 1}")
    assert what_happened(market.enter("buy 4")) == ["3 accepted", f"3 @ {2**61}", "3 canceled out_of_range"]
