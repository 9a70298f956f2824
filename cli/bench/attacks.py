"""What somebody would send who wants the engine to be slow, at any size.

Each attack is what comes before it, the entries that are its blow, and what they must lead to, so that nothing is
measured that did not happen. Its docstring says what it is; `size` is how many orders, stops, levels take part.

Two kinds: the blow of a *growing* attack does `size` times something, which may cost `size` times as much; that of a
*flat* one is the same few commands whatever `size` is, and must not cost more where more is waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cli.bench.attack import INSTRUMENT, SYMBOL, Attack, Case, cancel, each, limit, market, stop
from raftbook.engine.commands import (
    CancelAll,
    CancelOrder,
    Command,
    NewOrder,
    ReplaceOrder,
    SetStatus,
    Tick,
    Uncross,
)
from raftbook.engine.types import (
    MOST_TIPS,
    EventKind,
    Number,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradingStatus,
)

FEW: Final = 100
"""The commands of a flat attack's blow."""

FAR: Final = 10**9
"""A price that nothing else comes near."""

ACCEPTED: Final = EventKind.ORDER_ACCEPTED
CANCELED: Final = EventKind.ORDER_CANCELED
INDICATED: Final = EventKind.INDICATIVE_CHANGED
REFUSED: Final = EventKind.ORDER_REJECTED
REPLACED: Final = EventKind.ORDER_REPLACED
RESTATED: Final = EventKind.ORDER_RESTATED
TRADED: Final = EventKind.TRADE
TRIGGERED: Final = EventKind.ORDER_TRIGGERED

BUY, SELL = Side.BUY, Side.SELL


AUCTION: Final = SetStatus(SYMBOL, TradingStatus.AUCTION)


# Levels and queues.


def prices_each_better(size: int) -> Attack:
    """Sells at as many prices, each below all before it."""
    orders = [limit(number, SELL, 2 * size - number) for number in range(size)]
    return Attack([], each(orders), {ACCEPTED: size})


def prices_taken_away(size: int) -> Attack:
    """The orders at as many prices are canceled from the best on."""
    orders = [limit(number, SELL, 1 + number) for number in range(size)]
    return Attack(orders, each([cancel(number) for number in range(size)]), {CANCELED: size})


def _queue_canceled(size: int, numbers: Sequence[int]) -> Attack:
    queue = [limit(number, SELL, 100) for number in range(size)]
    return Attack(queue, each([cancel(number) for number in numbers]), {CANCELED: size})


def queue_canceled_from_the_front(size: int) -> Attack:
    """All orders of one price, canceled as they came."""
    return _queue_canceled(size, range(size))


def queue_canceled_from_the_back(size: int) -> Attack:
    """All orders of one price, the last canceled first."""
    return _queue_canceled(size, range(size - 1, -1, -1))


def queue_canceled_from_the_middle(size: int) -> Attack:
    """All orders of one price, canceled from the middle outwards."""
    middle = size // 2
    return _queue_canceled(size, sorted(range(size), key=lambda number: (abs(number - middle), number)))


def places_given_up(size: int) -> Attack:
    """Every order of one price gets a higher quantity, and so goes to the back."""
    queue = [limit(number, SELL, 100) for number in range(size)]
    changes = [ReplaceOrder("maker", None, f"order-{number}", None, Number(2, 0)) for number in range(size)]
    return Attack(queue, each(changes), {REPLACED: size})


def young_orders_in_a_large_book(size: int) -> Attack:
    """Orders come and go at once, in a book of as many prices."""
    book = [limit(number, SELL, 100 + number) for number in range(size)]
    young = [limit(size + number, BUY, 99, account="taker") for number in range(FEW)]
    flicker: list[Command] = []
    for order in young:
        flicker += [order, CancelOrder("taker", None, order.client_order_id)]
    return Attack(book, each(flicker), {ACCEPTED: FEW, CANCELED: FEW})


