"""What chaos can do on this machine, done once by itself; what it cannot is skipped here, with the reason."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.local_cluster import PROJECT_FOLDER
from tests.system.chaos.capabilities import Capabilities, command_in_namespaces, probe
from tests.system.raftbook_command import environment

DEADLINE_S = 60.0

PACKETS = """
import contextlib, socket, time
from tests.system.chaos.packet_filter import begin_network, delaying, losing
begin_network()
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
def connect():
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=0.5)):
        return "connected"
def tried():
    try:
        return connect()
    except OSError as error:
        return type(error).__name__
"""

LOST = """
assert tried() == "connected"
for way in ("to", "from"):
    with losing(port, way):
        assert tried() == "TimeoutError", tried()
    with losing(port, way, probability=0.0001):
        assert tried() == "connected"
with losing(port, "to", reset=True):
    assert tried() == "ConnectionRefusedError", tried()
assert tried() == "connected"
"""

DELAYED = """
with delaying(0.1):
    began = time.monotonic()
    assert tried() == "connected"
    assert time.monotonic() - began > 0.1
began = time.monotonic()
assert tried() == "connected"
assert time.monotonic() - began < 0.1
"""

FILLED = """
import errno, pathlib, sys, tempfile
from tests.system.chaos.tmpfs import mount_tmpfs
folder = pathlib.Path(tempfile.mkdtemp(dir=sys.argv[1]))
with mount_tmpfs(folder):
    try:
        with (folder / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
    except OSError as error:
        assert error.errno == errno.ENOSPC
    assert 0 < (folder / "ballast").stat().st_size <= 64 << 20
assert list(folder.iterdir()) == []
"""


@pytest.mark.parametrize(
    ("capability", "program"),
    [
        ("lacking_packet_filter", PACKETS + LOST),
        ("lacking_packet_delay", PACKETS + DELAYED),
        ("lacking_mount", FILLED),
    ],
)
def test_in_namespaces_of_our_own(capability, program, tmp_path):
    reason = getattr(probe(), capability)
    if reason is not None:
        pytest.skip(f"{capability.replace('_', ' ')}: {reason}")
    command = command_in_namespaces([sys.executable, "-c", program, str(tmp_path)])
    assert command is not None
    ended = subprocess.run(
        command,
        cwd=PROJECT_FOLDER,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_processes_of_a_namespace_end_with_it(tmp_path):
    """So that whoever ends a campaign ends its nodes, whatever happens to it."""
    program = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); print('up', flush=True); time.sleep(300)"
    left_behind = [sys.executable, "-c", "import time; time.sleep(300)", str(tmp_path)]
    command = command_in_namespaces([sys.executable, "-c", program, *left_behind])
    if command is None:
        pytest.skip(f"no namespaces: {probe().lacking_packet_filter}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as campaign:
        assert campaign.stdout is not None
        assert campaign.stdout.readline() == b"up\n"
        assert processes_with(str(tmp_path)) > 0
        campaign.kill()
    deadline = time.monotonic() + DEADLINE_S
    while processes_with(str(tmp_path)) > 0:
        assert time.monotonic() < deadline, "a process outlived its namespace"
        time.sleep(0.05)


def processes_with(argument):
    count = 0
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # It has ended since.
            count += argument.encode() in command.read_bytes().split(b"\0")
    return count


def test_what_is_lacking_is_said_in_whole_sentences():
    assert Capabilities(None, None, None, None).lacking == []
    lacking = Capabilities("a", "b", "c", "d").lacking
    assert [sentence.rpartition(": ")[2] for sentence in lacking] == ["a", "b", "c", "d"]
