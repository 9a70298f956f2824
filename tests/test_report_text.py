"""A report that is written as text at once has the bytes of one that is built and encoded."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from raftbook.engine import Entry, EventKind, Exchange, Run
from raftbook.engine.commands import CancelOrder
from raftbook.engine.events import Execution, OrderEvent, Rejection
from raftbook.engine.types import Reason
from raftbook.json_format import dumps, report_text, report_to_json
from tests.engine.dense_flow import DenseFlow

LIVES = 12
COMMANDS = 400


def executions_of(seed: int):
    numbers = Random(seed)
    flow, exchange = DenseFlow(numbers), Exchange()
    now, sequence = flow.first_moment, 1
    commands = flow.instruments()
    while sequence <= COMMANDS:
        entry = Entry(now, (Run("n1.1", sequence, tuple(commands)),))
        for execution in exchange.apply(exchange.log_index + 1, entry):
            yield execution, exchange.instruments
        sequence += len(commands)
        now += flow.elapsed(now)
        commands = flow.commands(now, exchange.orders(), exchange.statuses)


@pytest.mark.parametrize("seed", range(LIVES))
def test_it_is_what_is_built_and_encoded(seed):
    for execution, instruments in executions_of(seed):
        text = report_text("n1.1", 7, execution, instruments)
        if text is not None:
            assert text.encode() == dumps(report_to_json("n1.1", 7, execution, instruments))


def test_nearly_all_reports_of_orders_are_common_and_every_field_occurs_in_one():
    seen: Counter[str] = Counter()
    for seed in range(LIVES):
        for execution, instruments in executions_of(seed):
            text = report_text("n1.1", 7, execution, instruments)
            seen["orders"] += any(isinstance(event, OrderEvent | Rejection) for event in execution.events[:1])
            if text is not None:
                seen["common"] += 1
                seen.update(name for name in OPTIONAL if f'"{name}":' in text)
                seen.update(event.kind.label for event in execution.events)
    assert seen["common"] > 0.9 * seen["orders"]
    for name in OPTIONAL:
        assert seen[name] > 0, f"{name}: {seen}"
    for kind in COMMON:
        assert seen[kind.label] > 0, f"{kind}: {seen}"


def test_what_a_refusal_says_is_escaped():
    command = CancelOrder("alice", None, "a-1")
    refusal = Rejection(
        EventKind.CANCEL_REJECTED, None, None, 3, 9, command, Reason.UNKNOWN_ORDER, 'no "order"\n of that\u2028name'
    )
    execution = Execution("n1.1", 7, 3, 9, accepted=False, order=None, events=(refusal,))
    text = report_text("n1.1", 7, execution, {})
    assert text is not None
    assert text.encode() == dumps(report_to_json("n1.1", 7, execution, {}))


COMMON = (
    EventKind.ORDER_ACCEPTED,
    EventKind.TRADE,
    EventKind.ORDER_CANCELED,
    EventKind.ORDER_REPLACED,
    EventKind.ORDER_REJECTED,
    EventKind.CANCEL_REJECTED,
    EventKind.REPLACE_REJECTED,
)
OPTIONAL = (
    *("price", "stop_price", "display_quantity", "visible_quantity", "post_only", "expire_time"),
    *("self_trade_prevention", "reason", "prevented_by_order_id", "detail"),
)
