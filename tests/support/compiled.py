"""What to do with tests that look into Python's own machinery, where the engine is compiled."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from raftbook.engine import is_compiled

_NO_NAMES = "it replaces a name, and machine code looks none up; `make interpreted` before you run it"

replaces_names = pytest.mark.skipif(is_compiled(), reason=_NO_NAMES)


def skip_if_machine_code(owner: type | ModuleType) -> None:
    """For a test that replaces an attribute of this class or module."""
    module = owner if isinstance(owner, ModuleType) else sys.modules[owner.__module__]
    if not str(module.__file__).endswith(".py"):
        pytest.skip(_NO_NAMES)


def skip_if_compiled() -> None:
    if is_compiled():
        pytest.skip("it counts lines of Python, and machine code has none; `make interpreted` before you run it")
