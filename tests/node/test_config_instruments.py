"""[[instruments]]: what becomes a command of the log, and what the engine would refuse is refused here."""

from __future__ import annotations

import pytest

from raftbook.engine.commands import AddInstrument
from raftbook.engine.types import Number, SelfTradePrevention
from raftbook.node.config_file import dumps
from tests.support.config_texts import error_of, parse, with_instruments


def test_instruments_become_the_commands_that_add_them():
    config = parse(with_instruments(("ETH-USD", 2, 18, "0.05", "0.000000000000000001"), ("B", 0, 0, "5", "100")))
    assert [instrument.to_command() for instrument in config.instruments] == [
        AddInstrument("ETH-USD", 2, 18, Number(5, 2), Number(1, 18)),
        AddInstrument("B", 0, 0, Number(5, 0), Number(100, 0)),
    ]


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        (("A B", 2, 0, "0.01", "1"), "symbol: 'A B' is no symbol; use 1 to 24 of A-Z a-z 0-9 . _ -"),
        (("", 2, 0, "0.01", "1"), "symbol: '' is no symbol"),
        (("A" * 25, 2, 0, "0.01", "1"), "is no symbol"),
        (("A", 19, 0, "0.01", "1"), "price_decimals: expected int <= 18, not 19"),
        (("A", 2, -1, "0.01", "1"), "quantity_decimals: expected int >= 0, not -1"),
        (("A", 2, 0, "0.001", "1"), 'at most 2 decimals within 64 bits; the smallest is tick_size = "0.01"'),
        (("A", 2, 0, "0.01", "0.5"), 'at most 0 decimals within 64 bits; the smallest is lot_size = "1"'),
        (("A", 2, 0, "0", "1"), "tick_size: '0' is no positive number"),
        (("A", 2, 0, "-0.01", "1"), "tick_size: '-0.01' is no positive number"),
        (("A", 2, 0, "1e-2", "1"), "tick_size: '1e-2' is no positive number"),
        (("A", 18, 0, "10", "1"), "tick_size: '10' is no positive number of at most 18 decimals within 64 bits"),
        (("A", 2, 0, "9" * 5000, "1"), "is no positive number"),
    ],
)
def test_an_instrument_that_the_engine_would_refuse_is_refused_here(specification, message: str):
    assert message in error_of(with_instruments(specification))


LIMITS = """
min_quantity = "2"
max_quantity = "1000"
min_notional = "50"
price_band = "5"
market_protection = "2.25"
max_open_orders = 200
self_trade_prevention = "decrement_and_cancel"
"""


def with_limits(limits: str) -> str:
    return with_instruments(("ACME", 2, 0, "0.01", "1")) + limits


def test_an_instrument_may_have_limits():
    config = parse(with_limits(LIMITS))
    assert config.instruments[0].to_command() == AddInstrument(
        "ACME",
        2,
        0,
        Number(1, 2),
        Number(1, 0),
        min_quantity=Number(2, 0),
        max_quantity=Number(1000, 0),
        min_notional=Number(50, 0),
        price_band=Number(5, 0),
        market_protection=Number(225, 2),
        max_open_orders=200,
        self_trade_prevention=SelfTradePrevention.DECREMENT_AND_CANCEL,
    )
    assert parse(dumps(config)) == config


@pytest.mark.parametrize("line", LIMITS.strip().splitlines())
def test_each_limit_may_stand_alone(line: str):
    config = parse(with_limits(line))
    name = line.partition(" ")[0]
    command = config.instruments[0].to_command()
    unlimited = parse(with_limits("")).instruments[0].to_command()
    assert getattr(command, name) is not None
    assert command._replace(**{name: None}) == unlimited
    assert parse(dumps(config)) == config


@pytest.mark.parametrize("mode", SelfTradePrevention)
def test_every_mode_of_prevention_has_its_word(mode: SelfTradePrevention):
    config = parse(with_limits(f'self_trade_prevention = "{mode.label}"'))
    assert config.instruments[0].to_command().self_trade_prevention is mode


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ('min_quantity = "0"', "min_quantity must be above zero, have at most 0 decimals and fit 64 bits; correct it"),
        ('min_quantity = "1.5"', "min_quantity must be above zero, have at most 0 decimals"),
        ('max_quantity = "9999999999999999999"', "max_quantity must be above zero"),
        ('min_quantity = "5"\nmax_quantity = "4"', "min_quantity must not be above max_quantity; correct it there"),
        ('min_notional = "0.001"', "min_notional must be above zero, have at most 2 decimals"),
        ('price_band = "0.125"', "price_band must be above zero, have at most 2 decimals and be at most 10000"),
        ('price_band = "10000.01"', "price_band must be above zero, have at most 2 decimals and be at most 10000"),
        ('market_protection = "5%"', "market_protection: '5%' is no decimal number; write one such as \"5\""),
        ('max_quantity = "many"', "max_quantity: 'many' is no decimal number"),
        ('min_notional = "1e3"', "min_notional: '1e3' is no decimal number"),
        (
            "price_band = 5",
            'price_band: expected percent as text, not 5; write for instance price_band = "5"',
        ),
        (
            "min_quantity = 1",
            'min_quantity: expected a decimal number as text, not 1; write for instance min_quantity = "1"',
        ),
        (
            "max_open_orders = 0",
            "max_open_orders: expected a whole number above zero, not 0; write for instance max_open_orders = 200",
        ),
        ('max_open_orders = "9"', "max_open_orders: expected a whole number above zero, not '9'"),
        ("max_open_orders = 9223372036854775808", "not valid TOML|max_open_orders"),
        (
            'self_trade_prevention = "all"',
            (
                'self_trade_prevention: expected "none" or "cancel_newest" or "cancel_oldest" or "cancel_both" or '
                '"decrement_and_cancel", not \'all\'; write for instance self_trade_prevention = "cancel_oldest"'
            ),
        ),
        ('price_bnad = "5"', "price_bnad: there is no such key; do you mean price_band?"),
        ('self_trade = "none"', "self_trade: there is no such key; do you mean self_trade_prevention?"),
    ],
)
def test_a_limit_that_the_engine_would_refuse_is_refused_here(limits: str, message: str):
    error = error_of(with_limits(limits))
    assert error.startswith("tiny.toml: [[instruments]] no. 1: ")
    assert any(words in error for words in message.split("|"))


def test_symbols_occur_once():
    twice = ("A", 2, 0, "0.01", "1")
    assert "[[instruments]] no. 2: symbol: 'A' is there twice" in error_of(with_instruments(twice, twice))
