"""raftbook: a small, highly available exchange; every node has the whole live order book."""

from __future__ import annotations

__version__ = "0.1.0"
