"""A cluster of real node processes on this machine, to run a demonstration or a fault test against.

    with LocalCluster(folder) as cluster:
        cluster.start()
        leader = await cluster.wait_for_leader(deadline_s=10)
        cluster.kill(leader)                    # SIGKILL
        cluster.start(leader)

Every node has its own folder, log file and copy of the configuration, so that a test can put proxies between them
(`link_ports`) and cut links. All processes are ended by their ids when the cluster is closed, whatever happened.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import httpx
import msgspec

from raftbook.errors import NoQuorumError, RaftbookError
from raftbook.node.config import (
    ClusterConfig,
    Config,
    Durability,
    InstrumentConfig,
    LimitsConfig,
    NodeConfig,
    SecurityConfig,
)
from raftbook.node.config_file import dumps
from raftbook.security.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from types import TracebackType

Found = TypeVar("Found")

PROJECT_FOLDER: Final = Path(__file__).resolve().parent.parent
STOP_TIMEOUT_S: Final = 15.0
POLL_INTERVAL_S: Final = 0.02
LOG_TAIL_LINES: Final = 12
LISTENING_PORTS: Final = range(20_000, 32_000)
"""Below those that systems choose for outgoing connections: from 32768 on Linux, from 49152 elsewhere."""

ACME: Final = InstrumentConfig(symbol="ACME", price_decimals=2, tick_size="0.01", lot_size="1")


class NodeFailedError(RaftbookError):
    """A node's process ended by itself; the message holds the end of its log."""

    code = "node_failed"


def free_ports(count: int, *, besides: Collection[int] = ()) -> list[int]:
    """Different loopback ports that nobody listens on now; none of `besides`, which are chosen and not in use yet.

    Nor does any outgoing connection get one by chance: systems take the ports of those from another range, so that of
    a node which is down for a moment stays its own.
    """
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket() as probe:
            port = random.choice(LISTENING_PORTS)  # noqa: S311 (no secret)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        if port not in ports and port not in besides:
            ports.append(port)
    return ports