def takers_in_a_large_book(size: int) -> Attack:
    """A few orders trade in a book of as many prices, each takes one away."""
    book = [limit(number, SELL, 100 + number) for number in range(size)]
    return Attack(book, each([market(size + number, BUY, 1) for number in range(FEW)]), {TRADED: FEW})


# One order that does much.


def one_order_takes_one_level(size: int) -> Attack:
    """One market order trades with as many makers at one price."""
    return Attack(
        [limit(number, SELL, 100) for number in range(size)],
        [(market(size, BUY, size),)],
        {TRADED: size, CANCELED: 0},
    )


def one_order_takes_all_levels(size: int) -> Attack:
    """One market order trades with as many makers, each at a price of its own."""
    return Attack(
        [limit(number, SELL, 100 + number) for number in range(size)], [(market(size, BUY, size),)], {TRADED: size}
    )


def one_order_takes_icebergs(size: int) -> Attack:
    """One market order trades with icebergs of a hundred tips each, tip by tip."""
    icebergs = max(1, size // MOST_TIPS)
    tip = Number(1, 0)
    makers = [limit(number, SELL, 100, MOST_TIPS)._replace(display_quantity=tip) for number in range(icebergs)]
    tips = icebergs * MOST_TIPS
    return Attack(makers, [(market(icebergs, BUY, tips),)], {TRADED: tips, RESTATED: tips - icebergs})


def one_order_cancels_own_makers(size: int) -> Attack:
    """One order meets as many of its own account, and cancels them (`cancel_oldest`)."""
    makers = [limit(number, SELL, 100) for number in range(size)]
    taker = market(size, BUY, size, "maker")._replace(self_trade_prevention=SelfTradePrevention.CANCEL_OLDEST)
    return Attack(makers, [(taker,)], {CANCELED: size + 1, TRADED: 0})


def one_order_decrements_own_makers(size: int) -> Attack:
    """One order meets as many of its own account, and is decremented by each."""
    makers = [limit(number, SELL, 100 + number) for number in range(size)]
    mode = SelfTradePrevention.DECREMENT_AND_CANCEL
    taker = market(size, BUY, size + 1, "maker")._replace(self_trade_prevention=mode)
    return Attack(makers, [(taker,)], {CANCELED: size + 1, RESTATED: size, TRADED: 0})


def fok_looks_over_own_orders(size: int) -> Attack:
    """Some `fok` orders look ahead over as many prices, at each an own order that they would cancel; none can fill."""
    makers = [limit(number, SELL, 100 + number) for number in range(size)]
    own = [limit(size + number, SELL, 100 + number, account="taker") for number in range(size)]
    looks = [
        limit(2 * size + number, BUY, FAR, size + 1, "taker")._replace(
            time_in_force=TimeInForce.FOK, self_trade_prevention=SelfTradePrevention.CANCEL_OLDEST
        )
        for number in range(5)
    ]
    return Attack([*makers, *own], each(looks), {CANCELED: 5, TRADED: 0})


def fok_looks_along_a_queue(size: int) -> Attack:
    """Some `fok` orders look along as many makers at one price, to the own order behind them."""
    makers = [limit(number, SELL, 100) for number in range(size)]
    own = limit(size, SELL, 100, account="taker")
    looks = [
        limit(size + 1 + number, BUY, 100, size + 1, "taker")._replace(
            time_in_force=TimeInForce.FOK, self_trade_prevention=SelfTradePrevention.CANCEL_NEWEST
        )
        for number in range(5)
    ]
    return Attack([*makers, own], each(looks), {CANCELED: 5, TRADED: 0})


# Stops.


def stops_in_a_cascade(size: int) -> Attack:
    """As many stops, each elected by the trade of the one before."""
    makers = [limit(number, SELL, 100 + number) for number in range(size + 1)]
    stops = [stop(size + 1 + number, BUY, 100 + number) for number in range(size)]
    return Attack([*makers, *stops], [(market(FAR, BUY, 1),)], {TRIGGERED: size, TRADED: size + 1})


def stops_at_one_price(size: int) -> Attack:
    """One trade elects as many stops at one price."""
    makers = [limit(0, SELL, 100, size + 1)]
    stops = [stop(1 + number, BUY, 100) for number in range(size)]
    return Attack([*makers, *stops], [(market(FAR, BUY, 1),)], {TRIGGERED: size, TRADED: size + 1})


def stops_at_many_prices(size: int) -> Attack:
    """One trade elects as many stops, each at a price of its own; nobody is left to trade with."""
    makers = [limit(0, SELL, 100 + size, 1)]
    stops = [stop(1 + number, BUY, 100 + number) for number in range(size)]
    return Attack([*makers, *stops], [(market(FAR, BUY, 1),)], {TRIGGERED: size, TRADED: 1, CANCELED: size})


def trades_beside_waiting_stops(size: int) -> Attack:
    """A few orders trade, and as many stops on either side go on waiting."""
    makers = [limit(0, SELL, FAR, FEW)]
    stops = [stop(1 + number, BUY, FAR + 1 + number) for number in range(size // 2)]
    stops += [stop(1 + size + number, SELL, FAR - 1 - number) for number in range(size // 2)]
    takers = [market(FAR + number, BUY, 1) for number in range(FEW)]
    return Attack([*makers, *stops], each(takers), {TRADED: FEW, TRIGGERED: 0})


# Many orders that end at once.


def account_cancels_everything(size: int) -> Attack:
    """One `cancel_all` of an account with as many orders, at a price each."""
    return Attack(
        [limit(number, SELL, 100 + number) for number in range(size)], [(CancelAll("maker"),)], {CANCELED: size}
    )


def account_cancels_nothing_again(size: int) -> Attack:
    """Some `cancel_all` of an account that had as many orders, and of one that has none among as many."""
    book = [limit(number, SELL, 100 + number) for number in range(size)]
    gone = [limit(size + number, BUY, 99, account="taker") for number in range(size)]
    again = [CancelAll("taker"), CancelAll("nobody")]
    return Attack([*book, *gone, CancelAll("taker")], each(again * (FEW // 2)), {EventKind.MASS_CANCELED: FEW})


def orders_expire_at_once(size: int) -> Attack:
    """As many orders end at one moment."""
    orders = [
        limit(number, SELL, 100 + number)._replace(time_in_force=TimeInForce.GTD, expire_time=10)
        for number in range(size)
    ]
    return Attack(orders, [(Tick(),)], {CANCELED: size}, time=10)


def orders_of_many_moments_expire(size: int) -> Attack:
    """As many orders, each with a moment of its own, are due in one entry."""
    orders = [
        limit(number, SELL, 100)._replace(time_in_force=TimeInForce.GTD, expire_time=10 + size - number)
        for number in range(size)
    ]
    return Attack(orders, [(Tick(),)], {CANCELED: size}, time=FAR)


def few_orders_expire_before_many(size: int) -> Attack:
    """A few orders end, one by one, while as many expire later, each at a moment of its own."""
    moments = [*range(1, FEW + 1), *range(FAR, FAR + size)]
    orders = [
        limit(number, SELL, 100)._replace(time_in_force=TimeInForce.GTD, expire_time=moment)
        for number, moment in enumerate(moments)
    ]
    return Attack(orders, [()] * FEW, {CANCELED: FEW}, time=1, step=1)


# Auctions.


def auction_gathers(size: int) -> Attack:
    """One entry of as many orders that all cross; the indication is told once."""
    orders = [_crossing(number, size) for number in range(size)]
    return Attack([AUCTION], [orders], {ACCEPTED: size, INDICATED: 1, TRADED: 0})


def _crossing(number: int, size: int) -> NewOrder:
    """Every buy crosses every sell, and each has a price of its own."""
    return limit(number, BUY if number % 2 else SELL, (3 * size if number % 2 else 1) + number)


def auction_tells_again(size: int) -> Attack:
    """A few entries change an auction in which orders at as many prices cross."""
    more = [limit(size + number, BUY, 4 * size + number, account="taker") for number in range(10)]
    return Attack([AUCTION, *(_crossing(number, size) for number in range(size))], each(more), {INDICATED: 10})


def auction_refuses_and_stays(size: int) -> Attack:
    """A few orders are refused in an auction in which orders at as many prices cross."""
    refused = [limit(size + number, BUY, 4 * size, 0, "taker") for number in range(FEW)]
    crossing = (_crossing(number, size) for number in range(size))
    return Attack([AUCTION, *crossing], each(refused), {REFUSED: FEW, INDICATED: 0})


def auction_beside_a_large_book(size: int) -> Attack:
    """A few entries change an auction in which little crosses, and orders at as many prices do not."""
    book = [limit(number, SELL, FAR + number) for number in range(size)]
    more = [limit(size + number, BUY, FAR, account="taker") for number in range(FEW)]
    return Attack([AUCTION, *book], each(more), {INDICATED: FEW})


def auction_uncrosses(size: int) -> Attack:
    """One `uncross` of as many orders, each at a price of its own."""
    orders = [_crossing(number, size) for number in range(2 * (size // 2))]
    return Attack([AUCTION, *orders], [(Uncross(SYMBOL),)], {TRADED: size // 2})


def auction_uncrosses_icebergs(size: int) -> Attack:
    """One `uncross` of icebergs on both sides, of a hundred tips each."""
    icebergs = max(1, size // MOST_TIPS)
    orders = [
        limit(number, side, 100, MOST_TIPS)._replace(display_quantity=Number(1, 0))
        for side, first in ((BUY, 0), (SELL, icebergs))
        for number in range(first, first + icebergs)
    ]
    tips = icebergs * MOST_TIPS
    return Attack([AUCTION, *orders], [(Uncross(SYMBOL),)], {TRADED: tips, RESTATED: 2 * (tips - icebergs)})


def auction_leaves_many_over(size: int) -> Attack:
    """One `uncross` in which nothing trades, and as many market and `ioc` orders are canceled."""
    orders: list[Command] = [
        market(number, BUY, 1) if number % 2 else limit(number, BUY, number + 1)._replace(time_in_force=TimeInForce.IOC)
        for number in range(size)
    ]
    return Attack([AUCTION, *orders], [(Uncross(SYMBOL),)], {CANCELED: size, TRADED: 0})


def auction_refuses_for_its_range(size: int) -> Attack:
    """One `uncross` in which as many sells come to more than 64 bits hold, one after the other."""
    # A sell fits at its own price, 1; at that of the last trade it trades with one buy, and the next is too much.
    last_trade = [limit(2 * size, SELL, 2**30), market(2 * size + 1, BUY, 1)]
    sells = [limit(number, SELL, 1, 2**40) for number in range(size)]
    buys = [limit(size + number, BUY, 2**30, 2**32) for number in range(size)]
    before: list[Command] = [*last_trade, AUCTION, *sells, *buys]
    return Attack(before, [(Uncross(SYMBOL),)], {TRADED: size, CANCELED: size - 1})


# Memory.


def copies_of_accepted_orders(size: int) -> Attack:
    """As many orders are entered a second time."""
    orders = [limit(number, SELL, 100 + number) for number in range(size)]
    return Attack(orders, each(orders), {ACCEPTED: size})


def orders_beyond_the_memory(size: int) -> Attack:
    """As many orders end at once on their arrival; the account remembers half as many."""
    ended = [market(number, BUY, 1) for number in range(size)]
    return Attack([], each(ended), {ACCEPTED: size, CANCELED: size}, closed_orders_kept=max(1, size // 2))


def orders_beyond_the_limit(size: int) -> Attack:
    """An account has as many open orders as the instrument allows, and enters more."""
    limited = INSTRUMENT._replace(symbol="LIMITED", max_open_orders=size)
    orders = [limit(number, SELL, 100 + number)._replace(symbol="LIMITED") for number in range(size + FEW)]
    return Attack([limited, *orders[:size]], each(orders[size:]), {REFUSED: FEW, ACCEPTED: 0})


def _refused(number: int) -> NewOrder:
    return limit(number, SELL, 100, 0)._replace(not_after=10)


def copies_of_refused_orders(size: int) -> Attack:
    """As many orders are refused, remembered, and entered a second time with a later `not_after`."""
    copies = [_refused(number)._replace(not_after=20 + size - number) for number in range(size)]
    return Attack([_refused(number) for number in range(size)], each(copies), {REFUSED: size}, closed_orders_kept=size)


def refused_orders_beyond_the_memory(size: int) -> Attack:
    """As many orders are refused; the account remembers half as many."""
    refused = [_refused(number) for number in range(size)]
    return Attack([], each(refused), {REFUSED: size}, closed_orders_kept=max(1, size // 2))


def refused_orders_are_forgotten(size: int) -> Attack:
    """As many refused orders are forgotten at one moment."""
    refused = [_refused(number) for number in range(size)]
    return Attack(refused, [(Tick(),)], {EventKind.TICKED: 1}, time=11, closed_orders_kept=size)


def one_id_refused_with_much_content(size: int) -> Attack:
    """As many refusals under one client order id, until an order of this id is accepted."""
    refused = [_refused(0)._replace(price=Number(1 + number, 0)) for number in range(size)]
    return Attack([], each([*refused, limit(0, SELL, 100)]), {REFUSED: size, ACCEPTED: 1}, closed_orders_kept=size)


GROWING: Final = (
    Case(prices_each_better, 100_000),
    Case(prices_taken_away, 100_000),
    Case(queue_canceled_from_the_front, 100_000),
    Case(queue_canceled_from_the_back, 100_000),
    Case(queue_canceled_from_the_middle, 100_000),
    Case(places_given_up, 100_000),
    Case(one_order_takes_one_level, 50_000),
    Case(one_order_takes_all_levels, 50_000),
    Case(one_order_takes_icebergs, 50_000),
    Case(one_order_cancels_own_makers, 50_000),
    Case(one_order_decrements_own_makers, 50_000),
    Case(fok_looks_over_own_orders, 50_000),
    Case(fok_looks_along_a_queue, 50_000),
    Case(stops_in_a_cascade, 10_000),
    Case(stops_at_one_price, 10_000),
    Case(stops_at_many_prices, 10_000),
    Case(account_cancels_everything, 100_000),
    Case(orders_expire_at_once, 100_000),
    Case(orders_of_many_moments_expire, 100_000),
    Case(auction_gathers, 10_000),
    Case(auction_tells_again, 10_000),
    Case(auction_uncrosses, 50_000),
    Case(auction_uncrosses_icebergs, 50_000),
    Case(auction_leaves_many_over, 50_000),
    Case(auction_refuses_for_its_range, 50_000),
    Case(copies_of_accepted_orders, 50_000),
    Case(orders_beyond_the_memory, 50_000),
    Case(copies_of_refused_orders, 50_000),
    Case(refused_orders_beyond_the_memory, 50_000),
    Case(refused_orders_are_forgotten, 50_000),
    Case(one_id_refused_with_much_content, 50_000),
)

FLAT: Final = (
    Case(young_orders_in_a_large_book, 100_000),
    Case(takers_in_a_large_book, 100_000),
    Case(trades_beside_waiting_stops, 100_000),
    Case(account_cancels_nothing_again, 100_000),
    Case(few_orders_expire_before_many, 100_000),
    Case(auction_refuses_and_stays, 10_000),
    Case(auction_beside_a_large_book, 100_000),
    Case(orders_beyond_the_limit, 100_000),
)
