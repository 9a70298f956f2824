"""Import the sources even of what is compiled: Python takes the extension module first.

python -m tests.support.from_sources MODULE …      runs a module as `python -m` does, interpreted
"""

from __future__ import annotations

import runpy
import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)


def prefer_sources() -> None:
    """From now on import a module's source where there is one; Python takes the extension module first."""
    finders = FileFinder.path_hook((SourceFileLoader, SOURCE_SUFFIXES), (ExtensionFileLoader, EXTENSION_SUFFIXES))
    sys.path_hooks.insert(0, finders)
    sys.path_importer_cache.clear()


if __name__ == "__main__":
    prefer_sources()
    from raftbook.engine import is_compiled  # Only now: it is to come from its source.

    assert not is_compiled()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
