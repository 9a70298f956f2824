"""A market that looks like one: makers around a price that wanders, takers, and an account with orders of its own.

Its past is real too: the nodes' clocks are set back and let run to the present in steps of a minute, while orders are
matched in the cluster as ever. So candles of hours are there in some seconds.
"""

from __future__ import annotations

import itertools
import math
import random
from typing import TYPE_CHECKING, Any, Final

from tests.system.chaos.injected_faults import InjectedFaults, build_library

if TYPE_CHECKING:
    import httpx

    from cli.local_cluster import LocalCluster

SYMBOL: Final = "ACME"
OWNER: Final = "alice"
LEVELS: Final = 34
TICKS_BETWEEN_LEVELS: Final = 2
Command = dict[str, Any]


class SetBackClocks:
    """The wall clocks of all nodes of a cluster that is not started yet, moved together."""

    def __init__(self, cluster: LocalCluster) -> None:
        cluster.folder.mkdir(parents=True, exist_ok=True)
        library = build_library(cluster.folder)
        self._clocks = []
        for node_id in cluster.node_ids:
            folder = cluster.data_folder(node_id)
            folder.mkdir(parents=True, exist_ok=True)
            clock = InjectedFaults(library, cluster.folder / f"{node_id}.clock", folder)
            cluster.node_environments[node_id] = clock.environment
            self._clocks.append(clock)

    def set_back(self, seconds: float) -> None:
        for clock in self._clocks:
            clock.set_clock_ahead(-seconds)


class DemoMarket:
    """Commands, minute by minute; prices are in cents. The same seed gives the same market."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._ids = itertools.count(1)
        self._cents = 10_000.0
        self._volatility = 4.0

    def minute(self) -> list[Command]:
        """Makers quote anew around the price as it is now, and takers come."""
        rng = self._random
        self._volatility = min(16.0, max(4.0, self._volatility * math.exp(rng.gauss(0, 0.25))))
        self._cents += rng.gauss(0.9, self._volatility)
        commands: list[Command] = [{"op": "cancel_all", "account": "maker"}]
        for level in range(LEVELS):
            distance = 1 + level * TICKS_BETWEEN_LEVELS + rng.randrange(TICKS_BETWEEN_LEVELS)
            for side, sign in (("buy", -1), ("sell", 1)):
                quantity = int(rng.lognormvariate(2.6, 0.8) * (1 + level / 6)) + 1
                commands.append(self._new("maker", side, quantity, self._cents + sign * distance))
        commands += [self.taker() for _ in range(rng.randrange(10, 45))]
        return commands

    def taker(self) -> Command:
        rng = self._random
        quantity = int(rng.lognormvariate(1.3, 0.8)) + 1
        return self._new("taker", rng.choice(("buy", "sell")), quantity, None)

    def moment(self) -> list[Command]:
        """A tenth of a second: some limit orders come, and now and then somebody takes."""
        rng = self._random
        side, sign = rng.choice((("buy", -1), ("sell", 1)))
        distance = 1 + int(rng.expovariate(0.06))
        commands = [self._new("visitor", side, int(rng.lognormvariate(2.2, 0.8)) + 1, self._cents + sign * distance)]
        if rng.random() < 0.15:
            commands.append(self.taker())
        return commands

    def orders_of_owner(self) -> list[Command]:
        cents = self._cents
        return [
            self._new(OWNER, "buy", 40, cents - 4),
            self._new(OWNER, "buy", 120, cents - 11),
            self._new(OWNER, "sell", 65, cents + 6),
            {**self._new(OWNER, "sell", 400, cents + 14), "display_quantity": "40"},
            {**self._new(OWNER, "sell", 80, cents - 90), "order_type": "stop_limit", "stop_price": _text(cents - 80)},
        ]

    def _new(self, account: str, side: str, quantity: int, cents: float | None) -> Command:
        command: Command = {"op": "new", "symbol": SYMBOL, "account": account, "side": side, "quantity": str(quantity)}
        command["client_order_id"] = f"demo-{next(self._ids)}"
        if cents is None:
            return {**command, "order_type": "market"}
        return {**command, "price": _text(cents)}


async def submit(client: httpx.AsyncClient, url: str, commands: list[Command]) -> None:
    """Raises where a command is refused for another reason than that nothing was left to trade with."""
    response = await client.post(f"{url}/v1/commands", json=commands, timeout=30)
    response.raise_for_status()
    rejected = [report for report in response.json() if report["status"] != "accepted"]
    assert not rejected, rejected[:2]


async def live_through(
    market: DemoMarket, clocks: SetBackClocks, client: httpx.AsyncClient, url: str, minutes: int
) -> None:
    """`minutes` of trading, the last of them now."""
    for ago in range(minutes, 0, -1):
        clocks.set_back(60.0 * ago)
        await submit(client, url, market.minute())
    clocks.set_back(0)
    await submit(client, url, market.minute())


def _text(cents: float) -> str:
    whole = round(cents)
    return f"{whole // 100}.{whole % 100:02d}"
