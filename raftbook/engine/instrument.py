"""An instrument: what is fixed for ever about one symbol."""

from __future__ import annotations

from typing import NamedTuple


class Instrument(NamedTuple):
    """`tick_size` is in units of 10**-`price_decimals`, `lot_size` in units of 10**-`quantity_decimals`."""

    symbol: str
    price_decimals: int
    quantity_decimals: int
    tick_size: int
    lot_size: int
