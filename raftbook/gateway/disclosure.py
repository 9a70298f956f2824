"""What a caller may see of what happened: another account's part in it is left out.

A command's report tells all that it led to: trades with orders of others, and what became of those orders. To a caller
who is not for all accounts it tells the events of its own accounts and what anybody may know of the market.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from raftbook.engine.events import KeyEvent, MassCanceled, OrderEvent, Rejection, Trade
from raftbook.json_format import dumps, report_text, report_to_json, trade_to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raftbook.engine.events import Event, Execution
    from raftbook.engine.instrument import Instrument
    from raftbook.gateway.caller import Caller
    from raftbook.gateway.service import Report, Service
    from raftbook.json_format import Json


def report_json(service: Service, report: Report, caller: Caller) -> Json:
    """The report as `caller`, whose submission it is, may see it."""
    execution, instruments = report.execution, service.state.exchange.instruments
    if execution is None or caller.sees_all:
        return report_to_json(report.origin, report.sequence, execution, instruments)
    events = tuple(event for event in execution.events if _may_see(caller, event))
    json = report_to_json(report.origin, report.sequence, replace(execution, events=events), instruments)
    json["events"] = [
        trade_json(event, instruments[event.symbol], caller) if isinstance(event, Trade) else event_json
        for event, event_json in zip(events, _list(json["events"]), strict=True)
    ]
    return json


def reports_document(service: Service, reports: Sequence[Report | Json], caller: Caller) -> msgspec.Raw:
    """An array of each report as `report_json` has it, and of what is JSON of another kind, for `dumps` alone: nearly
    all of it is written as text at once.
    """
    instruments = service.state.exchange.instruments
    sees_all = caller.sees_all
    texts = []
    for report in reports:
        if isinstance(report, dict):
            texts.append(dumps(report).decode())
            continue
        text = None
        if report.execution is not None and sees_all:
            text = report_text(report.origin, report.sequence, report.execution, instruments)
        texts.append(text or dumps(report_json(service, report, caller)).decode())
    return msgspec.Raw(f"[{','.join(texts)}]".encode())


def trade_json(trade: Trade, instrument: Instrument, caller: Caller) -> Json:
    """A trade without the account and client order id of whoever it is not for."""
    json = trade_to_json(trade, instrument)
    if not caller.sees_all:
        for side, account in (("maker", trade.maker_account), ("taker", trade.taker_account)):
            if not caller.is_for(account):
                del json[f"{side}_account"]
                del json[f"{side}_client_order_id"]
    return json


def is_own(execution: Execution, caller: Caller) -> bool:
    """Did this caller's accounts submit it, or may the caller see whatever was submitted?"""
    if caller.sees_all:
        return True
    account = None if execution.order is None else execution.order.account
    if account is None and execution.events:
        account = _account_of(execution.events[-1])
    return account is not None and caller.is_for(account)


def _account_of(event: Event) -> str | None:
    """Whose order or command it is about; None where it is nobody's."""
    if isinstance(event, OrderEvent):
        return event.order.account
    if isinstance(event, MassCanceled):
        return event.account
    if isinstance(event, Rejection):
        account = getattr(event.command, "account", None)
        return account if isinstance(account, str) else None
    return None


def _may_see(caller: Caller, event: Event) -> bool:
    if isinstance(event, KeyEvent):
        return False
    account = _account_of(event)
    return account is None or caller.is_for(account)


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
