"""TOML tables and environment variables into msgspec structs, with errors that say where and what to write.

Knows nothing of what the tables mean: a field's type, its bounds and an example of it stand at the field itself.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import NODEFAULT, Struct

from raftbook.errors import ConfigError

StructT = TypeVar("StructT", bound=Struct)


class Table(NamedTuple):
    """One table of a file, with the variables that win over its keys."""

    file: str
    header: str
    values: Mapping[str, object]
    variables: Mapping[str, str]
    """Key -> name of the variable that set it."""

    def where(self, key: str) -> str:
        """The place that an error about `key` names."""
        return f"variable {self.variables[key]}" if key in self.variables else f"{self.file}: {self.header} {key}"


class Document(NamedTuple):
    """A parsed file; `file` is what error messages call it, `environ` the environment of the process."""

    file: str
    tables: Mapping[str, object]
    environ: Mapping[str, str]

    def table(self, name: str, struct: type[StructT]) -> tuple[StructT, Table]:
        """The table [name], empty if absent. ConfigError on a key or value that `struct` does not have."""
        values = self.tables.get(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{self.file}: {name} is a table that occurs once; write [{name}] above its keys")
        variables = {key: variable_name(name, key) for key in struct.__struct_fields__}
        given = {key: variable for key, variable in variables.items() if variable in self.environ}
        merged = values | {key: self.environ[variable] for key, variable in given.items()}
        table = Table(self.file, f"[{name}]", merged, given)
        return _convert(table, struct), table

    def list_of_tables(self, name: str, struct: type[StructT]) -> list[tuple[StructT, Table]]:
        """The tables [[name]] in the order of the file."""
        rows = self.tables.get(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ConfigError(f"{self.file}: {name} is a list of tables; write [[{name}]] above each one's keys")
        tables = [Table(self.file, f"[[{name}]] no. {number}:", row, {}) for number, row in enumerate(rows, start=1)]
        return [(_convert(table, struct), table) for table in tables]


def parse_document(text: str, *, file: str, environ: Mapping[str, str], known_tables: Sequence[str]) -> Document:
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of nested brackets.
        raise ConfigError(f"{file}: not valid TOML: {error}; correct it there") from error
    for name in tables:
        if name not in known_tables:
            raise ConfigError(f"{file}: there is no table {shortened(name)}; {nearest(name, known_tables)}")
    return Document(file, tables, environ)


def variable_name(table: str, key: str) -> str:
    return f"RAFTBOOK_{table}_{key}".upper()


def nearest(word: str, known: Sequence[str]) -> str:
    """What to do about an unknown `word`."""
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"do you mean {matches[0]}?" if matches else f"known are {', '.join(known)}"


def shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def format_value(value: object) -> str:
    """A string, number, boolean, or list of such as TOML."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(format_value(item) for item in value)}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's too, save that TOML wants DEL escaped as well.
        return msgspec.json.encode(str(value)).decode().replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _convert(table: Table, struct: type[StructT]) -> StructT:
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for key in table.values:
        if key not in fields:
            raise ConfigError(f"{table.where(key)}: there is no such key; {nearest(key, list(fields))}")
    converted: dict[str, object] = {}
    for key, field in fields.items():
        if key not in table.values:
            if field.required:
                raise ConfigError(f"{table.where(key)}: it is missing; {_advice(table, field)}")
            continue
        value = table.values[key]
        try:
            # A variable is always text; not strict means that text may stand for a number.
            converted[key] = msgspec.convert(value, field.type, strict=key not in table.variables)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"{table.where(key)}: expected {_expectation(field, error)}, not {shortened(value)}; "
                f"{_advice(table, field)}"
            ) from error
    return struct(**converted)


def _expectation(field: msgspec.structs.FieldInfo, error: msgspec.ValidationError) -> str:
    if isinstance(field.type, type) and issubclass(field.type, StrEnum):
        return " or ".join(format_value(member) for member in field.type)
    for meta in getattr(field.type, "__metadata__", ()):
        if meta.description is not None:
            return str(meta.description)
    # msgspec says "Expected `int` >= 1024", or "Expected `int`, got `str`".
    return str(error).removeprefix("Expected ").partition(", got ")[0].replace("`", "")


def _advice(table: Table, field: msgspec.structs.FieldInfo) -> str:
    has_default = field.default is not NODEFAULT and field.default is not None
    example = field.default if has_default else field.type.__metadata__[0].examples[0]
    if field.name in table.variables:
        return f"set it for instance to {example}"
    return f"write for instance {field.name} = {format_value(example)}"
