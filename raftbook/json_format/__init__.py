"""The JSON of commands, events, orders, reports and books, as everyone outside sees it, and back.

    commands   JSON -> commands, with errors that name the field, the problem and what is expected
    forms      the fields of each command, and the command that they say
    fields     what each field must be
    schema_types  fields of commands with their JSON Schema; answers: what views writes, as types
    numbers    exact decimal numbers
    report_text  the report of an order as text, at once
    views      events, orders, reports, trades, instruments, books and commands -> JSON

Numbers are exact in both directions: prices and quantities leave as decimal strings with the instrument's number of
decimals; they come in as strings or JSON numbers. Times are integers, nanoseconds since the epoch.
"""

from __future__ import annotations

from raftbook.json_format.commands import (
    MAX_COMMAND_JSON_BYTES,
    command_from_fields,
    command_from_json,
    commands_from_json_array,
    fields_from_json,
    parse_instrument_spec,
    value_of_field,
)
from raftbook.json_format.fields import DEFAULT_ACCOUNT
from raftbook.json_format.forms import OPERATIONS
from raftbook.json_format.numbers import decimal_text
from raftbook.json_format.report_text import report_text
from raftbook.json_format.schema_types import pattern_of
from raftbook.json_format.views import (
    Json,
    book_to_json,
    command_to_json,
    dumps,
    event_to_json,
    instrument_to_json,
    key_to_json,
    order_to_json,
    report_to_json,
    trade_to_json,
)

__all__ = [
    "DEFAULT_ACCOUNT",
    "MAX_COMMAND_JSON_BYTES",
    "OPERATIONS",
    "Json",
    "book_to_json",
    "command_from_fields",
    "command_from_json",
    "command_to_json",
    "commands_from_json_array",
    "decimal_text",
    "dumps",
    "event_to_json",
    "fields_from_json",
    "instrument_to_json",
    "key_to_json",
    "order_to_json",
    "parse_instrument_spec",
    "pattern_of",
    "report_text",
    "report_to_json",
    "trade_to_json",
    "value_of_field",
]
