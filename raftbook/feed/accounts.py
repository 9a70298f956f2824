"""Which events concern an account, and how it may see them: another account's part in a trade is not told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftbook.engine.events import MassCanceled, OrderEvent, Rejection, Trade
from raftbook.json_format import Json, event_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from raftbook.engine.events import Event, Execution
    from raftbook.engine.instrument import Instrument


def events_by_account(executions: Iterable[Execution]) -> dict[str, list[Event]]:
    """Every event under each account that it concerns, in their order. O(events)."""
    found: dict[str, list[Event]] = {}
    for execution in executions:
        for event in execution.events:
            for account in _accounts_of(event):
                events = found.get(account)
                if events is None:
                    found[account] = [event]
                else:
                    events.append(event)
    return found


def _accounts_of(event: Event) -> tuple[str, ...]:
    if isinstance(event, OrderEvent):
        return (event.order.account,)
    if isinstance(event, Trade):
        maker, taker = event.maker_account, event.taker_account
        return (maker,) if maker == taker else (maker, taker)
    if isinstance(event, Rejection):
        account = getattr(event.command, "account", None)
        return (account,) if isinstance(account, str) else ()
    if isinstance(event, MassCanceled):
        return (event.account,)
    return ()


def concerns_symbol(event: Event, symbol: str) -> bool:
    """So does an event that names no symbol: a cancel of everything, or the refusal of a command that named none."""
    return getattr(event, "symbol", None) in (symbol, None)


def account_event_to_json(event: Event, account: str, instruments: Mapping[str, Instrument]) -> Json:
    """The event as `account` may see it."""
    json = event_to_json(event, instruments)
    if isinstance(event, Trade):
        for role, owner in (("maker", event.maker_account), ("taker", event.taker_account)):
            if owner != account:
                del json[f"{role}_account"]
                del json[f"{role}_client_order_id"]
    return json
