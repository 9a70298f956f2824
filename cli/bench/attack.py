"""What an attack on the engine is, and the commands that attacks are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from raftbook.engine.commands import (
    AddInstrument,
    CancelOrder,
    Command,
    Entry,
    NewOrder,
    Run,
)
from raftbook.engine.events import Execution
from raftbook.engine.exchange import Exchange
from raftbook.engine.types import (
    CLOSED_ORDERS_KEPT,
    EventKind,
    Number,
    OrderType,
    Side,
    TimeInForce,
)

SYMBOL: Final = "ACME"
INSTRUMENT: Final = AddInstrument(SYMBOL, 0, 0, Number(1, 0), Number(1, 0))
ORIGIN: Final = "bench-1"
PREPARED_BATCH: Final = 100


class Attack(NamedTuple):
    """`blow` holds the commands of each entry; `brings` how many events of a kind they must lead to.

    What comes `before` happens at log time 0, the first entry of the blow at `time` (ns), the next each `step` later.
    """

    before: Sequence[Command]
    blow: Sequence[Sequence[Command]]
    brings: dict[EventKind, int]
    time: int = 0
    step: int = 0
    closed_orders_kept: int = CLOSED_ORDERS_KEPT


AttackOfSize = Callable[[int], Attack]


class Ground:
    """An exchange before the blow, and the entries of the blow, ready to be applied."""

    def __init__(self, attack: Attack) -> None:
        self.exchange = Exchange(closed_orders_kept=attack.closed_orders_kept)
        self.brings = attack.brings
        self._next_sequence = 1
        self._next_index = 1
        before = (INSTRUMENT, *attack.before)
        for first in range(0, len(before), PREPARED_BATCH):
            self.exchange.apply(*self._entry(0, before[first : first + PREPARED_BATCH]))
        self.entries = [
            self._entry(attack.time + position * attack.step, commands) for position, commands in enumerate(attack.blow)
        ]

    def _entry(self, time: int, commands: Sequence[Command]) -> tuple[int, Entry]:
        entry = Entry(time, (Run(ORIGIN, self._next_sequence, tuple(commands)),))
        self._next_sequence += len(commands)
        self._next_index += 1
        return self._next_index - 1, entry

    def missing(self, executions: Sequence[Execution]) -> str | None:
        """What the blow should have led to and did not, None where it did."""
        counted = Counter(event.kind for execution in executions for event in execution.events)
        wrong = {kind.label: counted[kind] for kind, count in self.brings.items() if counted[kind] != count}
        expected = {kind.label: count for kind, count in self.brings.items()}
        return f"{wrong} where {expected} should be" if wrong else None


class Case(NamedTuple):
    """`full_size` is the size at which it is measured."""

    attack_of_size: AttackOfSize
    full_size: int


# The commands.


def limit(number: int, side: Side, price: int, quantity: int = 1, account: str = "maker") -> NewOrder:
    """Its client order id is its number."""
    return NewOrder(
        SYMBOL,
        account,
        f"order-{number}",
        side,
        OrderType.LIMIT,
        TimeInForce.GTC,
        Number(price, 0),
        Number(quantity, 0),
    )


def market(number: int, side: Side, quantity: int, account: str = "taker") -> NewOrder:
    order = limit(number, side, 1, quantity, account)
    return order._replace(order_type=OrderType.MARKET, price=None, time_in_force=TimeInForce.IOC)


def stop(number: int, side: Side, stop_price: int, account: str = "taker") -> NewOrder:
    return market(number, side, 1, account)._replace(order_type=OrderType.STOP, stop_price=Number(stop_price, 0))


def cancel(number: int, account: str = "maker") -> CancelOrder:
    return CancelOrder(account, None, f"order-{number}")


def each(commands: Iterable[Command]) -> list[tuple[Command, ...]]:
    """An entry for each."""
    return [(command,) for command in commands]
