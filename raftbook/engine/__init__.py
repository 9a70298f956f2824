"""The matching engine: a pure function from an ordered log of commands to events.

    Entry (commands.py) ──▶ Exchange.apply (exchange.py) ──▶ Executions (events.py)

No clock, randomness, floats, I/O, logging, threads, or iteration over sets: whoever applies the same log has
the same state and the same events, on any machine and in any year. Time is the timestamp in the log.

    exchange.py      the state, and what each command does to it: recognise, judge, carry out
    validation.py    what a command means in the instrument's integer units, and why it may be refused
    matching.py      price-time matching: the one place where orders trade
    order_book.py    orders, price levels and sides: O(1) to add, cancel and find the best
    registry.py      every order still known, by its id and by its owner's; how repeats are recognised
    journal.py       stamps and collects the events
    refused_orders.py      refused new orders, so that no copy of one is accepted later
    invariants.py    what always holds, as a check of the whole state
    snapshot.py      the state as plain values, and back
    types.py, commands.py, events.py, instrument.py      the vocabulary: values, and nothing but values

The way of a new order, which is the way through the code:

    apply         passes over what was executed before (origin, sequence), and gives the rest its time
    _new_order    a client order id that is known? refused before? too late? the symbol? the trading status?
    terms_of_new_order     decimals to integer units, tick, lot, 64-bit range, post_only
    execute       trades with the best price first, the longest waiting first; rests or cancels the remainder
    Execution     what it led to: the events, and the order as it stands

    >>> from raftbook.engine import AddInstrument, Entry, Exchange, Number, Run
    >>> exchange = Exchange()
    >>> cent, share = Number(1, decimals=2), Number(1, decimals=0)
    >>> acme = AddInstrument("ACME", price_decimals=2, quantity_decimals=0, tick_size=cent, lot_size=share)
    >>> [execution] = exchange.apply(1, Entry(timestamp=0, runs=(Run("n1", 1, (acme,)),)))
    >>> execution.accepted, execution.events[0].kind.label, exchange.depth("ACME")
    (True, 'instrument_added', ([], []))
"""

from __future__ import annotations

from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    Entry,
    Malformed,
    NewOrder,
    ReplaceOrder,
    Run,
    SetStatus,
    Tick,
    Uncross,
)
from raftbook.engine.events import (
    AuctionEvent,
    Event,
    Execution,
    InstrumentEvent,
    MassCanceled,
    OrderEvent,
    OrderState,
    Rejection,
    Ticked,
    Trade,
)
from raftbook.engine.exchange import Exchange
from raftbook.engine.instrument import Instrument
from raftbook.engine.types import (
    EventKind,
    Number,
    OrderStatus,
    OrderType,
    Reason,
    SelfTradePrevention,
    Side,
    TimeInForce,
    TradingStatus,
)

__all__ = [
    "AddInstrument",
    "AuctionEvent",
    "CancelAll",
    "CancelOrder",
    "Command",
    "Entry",
    "Event",
    "EventKind",
    "Exchange",
    "Execution",
    "Instrument",
    "InstrumentEvent",
    "Malformed",
    "MassCanceled",
    "NewOrder",
    "Number",
    "OrderEvent",
    "OrderState",
    "OrderStatus",
    "OrderType",
    "Reason",
    "Rejection",
    "ReplaceOrder",
    "Run",
    "SelfTradePrevention",
    "SetStatus",
    "Side",
    "Tick",
    "Ticked",
    "TimeInForce",
    "Trade",
    "TradingStatus",
    "Uncross",
]
