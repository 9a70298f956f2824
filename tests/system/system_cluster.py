"""A cluster of real node processes whose links can be cut, and whose nodes may keep more or less of their log."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import msgspec

from cli.local_cluster import ACME, free_ports
from raftbook.node.config import LimitsConfig
from tests.support.prepared_processes import PreparedCluster
from tests.support.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from raftbook.node.config import Config, InstrumentConfig, SecurityConfig

DEADLINE_S: Final = 60.0
"""For whatever must happen in the end. Generous, since the machine may be busy; passing it means that it never does."""


SMALL_RESERVE_BYTES: Final = 1 << 20
"""Each node takes it on its disk at once, and what is left of the tests stays there for a while."""


class SystemCluster(PreparedCluster):
    """With `proxied`, every connection between two nodes runs through a proxy that `cut` cuts and `heal` heals.

    `node_limits` are the limits of single nodes, where they differ from `limits`. Reserves are small, but where a test
    says otherwise.
    """

    def __init__(
        self,
        folder: Path,
        *,
        node_count: int = 3,
        proxied: bool = False,
        limits: LimitsConfig | None = None,
        node_limits: Mapping[str, LimitsConfig] | None = None,
        instruments: Sequence[InstrumentConfig] = (ACME,),
        security: SecurityConfig | None = None,
    ) -> None:
        super().__init__(
            folder, node_count=node_count, name="system", limits=limits, instruments=instruments, security=security
        )
        self.node_limits = dict(node_limits or {})
        self._proxies: dict[tuple[str, str], TcpProxy] = {}
        # Between two nodes the one with the smaller id dials.
        pairs = list(itertools.combinations(sorted(self.node_ids), 2)) if proxied else []
        own_ports = {address.port for node in self.config.nodes for address in (node.peer, node.api)}
        for pair, port in zip(pairs, free_ports(len(pairs), besides=own_ports), strict=True):
            proxy = TcpProxy(listen_port=port, target_port=self.config.node(pair[1]).peer.port)
            proxy.start()
            self._proxies[pair] = proxy
            self.link_ports[pair] = proxy.listen_port

    def close(self) -> None:
        super().close()
        for proxy in self._proxies.values():
            proxy.stop()
        self._proxies.clear()

    def _config_seen_by(self, node_id: str) -> Config:
        limits = self.node_limits.get(node_id, self.config.limits)
        if limits.storage_reserve_bytes == LimitsConfig().storage_reserve_bytes:
            limits = msgspec.structs.replace(limits, storage_reserve_bytes=SMALL_RESERVE_BYTES)
        return msgspec.structs.replace(super()._config_seen_by(node_id), limits=limits)

    def others(self, *node_ids: str) -> list[str]:
        return [node_id for node_id in self.node_ids if node_id not in node_ids]

    # ---------------------------------------------------------------- links

    def cut(self, node_id: str) -> None:
        """Nothing gets from this node to any other, nor from any other to it; nobody is told."""
        for pair in self._links_of(node_id):
            self._proxies[pair].cut()

    def cut_one_way(self, source: str, target: str) -> None:
        """Nothing gets from `source` to `target` any more; the way back stays open."""
        pair = (min(source, target), max(source, target))
        self._proxies[pair].cut("to_target" if source == pair[0] else "from_target")

    def heal(self) -> None:
        """All links carry everything again, what has waited first."""
        for proxy in self._proxies.values():
            proxy.heal()

    def _links_of(self, node_id: str) -> Iterable[tuple[str, str]]:
        links = [pair for pair in self._proxies if node_id in pair]
        assert links, "cutting links needs a cluster that is proxied"
        return links

    # ---------------------------------------------------------------- what is waited for

    async def start_and_elect(self) -> str:
        """Start all nodes; returns the leader when every node is a voter, so that a majority of them is enough."""
        self.start()

        def all_vote(statuses):
            roles = [status["role"] for status in statuses.values() if status is not None]
            return sorted(roles) == ["follower"] * (len(self.node_ids) - 1) + ["leader"] or None

        await self.wait_until(all_vote, deadline_s=DEADLINE_S, awaited="a leader, and everybody else a follower")
        return await self.wait_for_leader(deadline_s=DEADLINE_S)

    async def wait_for_leader_among(self, *node_ids: str) -> str:
        """A leader that a majority of all nodes name, and that is one of these."""

        def agreed(statuses):
            named = [status["leader"] for status in statuses.values() if status is not None]
            for node_id in node_ids:
                if 2 * named.count(node_id) > len(self.node_ids):
                    return node_id
            return None

        return await self.wait_until(agreed, deadline_s=DEADLINE_S, awaited=f"a leader among {', '.join(node_ids)}")

    async def wait_for_role(self, node_id: str, *roles: str) -> str:
        def found(statuses):
            status = statuses[node_id]
            return status["role"] if status is not None and status["role"] in roles else None

        return await self.wait_until(found, deadline_s=DEADLINE_S, awaited=f"{node_id} as {' or '.join(roles)}")

    async def wait_for_applied(self, index: int, *node_ids: str) -> None:
        def reached(statuses):
            asked = [statuses[node_id] for node_id in node_ids or self.node_ids]
            return all(status is not None and status["applied_index"] >= index for status in asked) or None

        await self.wait_until(reached, deadline_s=DEADLINE_S, awaited=f"index {index} applied")

    async def wait_for_rest(self) -> tuple[int, str]:
        """(index, digest) when all nodes stand at the same and no submission waits for its place any more."""

        def at_rest(statuses):
            states = [
                (status["applied_index"], status["last_index"], status["digest"], status["intake_items"])
                for status in statuses.values()
                if status is not None
            ]
            if len(states) < len(self.node_ids) or len(set(states)) > 1:
                return None
            applied_index, last_index, digest, intake_items = states[0]
            return (applied_index, digest) if applied_index == last_index and intake_items == 0 else None

        return await self.wait_until(at_rest, deadline_s=DEADLINE_S, awaited="equal states and empty intakes")
