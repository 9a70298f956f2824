"""Generated order flow: endless, repeatable, and shaped like a real market's.

What it takes from the order flow of real limit order books (Cont, Stoikov and Talreja, "A stochastic model
for order book dynamics", 2010; Bouchaud, Mézard and Potters, "Statistical properties of stock order
books", 2002):

- limit orders cluster near the best prices and thin out with the distance from a drifting middle;
- four commands in ten are cancels, and mostly of young orders;
- orders come in bursts: the same symbol, and more often than not the same side;
- quantities are round hundreds or small odd lots; few orders take, with `ioc`, `fok` or at the market.

Pure: the seed decides everything. The flow does not hear of trades, so some of its cancels and replaces name
orders that are filled by then, as in life.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from raftbook.engine.commands import AddInstrument, CancelOrder, Command, NewOrder, ReplaceOrder
from raftbook.engine.types import Number, OrderType, Side, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


class _PlacedOrder:
    """What the flow remembers of an order that it entered and that may still rest."""

    __slots__ = ("account", "client_order_id", "price_ticks", "quantity", "side")

    def __init__(self, account: str, client_order_id: str, side: Side, price_ticks: int, quantity: int) -> None:
        self.account = account
        self.client_order_id = client_order_id
        self.side = side
        self.price_ticks = price_ticks
        self.quantity = quantity


class _Market:
    """One symbol as the flow sees it: where its middle has drifted to, and the orders placed, oldest first."""

    __slots__ = ("middle_ticks", "placed", "side", "symbol")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.middle_ticks = START_PRICE_TICKS
        self.side = Side.BUY
        self.placed: list[_PlacedOrder] = []


class OrderFlow:
    """An endless iterator of commands; equal arguments give equal flows.

    `client_order_id_prefix` keeps the ids of flows apart that run at the same time for the same accounts.
    At most `max_placed` orders per symbol are remembered: beyond that, the oldest is canceled next.
    """

    def __init__(
        self,
        seed: int,
        symbols: Sequence[str] = ("ACME",),
        accounts: Sequence[str] = ("alice", "bob", "carol", "dave"),
        *,
        client_order_id_prefix: str = "",
        max_placed: int = 2_000,
    ) -> None:
        self._random = Random(seed)  # noqa: S311 - repeatable numbers are wanted, not secret ones
        self._markets = [_Market(symbol) for symbol in symbols]
        self._market = self._markets[0]
        self._accounts = tuple(accounts)
        self._prefix = client_order_id_prefix
        self._max_placed = max_placed
        self._entered_count = 0

    def instruments(self) -> list[AddInstrument]:
        """The instruments that the flow trades in."""
        cent, one = Number(1, PRICE_DECIMALS), Number(1, 0)
        return [AddInstrument(market.symbol, PRICE_DECIMALS, 0, cent, one) for market in self._markets]

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
        market.placed.append(
            _PlacedOrder(order.account, order.client_order_id, order.side, price_ticks, order.quantity.mantissa)
        )
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
        return NewOrder(
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
        placed.price_ticks = market.middle_ticks + (distance if placed.side is Side.SELL else -distance)
        price = Number(placed.price_ticks, PRICE_DECIMALS)
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
