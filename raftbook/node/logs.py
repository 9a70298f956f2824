"""How a node logs: every line is one event with named values, JSON for machines, coloured columns on a terminal.

uvicorn and PySyncObj write through the standard library's logging; their lines take the same way out.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import structlog

from raftbook.errors import ConfigError
from raftbook.node.log_limit import PROVOKED, LogLimit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from structlog.typing import Processor

LEVELS: Final = ("debug", "info", "warning", "error")
LEVEL_VARIABLE: Final = "RAFTBOOK_LOG_LEVEL"


_traceback_without_values: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
"""The values of variables can be secrets, and megabytes."""


def _without_colour_message(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Drops what uvicorn adds for terminals: its message again, with escape sequences."""
    event.pop("color_message", None)
    return event


def configure_logs(node_id: str, environ: Mapping[str, str], stream: TextIO | None = None) -> None:
    """Sends all logs of this process to `stream`, or to standard error, each with a UTC time, its level and the node.

    What strangers provoke is limited (log_limit.py). The least level shown is RAFTBOOK_LOG_LEVEL, `info` without it.
    May be called again; the last call counts.
    ConfigError if the level is none.
    """
    level = environ.get(LEVEL_VARIABLE, "info").lower()
    if level not in LEVELS:
        raise ConfigError(f"variable {LEVEL_VARIABLE}: {level!r} is no level; set it to one of {', '.join(LEVELS)}")
    stream = stream or sys.stderr

    def add_node(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["node"] = node_id
        return event

    every_line: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_node,
    ]
    if stream.isatty():
        rendering: list[Processor] = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        rendering = [_traceback_without_values, structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*every_line, structlog.stdlib.ExtraAdder(), _without_colour_message],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        # uvicorn's own configuration, where it was ever applied, gives them handlers and levels, and cuts them off.
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.NOTSET)
    limit = LogLimit()
    for name in PROVOKED:
        logging.getLogger(name).filters = [limit]
    # A line for each request says nothing that the metrics and the log of orders do not say better.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *every_line,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Cached loggers would keep the configuration of their first use.
        cache_logger_on_first_use=False,
    )
