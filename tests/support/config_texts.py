"""A small configuration as text, and what reading one leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from raftbook.errors import ConfigError
from raftbook.node.config_file import parse_config

if TYPE_CHECKING:
    from raftbook.node.config import Config

MINIMAL = """
[cluster]
name = "tiny"
[[nodes]]
id = "n1"
peer_address = "127.0.0.1:7101"
api_address = "127.0.0.1:8101"
"""


def parse(text: str, **variables: str) -> Config:
    return parse_config(text, file="tiny.toml", environ=variables)


def error_of(text: str, **variables: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, **variables)
    message = str(caught.value)
    assert "\n" not in message
    return message


def with_instruments(*specifications: tuple[str, int, int, str, str]) -> str:
    return MINIMAL + "".join(
        f'[[instruments]]\nsymbol = "{symbol}"\nprice_decimals = {price_decimals}\n'
        f'quantity_decimals = {quantity_decimals}\ntick_size = "{tick_size}"\nlot_size = "{lot_size}"\n'
        for symbol, price_decimals, quantity_decimals, tick_size, lot_size in specifications
    )
