"""Kills the leader, again and again, and starts it anew."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cli.local_cluster import LocalCluster

DOWN_S: Final = 1.0
"""How long a killed node stays down once there is another leader."""
ELECTION_DEADLINE_S: Final = 30.0
RETURN_DEADLINE_S: Final = 60.0


class Failover(NamedTuple):
    """Times are in seconds, monotonic."""

    killed: str
    successor: str
    killed_at: float
    led_again_at: float
    back_at: float


async def fail_over(
    cluster: LocalCluster,
    *,
    before_kill: Callable[[str], Awaitable[None]],
    after_return: Callable[[str], None],
    tell: Callable[[str], None],
) -> Failover:
    """SIGKILL to the leader; returns when another leads, and the killed node is back and has caught up.

    `tell` hears what is going on.
    """
    leader = await cluster.wait_for_leader(deadline_s=ELECTION_DEADLINE_S)
    await before_kill(leader)
    tell(f"leader {leader} is killed")
    killed_at = time.monotonic()
    await asyncio.to_thread(cluster.kill, leader)
    successor = await cluster.wait_for_leader(deadline_s=ELECTION_DEADLINE_S, other_than=leader)
    led_again_at = time.monotonic()
    tell(f"{successor} leads, {leader} is down")
    await asyncio.sleep(DOWN_S)
    cluster.start(leader)
    tell(f"{successor} leads, {leader} starts again")

    def is_back(statuses: dict[str, dict[str, Any] | None]) -> bool | None:
        status = statuses[leader]
        return True if status is not None and status["ready"] else None

    await cluster.wait_until(is_back, deadline_s=RETURN_DEADLINE_S, awaited=f"{leader} to catch up")
    after_return(leader)
    return Failover(leader, successor, killed_at, led_again_at, time.monotonic())
