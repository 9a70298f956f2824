"""An instrument: what is fixed for ever about one symbol."""

from __future__ import annotations

from typing import NamedTuple

from raftbook.engine.types import SelfTradePrevention


class Instrument(NamedTuple):
    """`tick_size` is in units of 10**-`price_decimals`, `lot_size` in units of 10**-`quantity_decimals`.

    The limits, each optional: quantities as `lot_size`; `min_notional` in units of 10**-(`price_decimals` +
    `quantity_decimals`); `price_band` and `market_protection` in hundredths of a percent; `max_open_orders` of one
    account. `self_trade_prevention` is the mode of orders that name none.
    """

    symbol: str
    price_decimals: int
    quantity_decimals: int
    tick_size: int
    lot_size: int
    min_quantity: int | None = None
    max_quantity: int | None = None
    min_notional: int | None = None
    price_band: int | None = None
    market_protection: int | None = None
    max_open_orders: int | None = None
    self_trade_prevention: SelfTradePrevention = SelfTradePrevention.NONE

    @property
    def limits(self) -> tuple[int | None, ...]:
        """Every limit that judges an order: all but the mode of self-trade prevention."""
        return (
            self.min_quantity,
            self.max_quantity,
            self.min_notional,
            self.price_band,
            self.market_protection,
            self.max_open_orders,
        )
