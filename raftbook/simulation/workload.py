"""Generated order flow: endless, repeatable, and shaped like a real market's.

What it takes from the order flow of real limit order books (Cont, Stoikov and Talreja, "A stochastic model
for order book dynamics", 2010; Bouchaud, Mézard and Potters, "Statistical properties of stock order
books", 2002):

- limit orders cluster near the best prices and thin out with the distance from a drifting middle;
- four commands in ten are cancels, and mostly of young orders;
- orders come in bursts: the same symbol, and more often than not the same side;
- quantities are round hundreds or small odd lots; few orders take, with `ioc`, `fok` or at the market.

With `exotic_share` that share of the commands is of the other kinds: stops, icebergs, orders that expire, changes of
these, auctions and halts; every order may then name its self-trade prevention, and the instruments have limits. How
often each comes is no market's: all of them are to be seen within a few hundred commands.

Pure: the seed (and, for expiry, the clock that is handed in) decides everything. The flow does not hear of trades, so
some of its cancels and replaces name orders that are filled by then, as in life.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from raftbook.engine.commands import (
    AddInstrument,
    CancelOrder,
    Command,
    NewOrder,
    ReplaceOrder,
    SetStatus,
    Uncross,
)
from raftbook.engine.types import Number, OrderType, SelfTradePrevention, Side, TimeInForce, TradingStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PRICE_DECIMALS: Final = 2
CANCEL_SHARE: Final = 0.40
REPLACE_SHARE: Final = 0.06
MARKET_SHARE: Final = 0.03
IOC_SHARE: Final = 0.06
FOK_SHARE: Final = 0.01
POST_ONLY_SHARE: Final = 0.10
"""Of the limit orders that may rest; the shares before it are of all commands."""

BURST_GOES_ON: Final = 0.85
SIDE_PERSISTS: Final = 0.60
DRIFT_SHARE: Final = 0.05
MEAN_DISTANCE_TICKS: Final = 12
MEAN_AGE_OF_CANCELED: Final = 60
"""Orders of the same symbol entered since, on average, when an order is canceled."""

START_PRICE_TICKS: Final = 10_000
LOWEST_MIDDLE_TICKS: Final = 1_000

STOP_WEIGHT: Final = 28
ICEBERG_WEIGHT: Final = 18
EXPIRING_WEIGHT: Final = 28
SWEEP_WEIGHT: Final = 6
CHANGE_WEIGHT: Final = 14
STATUS_WEIGHT: Final = 6
"""Of the exotic commands."""

RETURN_SHARE: Final = 0.05
"""Of the commands in a market that the flow has stopped: it goes on trading."""

MEAN_LIFETIME_NS: Final = 1_500_000_000
"""Of orders with an `expire_time`; some are so short that the order is never accepted."""


_OF_STOPS: Final = (TimeInForce.GTC, TimeInForce.IOC, TimeInForce.DAY, TimeInForce.GTD)


class _PlacedOrder:
    """What the flow remembers of an order that it entered and that may still rest."""

    __slots__ = ("account", "client_order_id", "order", "quantity", "side")

    def __init__(self, order: NewOrder) -> None:
        self.order = order
        self.account = order.account
        self.client_order_id = order.client_order_id
        self.side = order.side
        self.quantity = order.quantity.mantissa


class _Market:
    """One symbol as the flow sees it: where its middle has drifted to, and the orders placed, oldest first.

    `status` is what the flow has made it: others, and volatility, may have changed it.
    """

    __slots__ = ("middle_ticks", "placed", "side", "status", "symbol")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.middle_ticks = START_PRICE_TICKS
        self.side = Side.BUY
        self.status = TradingStatus.TRADING
        self.placed: list[_PlacedOrder] = []


class OrderFlow:
    """An endless iterator of commands; equal arguments give equal flows.

    `client_order_id_prefix` keeps the ids of flows apart that run at the same time for the same accounts.
    At most `max_placed` orders per symbol are remembered: beyond that, the oldest is canceled next.

    `exotic_share` is 0 for limit and market orders alone, as benchmarks trade. `clock` gives the present (ns since the
    epoch) from which the lifetimes of `gtd` orders count; without one there are none.
    """

    def __init__(
        self,
        seed: int,
        symbols: Sequence[str] = ("ACME",),
        accounts: Sequence[str] = ("alice", "bob", "carol", "dave"),
        *,
        client_order_id_prefix: str = "",
        max_placed: int = 2_000,
        exotic_share: float = 0.0,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._random = Random(seed)  # noqa: S311 - repeatable numbers are wanted, not secret ones
        self._markets = [_Market(symbol) for symbol in symbols]
        self._market = self._markets[0]
        self._accounts = tuple(accounts)
        self._prefix = client_order_id_prefix
        self._max_placed = max_placed
        self._entered_count = 0
        self._exotic_share = exotic_share
        self._clock = clock

    def instruments(self) -> list[AddInstrument]:
        """The instruments that the flow trades in; limits that an exotic flow runs into now and then."""
        cent, one = Number(1, PRICE_DECIMALS), Number(1, 0)
        instruments = [AddInstrument(market.symbol, PRICE_DECIMALS, 0, cent, one) for market in self._markets]
        if not self._exotic_share:
            return instruments
        return [
            instrument._replace(
                min_quantity=Number(3, 0),
                max_quantity=Number(1_000, 0),
                min_notional=Number(500, 0),
                price_band=Number(2, 1),
                market_protection=Number(15, 2),
                max_open_orders=40,
                self_trade_prevention=SelfTradePrevention.CANCEL_OLDEST,
            )
            for instrument in instruments
        ]

    def __iter__(self) -> Iterator[Command]:
        return self

    def __next__(self) -> Command:
        draw = self._random.random
        if draw() > BURST_GOES_ON:
            self._market = self._random.choice(self._markets)
        market = self._market
        if draw() > SIDE_PERSISTS:
            market.side = self._random.choice((Side.BUY, Side.SELL))
        if draw() < DRIFT_SHARE:
            market.middle_ticks = max(LOWEST_MIDDLE_TICKS, market.middle_ticks + self._random.choice((-1, 1)))

        if len(market.placed) > self._max_placed:
            return self._cancel(market, 0)
        if self._exotic_share:
            if market.status is not TradingStatus.TRADING and draw() < RETURN_SHARE:
                return self._go_on_trading(market)
            if draw() < self._exotic_share:
                return self._exotic(market)
        share = draw()
        if share < CANCEL_SHARE and market.placed:
            return self._cancel(market, self._young_position(market))
        share -= CANCEL_SHARE
        if share < REPLACE_SHARE and market.placed:
            return self._replace(market)
        share -= REPLACE_SHARE
        if share < MARKET_SHARE:
            return self._enter(market, OrderType.MARKET, TimeInForce.IOC, None)
        share -= MARKET_SHARE
        if share < IOC_SHARE + FOK_SHARE:
            time_in_force = TimeInForce.IOC if share < IOC_SHARE else TimeInForce.FOK
            return self._enter(market, OrderType.LIMIT, time_in_force, self._price_ticks(market, -4))
        return self._rest(market)

    def _rest(self, market: _Market) -> NewOrder:
        price_ticks = self._price_ticks(market, self._distance_ticks())
        post_only = self._random.random() < POST_ONLY_SHARE
        order = self._enter(market, OrderType.LIMIT, TimeInForce.GTC, price_ticks, post_only=post_only)
        return self._place(market, order)

    def _place(self, market: _Market, order: NewOrder) -> NewOrder:
        market.placed.append(_PlacedOrder(order))
        return order

    def _enter(
        self,
        market: _Market,
        order_type: OrderType,
        time_in_force: TimeInForce,
        price_ticks: int | None,
        *,
        post_only: bool = False,
    ) -> NewOrder:
        self._entered_count += 1
        order = NewOrder(
            market.symbol,
            self._random.choice(self._accounts),
            f"{self._prefix}{self._entered_count}",
            market.side,
            order_type,
            time_in_force,
            None if price_ticks is None else Number(price_ticks, PRICE_DECIMALS),
            Number(self._quantity(), 0),
            post_only,
        )
        if self._exotic_share and self._random.random() < 0.5:
            return order._replace(self_trade_prevention=self._random.choice(tuple(SelfTradePrevention)))
        return order

    def _cancel(self, market: _Market, position: int) -> CancelOrder:
        placed = market.placed.pop(position)
        return CancelOrder(placed.account, None, placed.client_order_id)

    def _replace(self, market: _Market) -> ReplaceOrder:
        """Half of the replaces take something off the quantity, half follow the middle to a new price."""
        placed = market.placed[self._young_position(market)]
        if self._random.random() < 0.5:
            placed.quantity -= placed.quantity // 4
            return ReplaceOrder(placed.account, None, placed.client_order_id, None, Number(placed.quantity, 0))
        distance = self._distance_ticks()
        price_ticks = market.middle_ticks + (distance if placed.side is Side.SELL else -distance)
        price = Number(price_ticks, PRICE_DECIMALS)
        return ReplaceOrder(placed.account, None, placed.client_order_id, price, None)

    def _young_position(self, market: _Market) -> int:
        age = int(self._random.expovariate(1 / MEAN_AGE_OF_CANCELED))
        return max(0, len(market.placed) - 1 - age)

    def _distance_ticks(self) -> int:
        """From the middle to the price, away from the other side; a few orders reach across it."""
        return int(self._random.expovariate(1 / MEAN_DISTANCE_TICKS)) - 1

    def _price_ticks(self, market: _Market, distance_ticks: int) -> int:
        return market.middle_ticks + (distance_ticks if market.side is Side.SELL else -distance_ticks)

    def _quantity(self) -> int:
        if self._random.random() < 0.6:
            return 100 * self._random.randint(1, 5)
        return self._random.randint(1, 99)

    # The other kinds.

    def _exotic(self, market: _Market) -> Command:
        kinds = (self._stop, self._iceberg, self._expiring, self._sweep, self._change, self._change_status)
        weights = (STOP_WEIGHT, ICEBERG_WEIGHT, EXPIRING_WEIGHT, SWEEP_WEIGHT, CHANGE_WEIGHT, STATUS_WEIGHT)
        (make,) = self._random.choices(kinds, weights)
        return make(market)

    def _stop(self, market: _Market) -> NewOrder:
        """Beyond the middle, where a price that runs away elects it; a few are elected as they arrive."""
        time_in_force = self._random.choice(_OF_STOPS)
        order_type = self._random.choice((OrderType.STOP, OrderType.STOP_LIMIT))
        stop_ticks = self._stop_ticks(market, market.side)
        price_ticks = None
        if order_type is OrderType.STOP_LIMIT:
            price_ticks = stop_ticks + self._random.randint(-2, 4) * (1 if market.side is Side.BUY else -1)
        order = self._enter(market, order_type, time_in_force, price_ticks)
        order = self._timed(order._replace(stop_price=Number(stop_ticks, PRICE_DECIMALS)))
        rests = order_type is OrderType.STOP_LIMIT and time_in_force is not TimeInForce.IOC
        return self._place(market, self._hide(order) if rests and self._random.random() < 0.3 else order)

    def _iceberg(self, market: _Market) -> NewOrder:
        order = self._enter(market, OrderType.LIMIT, TimeInForce.GTC, self._price_ticks(market, self._distance_ticks()))
        return self._place(market, self._hide(order._replace(quantity=Number(100 * self._random.randint(1, 12), 0))))

    def _expiring(self, market: _Market) -> NewOrder:
        time_in_force = self._random.choice((TimeInForce.DAY, TimeInForce.GTD, TimeInForce.GTD))
        price_ticks = self._price_ticks(market, self._distance_ticks())
        post_only = self._random.random() < POST_ONLY_SHARE
        order = self._enter(market, OrderType.LIMIT, time_in_force, price_ticks, post_only=post_only)
        return self._place(market, self._timed(order))

    def _sweep(self, market: _Market) -> NewOrder:
        """At the market, for more than the best levels hold; in an auction it waits."""
        order = self._enter(market, OrderType.MARKET, self._random.choice(tuple(TimeInForce)), None)
        return self._place(market, self._timed(order._replace(quantity=Number(100 * self._random.randint(3, 9), 0))))

    def _timed(self, order: NewOrder) -> NewOrder:
        """With an expiry, where it is to have one."""
        if order.time_in_force is not TimeInForce.GTD:
            return order
        if self._clock is None:
            return order._replace(time_in_force=TimeInForce.DAY)
        return order._replace(expire_time=self._expire_time(self._clock()))

    def _expire_time(self, now: int) -> int:
        return now + int(self._random.expovariate(1 / MEAN_LIFETIME_NS))

    def _hide(self, order: NewOrder) -> NewOrder:
        """Most of its quantity; some show so little that they are refused."""
        tips = self._random.choice((2, 2, 3, 5, 8, 20, 120))
        return order._replace(display_quantity=Number(max(1, order.quantity.mantissa // tips), 0))

    def _change(self, market: _Market) -> Command:
        """A replace of what only these orders have; a plain order gets something to hide."""
        if not market.placed:
            return self._expiring(market)
        placed = market.placed[self._young_position(market)]
        replace = ReplaceOrder(placed.account, None, placed.client_order_id, None, None)
        if placed.order.stop_price is not None and self._random.random() < 0.7:
            return replace._replace(stop_price=Number(self._stop_ticks(market, placed.side), PRICE_DECIMALS))
        if placed.order.expire_time is not None and self._clock is not None and self._random.random() < 0.7:
            return replace._replace(expire_time=self._expire_time(self._clock()))
        display_quantity = self._random.choice((0, 1 + placed.quantity // 3, 1 + placed.quantity // 10))
        return replace._replace(display_quantity=Number(display_quantity, 0))

    def _stop_ticks(self, market: _Market, side: Side) -> int:
        distance = self._distance_ticks()
        return market.middle_ticks + (distance if side is Side.BUY else -distance)

    def _change_status(self, market: _Market) -> Command:
        """An auction, a halt, or the end of an auction that somebody else, or volatility, may have begun."""
        if market.status is not TradingStatus.TRADING or self._random.random() < 0.5:
            return self._go_on_trading(market)
        market.status = self._random.choices((TradingStatus.AUCTION, TradingStatus.HALTED), (4, 1))[0]
        return SetStatus(market.symbol, market.status)

    def _go_on_trading(self, market: _Market) -> Command:
        """By an uncross mostly, and now and then through `closed`."""
        if market.status in (TradingStatus.HALTED, TradingStatus.CLOSED) or self._random.random() < 0.15:
            market.status = TradingStatus.TRADING
            return SetStatus(market.symbol, market.status)
        market.status = TradingStatus.CLOSED if self._random.random() < 0.1 else TradingStatus.TRADING
        return Uncross(market.symbol, market.status)
