"""What to do with tests that look into Python's own machinery, where the engine is compiled."""

from __future__ import annotations

import pytest

from raftbook.engine import is_compiled

replaces_names = pytest.mark.skipif(
    is_compiled(), reason="it replaces a name, and machine code looks none up; `make interpreted` before you run it"
)


def skip_if_compiled() -> None:
    if is_compiled():
        pytest.skip("it counts lines of Python, and machine code has none; `make interpreted` before you run it")
