"""Every configuration is read back as it was written; whatever else a text may be, it is refused in one sentence."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftbook.engine.types import SelfTradePrevention
from raftbook.errors import ConfigError
from raftbook.node.config import (
    ClusterConfig,
    Config,
    Durability,
    InstrumentConfig,
    LimitsConfig,
    NodeConfig,
    RaftConfig,
)
from raftbook.node.config_file import dumps
from tests.support.config_texts import error_of, parse, with_instruments

decimals_of_a_price = st.integers(0, 18)
percents = st.none() | st.integers(1, 1_000_000).map(lambda hundredths: f"{hundredths // 100}.{hundredths % 100:02}")


@st.composite
def configs(draw: st.DrawFn) -> Config:
    ports = draw(
        st.lists(st.integers(1, 65535), min_size=2, max_size=18, unique=True).filter(lambda p: len(p) % 2 == 0)
    )
    hosts = st.sampled_from(["localhost", "127.0.0.1", "[::1]"])
    ids = draw(
        st.lists(
            st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True),
            min_size=len(ports) // 2,
            max_size=len(ports) // 2,
            unique=True,
        )
    )
    nodes = tuple(
        NodeConfig(
            id=node_id, peer_address=f"{draw(hosts)}:{ports[2 * n]}", api_address=f"{draw(hosts)}:{ports[2 * n + 1]}"
        )
        for n, node_id in enumerate(ids)
    )
    symbols = draw(st.lists(st.from_regex(r"[A-Za-z0-9._\-]{1,24}", fullmatch=True), max_size=3, unique=True))
    price_decimals = draw(decimals_of_a_price)
    tick_size = f"0.{1:0>{price_decimals}}" if price_decimals else "1"
    instruments = tuple(
        InstrumentConfig(
            symbol=symbol,
            price_decimals=price_decimals,
            quantity_decimals=0,
            tick_size=tick_size,
            lot_size="7",
            min_quantity=draw(st.none() | st.just("7")),
            max_quantity=draw(st.none() | st.just("700")),
            min_notional=draw(st.none() | st.just("7")),
            price_band=draw(percents),
            market_protection=draw(percents),
            max_open_orders=draw(st.none() | st.integers(1, 2**63 - 1)),
            self_trade_prevention=draw(st.none() | st.sampled_from([mode.label for mode in SelfTradePrevention])),
        )
        for symbol in symbols
    )
    heartbeat_s = draw(st.floats(0.01, 1))
    return Config(
        cluster=ClusterConfig(
            name=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)),
            # Any text that a path may be; lone surrogates cannot be written as UTF-8.
            data_dir=draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)),
            durability=draw(st.sampled_from(Durability)),
        ),
        nodes=nodes,
        instruments=instruments,
        limits=LimitsConfig(
            max_entry_bytes=draw(st.integers(4096, 4 << 20)),
            snapshot_entries=draw(st.integers(1, 99)),
            storage_reserve_bytes=draw(st.integers(1 << 20, 1 << 40)),
        ),
        raft=RaftConfig(
            heartbeat_s=heartbeat_s,
            election_timeout_min_s=4 * heartbeat_s,
            election_timeout_max_s=5 * heartbeat_s,
            fallback_timeout_s=6 * heartbeat_s,
        ),
    )


@given(configs())
def test_what_dumps_writes_is_read_back_equal(config: Config):
    assert parse(dumps(config)) == config


@given(st.integers(0, 900), st.integers(0, 30), st.text(max_size=10) | st.sampled_from(["[", "[[x]]", "-1", '"', "{}"]))
def test_a_damaged_file_is_read_or_refused_but_never_anything_else(start: int, length: int, instead: str):
    text = dumps(parse(with_instruments(("ACME", 2, 0, "0.01", "1"))))
    damaged = text[:start] + instead + text[start + length :]
    try:
        config = parse(damaged)
    except ConfigError:
        return
    assert parse(dumps(config)) == config


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 10_000])
def test_text_that_exhausts_the_parser_is_a_config_error(text: str):
    assert error_of(text).startswith("tiny.toml: ")


@pytest.mark.parametrize("struct", [LimitsConfig, RaftConfig])
def test_every_default_is_within_its_own_bounds(struct):
    values = msgspec.structs.asdict(struct())
    assert msgspec.convert(values, struct) == struct()
