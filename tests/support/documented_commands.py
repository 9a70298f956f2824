"""Pages whose commands run as they stand: found by their markers, and run in order, in one folder, as a reader would.

    <!-- run -->                        the block behind it is a script of bash; each of its commands must succeed
    <!-- run: in the background -->     each line is a process of its own, such as a node, that goes on running
    <!-- run: python -->                a program
    <!-- shows: accepted, 99.50 -->     what the last block must have printed; a block behind it that shows it is prose

Only ports are changed, so that pages can be tested beside each other: 8101 becomes a free one everywhere in the text,
also in the configurations that are shipped. `raftbook` and `python` are those of this checkout and of this interpreter.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from cli.local_cluster import PROJECT_FOLDER, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PORTS: Final = (7101, 7102, 7103, 8101, 8102, 8103)
SHIPPED: Final = ("local-3", "tls-3")
BLOCK_TIMEOUT_S: Final = 60.0
SMALL_RESERVE_BYTES: Final = 1 << 20

_MARKER: Final = re.compile(
    r"^(?P<indent> *)<!-- (?P<kind>run|shows)(?:: (?P<argument>[^\n]*?))? -->\n"
    r"(?:(?P=indent)```\w+\n(?P<body>.*?)^(?P=indent)```)?",
    re.MULTILINE | re.DOTALL,
)


_RUN_PROGRAMS: Final = """
import contextlib, io, json, sys, traceback

answers = []
for text in json.loads(sys.argv[1]):
    error = ""
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        try:
            exec(compile(text, "<page>", "exec"), {"__name__": "__main__"})
        except BaseException:
            error = traceback.format_exc()
    answers.append((shown.getvalue(), error))
    if error:
        answers += [("", "the program before it failed")] * (len(json.loads(sys.argv[1])) - len(answers))
        break
print(json.dumps(answers))
"""


class Step(NamedTuple):
    """A block to run, and what its output must hold."""

    line: int
    how: str
    text: str
    shown: tuple[str, ...]


def steps_of(page: Path) -> list[Step]:
    """The marked blocks of a page, in order."""
    markdown = page.read_text(encoding="utf-8")
    steps: list[Step] = []
    for match in _MARKER.finditer(markdown):
        line = markdown.count("\n", 0, match.start()) + 1
        argument = match["argument"] or ""
        if match["kind"] == "run":
            assert match["body"] is not None, f"{page.name}:{line}: no block follows the marker"
            assert argument in ("", "in the background", "python"), f"{page.name}:{line}: {argument}"
            steps.append(Step(line, argument, textwrap.dedent(match["body"]), ()))
        else:
            assert steps, f"{page.name}:{line}: nothing has run that could show {argument}"
            steps[-1] = steps[-1]._replace(shown=(*steps[-1].shown, *(word.strip() for word in argument.split(", "))))
    return steps


class Reader:
    """Does in `folder` what a page says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = dict(zip(map(str, PORTS), map(str, free_ports(len(PORTS))), strict=True))
        self._background: list[subprocess.Popen[bytes]] = []
        self._background_count = 0
        self._bin = folder / "bin"
        self._bin.mkdir(parents=True)
        self._install("raftbook", f'exec {shlex.quote(sys.executable)} -m cli "$@"')
        self._install("python", f'exec {shlex.quote(sys.executable)} "$@"')
        for name in SHIPPED:
            # A file of that name wins over the shipped configuration.
            shipped = (PROJECT_FOLDER / "cluster_configs" / f"{name}.toml").read_text(encoding="utf-8")
            (folder / name).write_text(self._with_own_ports(shipped), encoding="utf-8")

    def follow(self, step: Step) -> str:
        """Runs one block; its standard output, which must hold what the page says that it shows."""
        return self.follow_all([step])[0]

    def follow_all(self, steps: Sequence[Step]) -> list[str]:
        """Runs blocks of one kind, in order. Programs share an interpreter: to start takes longer than they do."""
        how = steps[0].how
        assert all(step.how == how for step in steps)
        if how == "python":
            return self._follow_programs(steps)
        return [self._start_all(step) if how == "in the background" else self._follow_script(step) for step in steps]

    def _start_all(self, step: Step) -> str:
        for line in filter(None, map(str.strip, self._with_own_ports(step.text).splitlines())):
            self._start(line)
        return ""

    def _follow_script(self, step: Step) -> str:
        ended = self._run("bash", "-eu", "-o", "pipefail", "-c", self._with_own_ports(step.text))
        self._check(step, ended.returncode, ended.stdout, ended.stderr)
        return ended.stdout

    def _follow_programs(self, steps: Sequence[Step]) -> list[str]:
        texts = json.dumps([self._with_own_ports(step.text) for step in steps])
        ended = self._run("python", "-c", _RUN_PROGRAMS, texts)
        assert ended.returncode == 0, ended.stderr
        answers = json.loads(ended.stdout)
        for step, (shown, error) in zip(steps, answers, strict=True):
            self._check(step, 1 if error else 0, shown, error)
        return [shown for shown, _ in answers]

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_TIMEOUT_S,
            check=False,
        )

    def _check(self, step: Step, code: int, shown: str, error: str) -> None:
        told = f"{step.text}\nended with {code}\n{shown}\n{error}\n{self._tails()}"
        assert code == 0, told
        for word in step.shown:
            assert word in shown, f"{word!r} is not shown by\n{told}"

    def wait_until(self, command: str, deadline_s: float = BLOCK_TIMEOUT_S) -> None:
        """Until the command succeeds."""
        deadline = time.monotonic() + deadline_s
        script = self._with_own_ports(command)
        while True:
            ended = self._run("bash", "-eu", "-o", "pipefail", "-c", script)
            if ended.returncode == 0:
                return
            assert not self._ended_by_itself(), f"it ended:\n{self._tails()}"
            assert time.monotonic() < deadline, f"{command}\n{ended.stdout}\n{ended.stderr}\n{self._tails()}"
            time.sleep(0.1)

    def close(self) -> None:
        """Ends what still runs in the background."""
        for process in self._background:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, line: str) -> None:
        self._background_count += 1
        with (self._folder / f"background-{self._background_count}.log").open("wb") as log:
            self._background.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {line}"],
                    cwd=self._folder,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _ended_by_itself(self) -> bool:
        return any(process.poll() not in (None, -signal.SIGKILL) for process in self._background)

    def _tails(self) -> str:
        logs = sorted(self._folder.glob("background-*.log"))
        return "\n".join(f"---- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    def _install(self, name: str, script: str) -> None:
        program = self._bin / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def _with_own_ports(self, text: str) -> str:
        return re.sub("|".join(self._ports), lambda match: self._ports[match.group()], text)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAFTBOOK_")}
        return {
            **kept,
            "PATH": f"{self._bin}{os.pathsep}{kept['PATH']}",
            "PYTHONPATH": str(PROJECT_FOLDER),
            "RAFTBOOK_URL": self._with_own_ports("http://127.0.0.1:8101"),
            "RAFTBOOK_LIMITS_STORAGE_RESERVE_BYTES": str(SMALL_RESERVE_BYTES),
        }


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    """A reader whose processes are ended whatever happens."""
    folder.mkdir(exist_ok=True)
    made = Reader(folder)
    try:
        yield made
    finally:
        made.close()
