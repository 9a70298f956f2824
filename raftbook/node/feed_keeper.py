"""The feed on a node: it follows the replicated state, and tells those who deliver it when there is something new.

What is executed waits for the second turn of the loop behind it: in that turn those who wait for their reports go on
(the first one goes to `asyncio.wait`, which tells them), so they are answered first, and all that was applied meanwhile
is told together. Entries are folded one by one all the same: see raftbook/feed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from raftbook.feed import Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from raftbook.engine.events import Execution, Trade
    from raftbook.feed.symbol_feed import SymbolFeed
    from raftbook.state_machine import StateMachine


class FeedKeeper:
    """A ReplicaObserver; it belongs to the node's loop. What waits is no more than two turns of the loop apply."""

    def __init__(
        self, state: Callable[[], StateMachine], *, events_kept: int, run: Callable[[Callable[[], None]], None]
    ) -> None:
        """`state` gives the replicated state as it is now; `run` calls, and halts the node on what that raises."""
        self._state = state
        self._run = run
        machine = state()
        self._feed = Feed(machine.exchange, _recent_trades(machine), machine.index, events_kept=events_kept)
        self._prepared: tuple[StateMachine, dict[str, SymbolFeed]] | None = None
        self._waiting: list[tuple[int, Sequence[Execution]]] = []
        self._executed: Sequence[Execution] = ()
        self._listeners: list[Callable[[], None]] = []
        self._is_scheduled = False

    @property
    def feed(self) -> Feed:
        """It holds all that is applied."""
        self._catch_up()
        return self._feed

    def listen(self, listener: Callable[[], None]) -> None:
        """`listener` is called when there is something new, once for all that came in two turns of the loop."""
        self._listeners.append(listener)

    # What the log tells.

    def executed(self, executions: list[Execution], _watermarks: Mapping[str, int]) -> None:
        self._executed = executions

    def applied(self, index: int) -> None:
        self._waiting.append((index, self._executed))
        self._executed = ()
        if self._prepared is not None and self._prepared[0].index <= index:
            self._prepared = None  # The log has come as far by itself: that state is not taken in.
        self._schedule()

    def decoded(self, state: StateMachine) -> None:
        """In another thread: to build the feed of a million orders on the loop would hold it for seconds."""
        self._prepared = state, self._feed.prepare(state.exchange, _recent_trades(state))

    def restored(self, _watermarks: Mapping[str, int]) -> None:
        self._waiting.clear()
        machine = self._state()
        prepared, self._prepared = self._prepared, None
        symbols = prepared[1] if prepared is not None and prepared[0] is machine else None
        self._feed.restore(machine.exchange, _recent_trades(machine), machine.index, symbols)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._wait_a_turn)

    def _wait_a_turn(self) -> None:
        asyncio.get_running_loop().call_soon(self._run, self._tell)

    def _tell(self) -> None:
        self._is_scheduled = False
        self._catch_up()
        for listener in self._listeners:
            listener()

    def _catch_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        for index, executions in waiting:
            if executions:
                self._feed.apply(index, executions)
            else:
                self._feed.advance(index)


def _recent_trades(machine: StateMachine) -> dict[str, list[Trade]]:
    return {symbol: machine.recent_trades(symbol) for symbol in machine.exchange.books}
