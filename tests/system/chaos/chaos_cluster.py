"""A cluster in which everything can be made to fail: processes, links, packets, disks and clocks, node by node.

It knows what was done to each process, so that it can tell an end that is explained from one that is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from raftbook.errors import RaftbookError
from raftbook.node.config import LimitsConfig
from raftbook.replication.disk import FileDisk
from raftbook.replication.write_ahead_log import inspect
from tests.system.chaos.injected_faults import InjectedFaults, build_library
from tests.system.chaos.node_exits import Life, judge
from tests.system.chaos.packet_filter import losing
from tests.system.chaos.tmpfs import mount_tmpfs
from tests.system.raftbook_command import raftbook
from tests.system.system_cluster import SystemCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from raftbook.node.config import Config
    from tests.system.chaos.capabilities import Capabilities

RESERVE_BYTES: Final = 4 << 20
"""Small, as the disks are."""
USUAL: Final = LimitsConfig(storage_reserve_bytes=RESERVE_BYTES)
COMPACTING: Final = msgspec.structs.replace(USUAL, snapshot_entries=150, log_retain_entries=60)
BALLAST: Final = "ballast"
REJOIN_S: Final = 3.0
"""Without a leader for so long, a node that is rebuilt gives up, and goes on when it is started."""


class ChaosCluster(SystemCluster):
    """Each node's data folder lies on a disk of its own: a tmpfs where the machine can mount one, else a folder.

    All nodes but `witness`, where one is named, write snapshots and compact their logs all the time.
    """

    def __init__(self, folder: Path, *, node_count: int, capabilities: Capabilities, witness: str | None) -> None:
        super().__init__(folder, node_count=node_count, proxied=True, limits=USUAL)
        folder.mkdir(parents=True, exist_ok=True)
        if witness is not None:
            self.node_limits = dict.fromkeys(self.others(witness), COMPACTING)
        self.violations: list[str] = []
        self.ends: Counter[str] = Counter()
        """Reasons for which nodes ended by themselves, rightly."""
        self.lives: dict[str, Life] = {}
        self.faults: dict[str, InjectedFaults] = {}
        self._afflicted_disks: Counter[str] = Counter()
        self._cut_ways: Counter[tuple[str, str]] = Counter()
        self._mounts = ExitStack()
        library = build_library(folder) if capabilities.lacking_compiler is None else None
        for node_id in self.node_ids:
            self.disk(node_id).mkdir(parents=True)
            if capabilities.lacking_mount is None:
                self._mounts.enter_context(mount_tmpfs(self.disk(node_id)))
            if library is not None:
                control = folder / f"{node_id}.faults"
                self.faults[node_id] = InjectedFaults(library, control, self.data_folder(node_id))
                self.node_environments[node_id] = self.faults[node_id].environment

    def close(self) -> None:
        super().close()
        self._mounts.close()

    def disk(self, node_id: str) -> Path:
        return self.folder / "disks" / node_id

    def data_folder(self, node_id: str) -> Path:
        return self.disk(node_id) / node_id

    def _config_seen_by(self, node_id: str) -> Config:
        seen = super()._config_seen_by(node_id)
        cluster = msgspec.structs.replace(seen.cluster, data_dir=str(self.disk(node_id)))
        return msgspec.structs.replace(seen, cluster=cluster)

    # ---------------------------------------------------------------- processes

    def start(self, *node_ids: str) -> None:
        for node_id in node_ids or self.node_ids:
            self.judge_if_ended(node_id)
            self._begin_life(node_id)
            super().start(node_id)

    def _begin_life(self, node_id: str) -> Life:
        log = self.log_path(node_id)
        number = self.lives[node_id].number + 1 if node_id in self.lives else 1
        offset = log.stat().st_size if log.exists() else 0
        self.lives[node_id] = Life(number, offset, had_disk_fault=self.is_disk_afflicted(node_id))
        return self.lives[node_id]

    async def rebuild(self, node_id: str) -> None:
        """`raftbook node rebuild` for a node that is down. The command runs the node itself until it is back.

        An assertion fails if the command does. It knows nothing of faults of the disk, so there must be none meanwhile.
        """
        self.judge_if_ended(node_id)
        options = ["--config", str(self.config_path(node_id)), "--id", node_id, "--timeout-s", f"{REJOIN_S:g}"]
        with self.afflicting_disk(node_id):
            self._begin_life(node_id).is_judged = True
            ended = await asyncio.to_thread(raftbook, "node", "rebuild", *options, folder=self.folder)
        assert ended.returncode == 0, f"{node_id} cannot be rebuilt: {ended.stderr}"

    def kill(self, *node_ids: str) -> None:
        for node_id in node_ids:
            self.lives[node_id].was_killed = True
        super().kill(*node_ids)

    async def terminate(self, *node_ids: str, timeout_s: float = 15.0) -> dict[str, int]:
        for node_id in node_ids or self.node_ids:
            self.lives[node_id].was_told_to_stop = True
        return await super().terminate(*node_ids, timeout_s=timeout_s)

    def judge_if_ended(self, node_id: str) -> bool:
        """Whether the node has ended; if so, why is told once: in `ends`, or in `violations`."""
        if node_id not in self._processes or self.is_running(node_id):
            return False
        life = self.lives[node_id]
        if not life.is_judged:
            life.is_judged = True
            log = self.log_path(node_id).read_bytes()[life.log_offset :].decode(errors="replace")
            verdict = judge(life, self._processes[node_id].returncode, log)
            if verdict.violation is not None:
                self.violations.append(f"{node_id} ended with {verdict.violation}")
            if verdict.reason is not None:
                self.ends[verdict.reason] += 1
        return True

    # ---------------------------------------------------------------- disks

    @contextmanager
    def afflicting_disk(self, node_id: str) -> Iterator[None]:
        """While this lasts, and for lives that knew it, the node may end because of its disk."""
        self._afflicted_disks[node_id] += 1
        self.lives[node_id].had_disk_fault = True
        try:
            yield
        finally:
            self._afflicted_disks[node_id] -= 1

    def is_disk_afflicted(self, node_id: str) -> bool:
        return self._afflicted_disks[node_id] > 0

    @contextmanager
    def full_disk(self, node_id: str) -> Iterator[None]:
        ballast = self.disk(node_id) / BALLAST
        with self.afflicting_disk(node_id):
            with ballast.open("wb") as file:
                taken_bytes = 0
                while (free_bytes := self._free_bytes(node_id)) > 0:
                    with contextlib.suppress(OSError):  # The node has written something meanwhile.
                        os.posix_fallocate(file.fileno(), taken_bytes, free_bytes)
                        taken_bytes += free_bytes
            try:
                yield
            finally:
                ballast.unlink()

    def _free_bytes(self, node_id: str) -> int:
        space = os.statvfs(self.disk(node_id))
        return space.f_bavail * space.f_frsize

    def keep_disks(self) -> None:
        """As evidence, since a tmpfs is gone with its mount. Kills what still runs."""
        self.kill(*(node_id for node_id in self.node_ids if self.is_running(node_id)))
        shutil.copytree(self.folder / "disks", self.folder / "disks-kept")

    def is_durably_voter(self, node_id: str) -> bool:
        """Its disk holds a log, and that it may vote: read from the files, whatever the node says."""
        disk = FileDisk(self.data_folder(node_id), "os")
        try:
            found = inspect(disk)
        except RaftbookError:
            return False  # Read while it was written to, or a log that a fault spoilt: not one to rely on.
        finally:
            disk.close()
        return found is not None and found[1].voter and bool(found[1].base_index or found[1].entries)

    # ---------------------------------------------------------------- links

    @contextmanager
    def cutting(self, *ways: tuple[str, str]) -> Iterator[None]:
        """Nothing gets from the first to the second of each; several cuts of one way end with the last of them."""
        self._cut_ways.update(ways)
        for source, target in ways:
            self.cut_one_way(source, target)
        try:
            yield
        finally:
            self._cut_ways.subtract(ways)
            for pair in {(min(way), max(way)) for way in ways}:
                self._restore(pair)

    @contextmanager
    def refusing_connections(self, node_id: str) -> Iterator[None]:
        """All connections of the node with its peers are reset, and new ones refused."""
        pairs = list(self._links_of(node_id))
        for pair in pairs:
            self._proxies[pair].cut(refuse=True)
        try:
            yield
        finally:
            for pair in pairs:
                self._restore(pair)

    @contextmanager
    def slow_link(self, first: str, second: str, delay_s: float) -> Iterator[None]:
        proxy = self._proxies[min(first, second), max(first, second)]
        proxy.delay_s = delay_s
        try:
            yield
        finally:
            proxy.delay_s = 0.0

    @contextmanager
    def losing_packets(
        self, source: str, target: str, *, probability: float = 1.0, reset: bool = False
    ) -> Iterator[None]:
        """Packets from one node to another get lost, between the node that dials and the proxy of this link."""
        pair = (min(source, target), max(source, target))
        way = "to" if source == pair[0] else "from"
        with losing(self._proxies[pair].listen_port, way, probability=probability, reset=reset):
            yield

    def _restore(self, pair: tuple[str, str]) -> None:
        """What is not cut any more flows. A way that still is lets through what waited when the other one opens."""
        first, second = pair
        self._proxies[pair].heal()
        for source, target in ((first, second), (second, first)):
            if self._cut_ways[source, target] > 0:
                self.cut_one_way(source, target)
