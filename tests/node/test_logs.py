"""Every line that leaves a node is one JSON object with time, level and node, whoever wrote it."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from datetime import UTC, datetime, timedelta

import pytest
import structlog
import uvicorn.config

from raftbook.errors import ConfigError
from raftbook.node.log_limit import PROVOKED, LogLimit
from raftbook.node.logs import configure_logs
from tests.support.raw_http import answer_to, serving


@pytest.fixture(autouse=True)
def _restored_logging():
    root = logging.getLogger()
    handlers, level, access_level = root.handlers, root.level, logging.getLogger("uvicorn.access").level
    yield
    for name in PROVOKED:
        logging.getLogger(name).filters = []
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn.access").setLevel(access_level)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_node_and_its_values():
    stream = io.StringIO()
    configure_logs("n1", {}, stream)
    structlog.get_logger("raftbook.node").info("leader elected", leader="n2", term=7)
    (line,) = lines(stream)
    timestamp = datetime.fromisoformat(str(line.pop("timestamp")))
    assert timestamp.tzinfo == UTC
    assert abs(datetime.now(UTC) - timestamp) < timedelta(minutes=1)
    assert line == {
        "event": "leader elected",
        "leader": "n2",
        "term": 7,
        "level": "info",
        "logger": "raftbook.node",
        "node": "n1",
    }


def test_uvicorn_s_message_for_terminals_is_left_out():
    stream = io.StringIO()
    configure_logs("n1", {}, stream)
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[36mStarted", "other": 1})
    (line,) = lines(stream)
    assert (line["event"], line["other"]) == ("Started", 1)
    assert "color_message" not in line


@pytest.mark.parametrize("logger", ["uvicorn.error", "pysyncobj.syncobj", "asyncio"])
def test_lines_of_the_standard_library_take_the_same_way(logger: str):
    stream = io.StringIO()
    configure_logs("n1", {}, stream)
    logging.getLogger(logger).warning("lost %d of %s", 2, "three")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"], line["node"]) == ("lost 2 of three", "warning", logger, "n1")


def test_what_uvicorn_configured_for_itself_before_does_not_count():
    logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)
    stream = io.StringIO()
    configure_logs("n1", {}, stream)
    logging.getLogger("uvicorn.error").warning("here")
    assert [line["event"] for line in lines(stream)] == ["here"]


def test_an_exception_stays_on_one_line():
    stream = io.StringIO()
    configure_logs("n1", {}, stream)
    try:
        int("bad\nnews")
    except ValueError:
        structlog.get_logger().exception("apply failed")
        logging.getLogger("uvicorn.error").exception("also here")
    for line, event in zip(lines(stream), ["apply failed", "also here"], strict=True):
        assert line["event"] == event
        assert "ValueError" in json.dumps(line["exception"])


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), (None, 3), ("warning", 2), ("ERROR", 1)])
def test_the_level_is_that_of_the_variable(level: str | None, shown: int):
    stream = io.StringIO()
    configure_logs("n1", {} if level is None else {"RAFTBOOK_LOG_LEVEL": level}, stream)
    for logger in (structlog.get_logger("raftbook"), logging.getLogger("pysyncobj")):
        logger.debug("1")
        logger.info("2")
        logger.warning("3")
        logger.error("4")
    assert len(lines(stream)) == 2 * shown


def test_an_unknown_level_is_refused():
    with pytest.raises(ConfigError, match=r"RAFTBOOK_LOG_LEVEL: 'loud' is no level; set it to one of debug, info"):
        configure_logs("n1", {"RAFTBOOK_LOG_LEVEL": "loud"}, io.StringIO())


def test_a_terminal_gets_columns_instead_of_json():
    stream = Terminal()
    configure_logs("n1", {}, stream)
    structlog.get_logger().info("leader elected", term=7)
    assert "leader elected" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_the_last_call_counts():
    first, second = io.StringIO(), io.StringIO()
    logger = structlog.get_logger("raftbook.node")
    configure_logs("n1", {}, first)
    logger.info("one")
    configure_logs("n2", {}, second)
    logger.info("two")
    assert [line["event"] for line in lines(first)] == ["one"]
    assert [(line["event"], line["node"]) for line in lines(second)] == [("two", "n2")]


@pytest.mark.parametrize("stream_type", [io.StringIO, Terminal])
def test_an_exception_is_logged_without_the_values_of_variables(stream_type):
    stream = stream_type()
    configure_logs("n1", {}, stream)

    try:
        secret = "rb_admin_" + "s" * 8
        _ = {}[7]
    except KeyError:
        structlog.get_logger("raftbook").exception("unexpected error")

    assert "KeyError" in stream.getvalue()
    assert secret not in stream.getvalue()


# ---------------------------------------------------------------- what strangers provoke


def provoked(limit: LogLimit, *events: object) -> list[object]:
    """What is left out, or how many of its kind were before it."""
    told: list[object] = []
    for event in events:
        record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, event, (), None)
        if not limit.filter(record):
            told.append("left out")
        elif isinstance(record.msg, dict):
            told.append(record.msg.get("unlogged", 0))
        else:
            told.append(getattr(record, "unlogged", 0))
    return told


def test_each_event_is_logged_once_a_second_and_what_was_left_out_is_counted():
    now_s = 0.0
    limit = LogLimit(lambda: now_s)
    assert provoked(limit, "a", "a", "b", "a", {"event": "c"}, {"event": "c", "source": 1}) == [
        *(0, "left out", 0, "left out"),
        *(0, "left out"),
    ]
    now_s = 0.99
    assert provoked(limit, "a") == ["left out"]
    now_s = 1.0
    assert provoked(limit, "a", "a", "b", {"event": "c"}) == [3, "left out", 0, 1]
    now_s = 2.0
    assert provoked(limit, "a", "b") == [1, 0]


def test_messages_that_differ_each_time_share_a_limit_in_the_end():
    limit = LogLimit(lambda: 0.0)
    told = provoked(limit, *(f"rubbish {number}" for number in range(10_000)))
    assert 50 < told.count(0) < 200
    assert len(limit._logged_at_s) < 200


async def test_rubbish_of_clients_does_not_fill_the_log():
    stream = io.StringIO()
    configure_logs("n1", {}, stream)
    async with serving() as (_, address):
        for _ in range(30):
            assert await answer_to(address, b"rubbish\r\n\r\n") == (400, "malformed_request")
    told = [line for line in lines(stream) if line["event"] == "Invalid HTTP request received."]
    assert 1 <= len(told) < 30
    assert sum(1 + int(line.get("unlogged", 0)) for line in told) <= 30
    structlog.get_logger("raftbook.node").warning("of the node itself")
    structlog.get_logger("raftbook.node").warning("of the node itself")
    assert [line["event"] for line in lines(stream)[-2:]] == ["of the node itself"] * 2
