"""Commands drawn so close together that things happen: few prices, few quantities, few accounts, every kind of order.

A life has two instruments with limits of its own and one of four characters: ordinary prices, prices just above zero,
quantities so large that sums leave 64 bits, or an account that is remembered so little that most repeats are forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from raftbook.engine import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    Malformed,
    NewOrder,
    Number,
    OrderState,
    OrderStatus,
    OrderType,
    ReplaceOrder,
    SelfTradePrevention,
    SetStatus,
    Side,
    Tick,
    TimeInForce,
    TradingStatus,
    Uncross,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

ACCOUNTS: Final = ("alice", "bob", "carol")
SYMBOLS: Final = ("ACME", "BTC-EUR")
UNKNOWN_SYMBOL: Final = "NONE"

NS_PER_DAY: Final = 24 * 60 * 60 * 10**9

TYPES: Final = {OrderType.LIMIT: 12, OrderType.MARKET: 3, OrderType.STOP: 2, OrderType.STOP_LIMIT: 3}
TIMES_IN_FORCE: Final = {
    TimeInForce.GTC: 10,
    TimeInForce.IOC: 3,
    TimeInForce.FOK: 3,
    TimeInForce.DAY: 2,
    TimeInForce.GTD: 3,
}
LASTING: Final = (TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD)

# In units of ten to the minus decimals, whatever the instrument has: too precise, beside the tick, none, too large.
ODD_NUMBERS: Final = (
    *(Number(10_001, 3), Number(1001, 2), Number(3, 3), Number(15, 1), Number(0, 0), Number(-5, 0)),
    *(Number(2**62, 0), Number(2**63 - 1, 0), Number(2**63 - 1, 2), Number(2**54, 0), Number(50, 0)),
)

BAD_INSTRUMENTS: Final = (
    AddInstrument("NEW", 19, 0, Number(1, 0), Number(1, 0)),
    AddInstrument("NEW", 0, -1, Number(1, 0), Number(1, 0)),
    AddInstrument("NEW", 2, 0, Number(1, 3), Number(1, 0)),
    AddInstrument("NEW", 2, 0, Number(0, 0), Number(1, 0)),
    AddInstrument("NEW", 2, 0, Number(1, 2), Number(-1, 0)),
    AddInstrument("NEW", 2, 0, Number(1, 2), Number(1, 0), min_quantity=Number(5, 0), max_quantity=Number(4, 0)),
    AddInstrument("NEW", 2, 0, Number(1, 2), Number(1, 0), max_quantity=Number(15, 1)),
    AddInstrument("NEW", 2, 0, Number(1, 2), Number(1, 0), min_notional=Number(1, 3)),
    AddInstrument("NEW", 2, 0, Number(1, 2), Number(1, 0), price_band=Number(1, 3)),
    AddInstrument("NEW", 2, 0, Number(1, 2), Number(1, 0), market_protection=Number(-1, 0)),
    AddInstrument("NEW", 2, 0, Number(1, 2), Number(1, 0), max_open_orders=-1),
)

_T = TypeVar("_T")


class DenseFlow:
    """The commands of one life; everything that is drawn comes from `numbers`."""

    def __init__(self, numbers: Random) -> None:
        self.numbers = numbers
        self.character = self._one_of({"ordinary": 6, "low prices": 2, "large quantities": 3, "short memory": 2})
        self.closed_orders_kept = 2 if self.character == "short memory" else 8
        self.first_moment = 20_000 * NS_PER_DAY - numbers.randrange(1_000)
        self._entered: list[NewOrder] = []
        self._last_client_order_number = 0
        self._instruments = {symbol: self._instrument(symbol) for symbol in SYMBOLS}

    def instruments(self) -> tuple[AddInstrument, ...]:
        return tuple(self._instruments.values())

    def _instrument(self, symbol: str) -> AddInstrument:
        tick, lot = (Number(5, 2), Number(1, 0)) if symbol == "ACME" else (Number(5, 1), Number(2, 3))
        if self.character == "large quantities":
            tick, lot = Number(1, 0), Number(1, 0)
        # With prices around 10 a tick of ACME is half a percent of the price; low prices need wider limits.
        wide = self.character in ("low prices", "large quantities")
        percents = [Number(percent, 1) for percent in ((500, 1_000, 2_000) if wide else (5, 10, 20, 1_500))]
        rarely = self.character == "large quantities"
        return AddInstrument(
            symbol,
            tick.decimals,
            lot.decimals,
            tick,
            lot,
            None,
            min_quantity=self._perhaps(Number(2 * lot.mantissa, lot.decimals), 0.2),
            max_quantity=None if rarely else self._perhaps(Number(15 * lot.mantissa, lot.decimals), 0.2),
            min_notional=None if rarely else self._perhaps(self._notional(tick, lot), 0.2),
            price_band=self._perhaps(self.numbers.choice(percents), 0.4),
            market_protection=self._perhaps(self.numbers.choice(percents), 0.4),
            max_open_orders=self._perhaps(self.numbers.randrange(2, 7), 0.25),
            self_trade_prevention=self._perhaps(self.numbers.choice(tuple(SelfTradePrevention)), 0.7),
        )

    def _notional(self, tick: Number, lot: Number) -> Number:
        """What two lots come to at the usual price."""
        return Number(2 * lot.mantissa * self._middle_tick() * tick.mantissa, tick.decimals + lot.decimals)

    # What comes next.

    def elapsed(self, time: int) -> int:
        """Nanoseconds until the next entry; now and then to a midnight, or close to it."""
        if self.numbers.random() < 0.005:
            return NS_PER_DAY - time % NS_PER_DAY + self.numbers.choice((-1, 0, 1))
        return self.numbers.choice((0, 0, 1, 2, 5))

    def commands(
        self, time: int, live: Sequence[OrderState], statuses: Mapping[str, TradingStatus]
    ) -> tuple[Command, ...]:
        """Those of the next entry: mostly one, sometimes more, sometimes time alone."""
        count = self._one_of({1: 16, 2: 2, 3: 1, 0: 1})
        return tuple(self._command(time, live, statuses) for _ in range(count))

    def _command(self, time: int, live: Sequence[OrderState], statuses: Mapping[str, TradingStatus]) -> Command:
        for symbol, status in statuses.items():
            if status is TradingStatus.AUCTION and self.numbers.random() < 0.06:
                return self._end_of_auction(symbol)
            if status in (TradingStatus.HALTED, TradingStatus.CLOSED) and self.numbers.random() < 0.15:
                return SetStatus(symbol, self._one_of({TradingStatus.TRADING: 3, TradingStatus.AUCTION: 2}))
        kind = self._one_of({"new": 66, "replace": 18, "cancel": 4, "again": 3, "rare": 4})
        if kind == "new":
            return self._new_order(time)
        if kind == "replace":
            return self._replace(time, live)
        if kind == "cancel":
            return CancelOrder(*self._named(live), self._not_after(time))
        if kind == "again" and self._entered:
            return self._again()
        return self._rare(time)

    def _end_of_auction(self, symbol: str) -> Command:
        uncross = Uncross(symbol, self._one_of({TradingStatus.TRADING: 6, TradingStatus.CLOSED: 1}))
        statuses = {TradingStatus.TRADING: 4, TradingStatus.HALTED: 1, TradingStatus.CLOSED: 1}
        return self._one_of({uncross: 3, SetStatus(symbol, self._one_of(statuses)): 1})

    # Orders.

    def _new_order(self, time: int) -> NewOrder:
        order_type, time_in_force = self._one_of(TYPES), self._one_of(TIMES_IN_FORCE)
        side = self.numbers.choice(tuple(Side))
        instrument = self._instruments[self._symbol()]
        has_price = order_type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        stop = order_type in (OrderType.STOP, OrderType.STOP_LIMIT)
        if stop and time_in_force is TimeInForce.FOK:
            time_in_force = TimeInForce.IOC
        lasts = has_price and time_in_force in LASTING
        order = NewOrder(
            symbol=instrument.symbol,
            account=self.numbers.choice(ACCOUNTS),
            client_order_id=self._client_order_id(),
            side=side,
            order_type=order_type,
            time_in_force=time_in_force,
            price=self._price(instrument, side) if has_price else None,
            quantity=self._quantity(instrument),
            post_only=lasts and not stop and self.numbers.random() < 0.15,
            not_after=self._not_after(time),
            stop_price=self._price(instrument, Side.SELL if side is Side.BUY else Side.BUY) if stop else None,
            display_quantity=self._tip(instrument) if lasts and self.numbers.random() < 0.35 else None,
            expire_time=self._expire_time(time) if time_in_force is TimeInForce.GTD else None,
            self_trade_prevention=self._perhaps(self.numbers.choice(tuple(SelfTradePrevention)), 0.5),
        )
        if self.numbers.random() < 0.06:
            order = self._misshapen(order, time)
        self._entered.append(order)
        return order

    def _misshapen(self, order: NewOrder, time: int) -> NewOrder:
        odd = self.numbers.choice(ODD_NUMBERS)
        changes = self.numbers.choice(
            [
                {"symbol": UNKNOWN_SYMBOL},
                {"price": odd},
                {"quantity": odd},
                {"stop_price": odd},
                {"display_quantity": odd},
                {"price": None},
                {"post_only": True},
                {"expire_time": time + 5},
                {"time_in_force": self.numbers.choice(tuple(TimeInForce))},
                {"order_type": self.numbers.choice(tuple(OrderType))},
            ]
        )
        return order._replace(**changes)

    def _again(self) -> NewOrder:
        """The copy of an order that was entered lately, sometimes not quite, sometimes with other decimals."""
        order = self.numbers.choice(self._entered[-12:])
        change = self._one_of({"none": 6, "mode": 1, "quantity": 1, "zeros": 2, "not_after": 2})
        if change == "mode":
            return order._replace(self_trade_prevention=self.numbers.choice((None, *SelfTradePrevention)))
        if change == "quantity":
            return order._replace(quantity=Number(3, 0))
        if change == "zeros" and abs(order.quantity.mantissa) < 2**59:
            return order._replace(quantity=Number(order.quantity.mantissa * 10, order.quantity.decimals + 1))
        if change == "not_after" and order.not_after is not None:
            return order._replace(not_after=order.not_after + self.numbers.randrange(20))
        return order

    def _replace(self, time: int, live: Sequence[OrderState]) -> ReplaceOrder:
        account, order_id, client_order_id = self._named(live)
        target = next((order for order in live if order.order_id == order_id), None)
        instrument = self._instruments[self._symbol() if target is None else target.symbol]
        side = Side.BUY if target is None else target.side
        untriggered = target is not None and target.status is OrderStatus.UNTRIGGERED
        chance = self.numbers.random
        changes: dict[str, object] = {}
        # Of an order that is known, mostly what it has; of any order now and then what it cannot have.
        if chance() < (0.4 if target is None or target.price is not None else 0.03):
            changes["price"] = self._price(instrument, side)
        if chance() < (0.4 if untriggered else 0.02):
            changes["stop_price"] = self._price(instrument, side)
        if chance() < (0.2 if target is not None and target.display_quantity is not None else 0.03):
            changes["display_quantity"] = self._tip(instrument) if chance() < 0.7 else Number(0, 0)
        if chance() < (0.3 if target is not None and target.time_in_force is TimeInForce.GTD else 0.02):
            changes["expire_time"] = self._expire_time(time)
        if not changes or chance() < 0.3:
            changes["quantity"] = self._quantity(instrument) if chance() < 0.95 else Number(0, 0)
        if chance() < 0.03:
            odd = self.numbers.choice(("price", "quantity", "stop_price", "display_quantity"))
            changes[odd] = self.numbers.choice(ODD_NUMBERS)
        if chance() < 0.01:
            changes = {}
        price, quantity = changes.pop("price", None), changes.pop("quantity", None)
        command = ReplaceOrder(account, order_id, client_order_id, None, None, self._not_after(time))
        return command._replace(price=price, quantity=quantity, **changes)

    def _named(self, live: Sequence[OrderState]) -> tuple[str, int | None, str | None]:
        """(account, order id, client order id) of an order: nearly always a live one of this account."""
        if live and self.numbers.random() < 0.93:
            order = self.numbers.choice(live)
            account = order.account if self.numbers.random() < 0.98 else self.numbers.choice(ACCOUNTS)
            by_id = self.numbers.random() < 0.7
            return account, order.order_id if by_id else None, None if by_id else order.client_order_id
        if self.numbers.random() < 0.5:
            return self.numbers.choice(ACCOUNTS), self.numbers.randrange(1, 500), None
        return self.numbers.choice(ACCOUNTS), None, f"c{self.numbers.randrange(1, 500)}"

    # The rest.

    def _rare(self, time: int) -> Command:
        symbol = self._one_of({SYMBOLS[0]: 5, SYMBOLS[1]: 4, UNKNOWN_SYMBOL: 1})
        not_after = self._not_after(time)
        kind = self._one_of(
            {"auction": 10, "status": 2, "uncross": 1, "cancel all": 1, "tick": 1, "malformed": 1, "instrument": 1}
        )
        if kind == "auction":
            return SetStatus(symbol, TradingStatus.AUCTION, not_after)
        if kind == "status":
            return SetStatus(symbol, self.numbers.choice(tuple(TradingStatus)), not_after)
        if kind == "uncross":
            return Uncross(symbol, TradingStatus.TRADING, not_after)
        if kind == "cancel all":
            side = self._perhaps(self.numbers.choice(tuple(Side)), 0.5)
            return CancelAll(self.numbers.choice(ACCOUNTS), self._perhaps(symbol, 0.6), side, not_after)
        if kind == "tick":
            return Tick(not_after)
        if kind == "malformed":
            return Malformed("these bytes are no command", not_after)
        return self.numbers.choice((*BAD_INSTRUMENTS, self._instruments["ACME"], self._instruments["BTC-EUR"]))

    # Values.

    def _symbol(self) -> str:
        return self._one_of({SYMBOLS[0]: 3, SYMBOLS[1]: 1})

    def _client_order_id(self) -> str:
        if self.numbers.random() < 0.03:
            return f"c{self.numbers.randrange(1, self._last_client_order_number + 2)}"
        self._last_client_order_number += 1
        return f"c{self._last_client_order_number}"

    def _middle_tick(self) -> int:
        return 3 if self.character in ("low prices", "large quantities") else 200

    def _price(self, instrument: AddInstrument, side: Side) -> Number:
        """Mostly the passive side of the middle, so that orders wait for others, at some prices next to it."""
        low = self._middle_tick() < 100
        away = self._one_of({-1: 2, 0: 3, 1: 3, 2: 2} if low else {-4: 1, -2: 1, -1: 2, 0: 3, 1: 4, 2: 4, 3: 3, 5: 1})
        ticks = self._middle_tick() + (away if side is Side.SELL else -away)
        return Number(ticks * instrument.tick_size.mantissa, instrument.tick_size.decimals)

    def _quantity(self, instrument: AddInstrument) -> Number:
        if self.character == "large quantities" and self.numbers.random() < 0.7:
            return Number(self.numbers.choice((2**60, 2**61, 2**61 - 1, 2**62, 3 * 2**60, 2**63 - 1)), 0)
        lots = self._one_of({1: 3, 2: 3, 3: 3, 5: 3, 8: 2, 12: 2, 40: 1})
        return Number(lots * instrument.lot_size.mantissa, instrument.lot_size.decimals)

    def _tip(self, instrument: AddInstrument) -> Number:
        if self.character == "large quantities":
            return Number(self.numbers.choice((1, 2**58, 2**59, 2**60)), 0)
        lots = self._one_of({1: 4, 2: 4, 3: 2, 5: 1})
        return Number(lots * instrument.lot_size.mantissa, instrument.lot_size.decimals)

    def _expire_time(self, time: int) -> int:
        if self.numbers.random() < 0.1:
            return time + self.numbers.randrange(-3, 5)
        return time + self.numbers.choice((20, 60, 150, 400))

    def _not_after(self, time: int) -> int | None:
        return self._one_of({None: 36, time + self.numbers.randrange(40): 13, time - 1: 1})

    # Draws.

    def _one_of(self, weights: Mapping[_T, int]) -> _T:
        [choice] = self.numbers.choices(tuple(weights), tuple(weights.values()))
        return choice

    def _perhaps(self, value: _T, probability: float) -> _T | None:
        return value if self.numbers.random() < probability else None
