"""`raftbook` as a process that begins with its imports done: a fork of one that has done nothing else.

The tests start hundreds of nodes and commands, and half a second of a processor each would go into imports. What runs
then is what `python -m cli` runs, in a process, a session and an environment of its own. That it starts from nothing as
well is seen where a test takes the word of a user: the demonstration, the documentation, refused starts.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from cli.local_cluster import LocalCluster

# Not cli.main itself, which looks at the terminal when it is imported.
_IMPORTED = [
    *("cli.account", "cli.certs", "cli.cluster", "cli.log", "cli.market", "cli.match", "cli.node", "cli.orders"),
    *("cli.simulate", "cli.watch", "cli.bench.command", "cli.demo.command", "cli.top.command", "cli.errors"),
    *("raftbook.node.runner", "raftbook.client", "raftbook.verification", "uvloop", "websockets.asyncio.client"),
]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(_IMPORTED)


def _run(arguments: list[str], folder: str, environment: dict[str, str], stdin: str, stdout: str, stderr: str) -> None:
    """In the new process: become `python -m cli ARGUMENTS…`."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path, flags in (
        (0, stdin, os.O_RDONLY),
        (1, stdout, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (that of multiprocessing is closed)
    sys.argv = ["raftbook", *arguments]
    runpy.run_module("cli", run_name="__main__", alter_sys=False)


class PreparedProcess:
    """What the tests use of subprocess.Popen; any thread may ask."""

    def __init__(
        self,
        arguments: list[str],
        *,
        folder: Path,
        environment: dict[str, str],
        stdin: Path,
        stdout: Path,
        stderr: Path,
    ) -> None:
        self._arguments = arguments
        streams = (str(stdin), str(stdout), str(stderr))
        self._process = _CONTEXT.Process(target=_run, args=(arguments, str(folder), environment, *streams))
        self._process.start()
        self._lock = threading.Lock()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with self._lock:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        multiprocessing.connection.wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_prepared(
    arguments: list[str],
    *,
    folder: Path,
    environment: dict[str, str],
    text: str,
    timeout_s: float,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with captured text."""
    with tempfile.TemporaryDirectory() as scratch:
        stdin, stdout, stderr = (Path(scratch) / name for name in ("stdin", "stdout", "stderr"))
        stdin.write_text(text)
        process = PreparedProcess(
            arguments, folder=folder, environment=environment, stdin=stdin, stdout=stdout, stderr=stderr
        )
        try:
            code = process.wait(timeout_s)
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, code, stdout.read_text(), stderr.read_text())


class PreparedCluster(LocalCluster):
    """A LocalCluster whose nodes begin with their imports done."""

    def _spawn(self, arguments: list[str], environment: dict[str, str], log_path: Path):
        if "LD_PRELOAD" in environment:
            # The linker reads it when a program starts, which a fork does not.
            return super()._spawn(arguments, environment, log_path)
        return PreparedProcess(
            arguments,
            folder=self.folder,
            environment=environment,
            stdin=Path(os.devnull),
            stdout=log_path,
            stderr=log_path,
        )
