"""The matching engine: a pure function from an ordered log of commands to events. SEMANTICS.md says what it does.

    Entry (commands.py) ──▶ Exchange.apply (exchange.py) ──▶ Executions (events.py)

No clock, randomness, floats, I/O, logging, threads, or iteration over sets: whoever applies the same log has
the same state and the same events, on any machine and in any year. Time is the timestamp in the log.

    exchange.py         the state, and the way of an entry through it: time, commands, indications
    orders.py           what becomes of each command about orders: recognise, judge, carry out
    validation.py       what a command means in the instrument's integer units, and why it may be refused
    limits.py           what an instrument's venue allows in it: quantities, notional, price band, protection
    matching.py         price-time matching: the one place where an order trades with the book
    self_trade.py       what happens where an order meets one of its own account
    triggers.py         stops: they wait for a price, are elected, and run as arriving orders
    auction.py          the one price for a whole gathered book, and the trades at it
    trading_status.py   instruments, their status, the end of an auction
    api_keys.py         which API keys there are, with which roles and accounts
    order.py            one order: its terms, and how far it has come
    order_book.py       price levels and sides: O(1) to add, cancel and find the best
    expiry.py           which orders end at which moment of log time
    registry.py         every order still known, by its id and by its owner's; how repeats are recognised
    refused_orders.py   refused new orders, so that no copy of one is accepted later
    journal.py          stamps and collects the events
    invariants.py       what always holds, as a check of the whole state
    snapshot.py         the state as plain values, and back (snapshot_fields.py, api_keys_snapshot.py)
    types.py, commands.py, events.py, instrument.py      the vocabulary: values, and nothing but values

The way of a new order, which is the way through the code:

    apply          ends what has expired; passes over what was executed before, and gives the rest its time
    new_order      a client order id that is known? refused before? too late? the symbol? the trading status?
    terms_of_new_order      decimals to integer units, tick, lot, 64-bit range, limits, post_only
    arrive         trades with the best price first, the longest waiting first; rests or cancels the remainder
    run_elected_stops       what its trades elected runs in turn, as if it had just arrived
    Execution      what it led to: the events, and the order as it stands

    >>> from raftbook.engine import AddInstrument, Entry, Exchange, Number, Run
    >>> exchange = Exchange()
    >>> cent, share = Number(1, decimals=2), Number(1, decimals=0)
    >>> acme = AddInstrument("ACME", price_decimals=2, quantity_decimals=0, tick_size=cent, lot_size=share)
    >>> [execution] = exchange.apply(1, Entry(timestamp=0, runs=(Run("n1", 1, (acme,)),)))
    >>> execution.accepted, execution.events[0].kind.label, exchange.depth("ACME")
    (True, 'instrument_added', ([], []))
"""

from __future__ import annotations

from raftbook.engine.api_keys import KeyRecord
from raftbook.engine.commands import (
    AddInstrument,
    CancelAll,
    CancelOrder,
    Command,
    CreateKey,
    Entry,
    Malformed,
    NewOrder,
    ReplaceOrder,
    RevokeKey,
    Run,
    SetStatus,
    Tick,
    Uncross,
)
from raftbook.engine.events import (
    AuctionEvent,
    Event,
    Execution,
    Indication,
    InstrumentEvent,
    KeyEvent,
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
    Role,
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
    "CreateKey",
    "Entry",
    "Event",
    "EventKind",
    "Exchange",
    "Execution",
    "Indication",
    "Instrument",
    "InstrumentEvent",
    "KeyEvent",
    "KeyRecord",
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
    "RevokeKey",
    "Role",
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
    "is_compiled",
]


def is_compiled() -> bool:
    """Are these modules machine code, made of this source by mypyc (`make compiled`), and not Python's bytecode?"""
    return not __file__.endswith((".py", ".pyc"))
