"""raftbook: a small, highly available exchange; every node has the whole live order book.

`raftbook.connect(url)` gives a client for scripts and notebooks, `raftbook.RaftbookClient` the asynchronous one. They
are loaded when they are asked for, since nodes need neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raftbook.client import RaftbookClient, SyncClient, connect

__version__ = "0.1.0"

__all__ = ["RaftbookClient", "SyncClient", "__version__", "connect"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from raftbook import client  # noqa: PLC0415 (see above)

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