class LocalCluster:
    """`folder` holds everything: configurations, data folders and log files."""

    def __init__(
        self,
        folder: Path,
        *,
        node_count: int = 3,
        name: str = "local",
        durability: Durability = Durability.FSYNC,
        instruments: Sequence[InstrumentConfig] = (ACME,),
        limits: LimitsConfig | None = None,
        security: SecurityConfig | None = None,
    ) -> None:
        self.folder = folder
        ports = free_ports(2 * node_count)
        self.config = Config(
            cluster=ClusterConfig(name=name, data_dir=str(folder / "data"), durability=durability),
            nodes=tuple(
                NodeConfig(
                    id=f"n{number + 1}",
                    peer_address=f"127.0.0.1:{ports[2 * number]}",
                    api_address=f"127.0.0.1:{ports[2 * number + 1]}",
                )
                for number in range(node_count)
            ),
            instruments=tuple(instruments),
            limits=limits or LimitsConfig(),
            security=security or SecurityConfig(),
        )
        self.node_ids = [node.id for node in self.config.nodes]
        self.link_ports: dict[tuple[str, str], int] = {}
        """(who dials, who is dialled) -> the port to dial instead of the other's own, such as that of a proxy."""
        self.read_key: str | None = None
        """Where keys are required, that of whoever waits for the nodes."""
        self.node_environments: dict[str, dict[str, str]] = {}
        """Variables that single nodes are started with, on top of ours."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- what is where

    def url(self, node_id: str) -> str:
        return self.config.url(node_id)

    @property
    def urls(self) -> dict[str, str]:
        return {node_id: self.url(node_id) for node_id in self.node_ids}

    def http_client(self, **options: Any) -> httpx.AsyncClient:
        """One that trusts the nodes: by the CA of [security] where they have TLS. `options` are httpx's."""
        ca_file = self.config.security.ca_file
        verify = client_context(ca_file) if ca_file is not None else False
        headers = {} if self.read_key is None else {"Authorization": f"Bearer {self.read_key}"}
        return httpx.AsyncClient(verify=verify, trust_env=False, headers=headers, **options)

    def data_folder(self, node_id: str) -> Path:
        return self.config.node_folder(node_id)

    def log_path(self, node_id: str) -> Path:
        """What the node wrote to standard output and standard error, over all its starts."""
        return self.folder / f"{node_id}.log"

    def config_path(self, node_id: str) -> Path:
        return self.folder / f"{node_id}.toml"

    # ---------------------------------------------------------------- processes

    def start(self, *node_ids: str) -> None:
        """Starts these nodes (all, where none is named) and returns at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for node_id in node_ids or self.node_ids:
            assert not self.is_running(node_id), f"{node_id} runs already"
            self.config_path(node_id).write_text(dumps(self._config_seen_by(node_id)))
            arguments = ["node", "start", "--config", str(self.config_path(node_id)), "--id", node_id]
            environment = {**_environment(), **self.node_environments.get(node_id, {})}
            self._processes[node_id] = self._spawn(arguments, environment, self.log_path(node_id))

    def _spawn(self, arguments: list[str], environment: dict[str, str], log_path: Path) -> subprocess.Popen[bytes]:
        """Runs `raftbook ARGUMENTS…` in our folder, what it prints behind what is in the log."""
        with log_path.open("ab") as log:
            # In a session of their own, so that Ctrl-C on the terminal reaches us alone and we end them in order.
            return subprocess.Popen(  # noqa: S603  (our own program, no shell)
                [sys.executable, "-m", "cli", *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_running(self, node_id: str) -> bool:
        process = self._processes.get(node_id)
        return process is not None and process.poll() is None

    def process_id(self, node_id: str) -> int:
        return self._processes[node_id].pid

    def kill(self, *node_ids: str) -> None:
        """SIGKILL; all of them before waiting for any."""
        for node_id in node_ids:
            self._processes[node_id].kill()
        for node_id in node_ids:
            self._processes[node_id].wait()

    def pause(self, node_id: str) -> None:
        self._processes[node_id].send_signal(signal.SIGSTOP)

    def resume(self, node_id: str) -> None:
        self._processes[node_id].send_signal(signal.SIGCONT)

    async def terminate(self, *node_ids: str, timeout_s: float = STOP_TIMEOUT_S) -> dict[str, int]:
        """SIGTERM to these nodes (all that run, where none is named); their exit codes, 0 for a clean end.

        One that is still there after `timeout_s` is killed, and its code is -9.
        """
        stopping = list(node_ids) or [node_id for node_id in self.node_ids if self.is_running(node_id)]
        for node_id in stopping:
            self._processes[node_id].terminate()
        codes = await asyncio.gather(*(asyncio.to_thread(self._wait, node_id, timeout_s) for node_id in stopping))
        return dict(zip(stopping, codes, strict=True))

    def _wait(self, node_id: str, timeout_s: float) -> int:
        process = self._processes[node_id]
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def wipe(self, node_id: str) -> None:
        """Empties the disk of a node that is down."""
        assert not self.is_running(node_id), f"stop {node_id} before its disk is wiped"
        shutil.rmtree(self.data_folder(node_id), ignore_errors=True)

    def close(self) -> None:
        """Ends what still runs, at once."""
        self.kill(*(node_id for node_id in self._processes if self.is_running(node_id)))

    def _config_seen_by(self, node_id: str) -> Config:
        """The configuration in which the others' addresses are the links to them, where there are any."""
        nodes = tuple(
            node
            if (node_id, node.id) not in self.link_ports
            else msgspec.structs.replace(node, peer_address=f"127.0.0.1:{self.link_ports[node_id, node.id]}")
            for node in self.config.nodes
        )
        return msgspec.structs.replace(self.config, nodes=nodes)

    # ---------------------------------------------------------------- what the nodes say

    async def statuses(self, client: httpx.AsyncClient) -> dict[str, dict[str, Any] | None]:
        """Each node's own word (`GET /v1/node`), None where it gives none within a second."""

        async def ask(node_id: str) -> dict[str, Any] | None:
            try:
                response = await client.get(f"{self.url(node_id)}/v1/node", timeout=1.0)
                response.raise_for_status()
            except httpx.HTTPError:
                return None
            status: dict[str, Any] = response.json()
            return status

        answers = await asyncio.gather(*(ask(node_id) for node_id in self.node_ids))
        return dict(zip(self.node_ids, answers, strict=True))

    async def wait_for_leader(self, *, deadline_s: float, other_than: str | None = None) -> str:
        """The id of a leader that a majority of all nodes name; NoQuorumError when there is none in time."""

        def agreed(statuses: dict[str, dict[str, Any] | None]) -> str | None:
            named = [status["leader"] for status in statuses.values() if status is not None]
            for node_id in self.node_ids:
                if node_id != other_than and 2 * named.count(node_id) > len(self.node_ids):
                    return node_id
            return None

        return await self.wait_until(agreed, deadline_s=deadline_s, awaited="a leader that a majority follows")

    async def wait_for_equal_state(self, *, deadline_s: float) -> tuple[int, str]:
        """(index, digest) once all nodes stand at the same; meant for when no more orders come."""

        def equal(statuses: dict[str, dict[str, Any] | None]) -> tuple[int, str] | None:
            states = {
                (status["applied_index"], status["digest"]) if status is not None else None
                for status in statuses.values()
            }
            return states.pop() if len(states) == 1 else None

        return await self.wait_until(equal, deadline_s=deadline_s, awaited="equal indexes and digests on all nodes")

    async def wait_until(
        self,
        condition: Callable[[dict[str, dict[str, Any] | None]], Found | None],
        *,
        deadline_s: float,
        awaited: str,
    ) -> Found:
        """Asks all nodes again and again until `condition` finds something in what they say."""
        deadline = time.monotonic() + deadline_s
        async with self.http_client() as client:
            while True:
                statuses = await self.statuses(client)
                found = condition(statuses)
                if found is not None:
                    return found
                self._check_processes()
                if time.monotonic() > deadline:
                    raise NoQuorumError(f"waited {deadline_s:g} s in vain for {awaited}; the nodes say {statuses}")
                await asyncio.sleep(POLL_INTERVAL_S)

    def _check_processes(self) -> None:
        """NodeFailedError where a node ended that nobody told to end."""
        for node_id, process in self._processes.items():
            code = process.poll()
            if code is not None and code > 0:
                tail = self.log_path(node_id).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
                raise NodeFailedError(f"node {node_id} ended with exit code {code}; its log ends:\n" + "\n".join(tail))


def _environment() -> dict[str, str]:
    """Our environment without the variables that would win over the generated configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAFTBOOK_")}
    kept["PYTHONPATH"] = os.pathsep.join([str(PROJECT_FOLDER), *filter(None, [kept.get("PYTHONPATH")])])
    return kept
