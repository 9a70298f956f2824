"""A limit to what strangers can make a process log: each event at most once in a while, with how many were left out."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL_S: Final = 1.0

PROVOKED: Final = (
    "uvicorn.error",
    "raftbook.node.http_server",
    "raftbook.node.http_protocol",
    "raftbook.node.websocket_protocol",
)
"""Loggers of what clients do before anybody knows them: whoever knocks often shall not fill the disk."""

_MOST_EVENTS: Final = 100
"""Their number is that of the places in the source; this is for a library that writes values into its messages."""


class LogLimit(logging.Filter):
    """Passes one record of each event in INTERVAL_S, which says in `unlogged` how many came since the last one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._logged_at_s: dict[object, float] = {}
        self._unlogged: dict[object, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        # structlog's records have a dictionary in the place of the message.
        fields: object = record.msg
        event = fields.get("event") if isinstance(fields, dict) else record.msg
        if event not in self._logged_at_s and len(self._logged_at_s) >= _MOST_EVENTS:
            event = None
        now_s = self._clock()
        if now_s - self._logged_at_s.get(event, float("-inf")) < INTERVAL_S:
            self._unlogged[event] = self._unlogged.get(event, 0) + 1
            return False
        self._logged_at_s[event] = now_s
        unlogged = self._unlogged.pop(event, 0)
        if unlogged:
            if isinstance(fields, dict):
                fields["unlogged"] = unlogged
            else:
                record.unlogged = unlogged
        return True
