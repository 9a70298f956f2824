"""The configuration reference, from the structs that the program reads a configuration into.

Type, default and bounds stand at each field; what it is for, in the docstring under the field, in the comment above it,
which holds for all the fields up to the next empty line, or in the docstring of its struct.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
import types
import typing
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from raftbook.engine.types import MAX_INTEGER
from raftbook.node.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator


def render() -> str:
    """Each table of the file as a section."""
    return "\n".join(_section(header, struct) for header, struct in tables())


def tables() -> Iterator[tuple[str, type[Struct]]]:
    """`[cluster]`, `[[nodes]]`, …, each with what it is read into, in the order of the configuration."""
    hints = typing.get_type_hints(Config)
    for name in Config.__struct_fields__:
        struct = hints[name]
        if isinstance(struct, type) and issubclass(struct, Struct):
            yield f"[{name}]", struct
        else:
            yield f"[[{name}]]", typing.get_args(struct)[0]


def _section(header: str, struct: type[Struct]) -> str:
    lines = [f"## {header}", "", inspect.cleandoc(_marked_up(struct.__doc__ or "")), ""]
    hints = typing.get_type_hints(struct, include_extras=True)
    source = _Source(struct)
    fields = msgspec.structs.fields(struct)
    for comment, group in itertools.groupby(fields, lambda field: source.comments.get(field.name, "")):
        lines += [comment, ""] if comment else []
        lines += ["| key | type | default | |", "|---|---|---|---|"]
        for field in group:
            hint = hints[field.name]
            words = [source.docstrings.get(field.name, ""), *_members(hint), *_bounds(hint)]
            explained = _in_cell(" ".join(word for word in words if word))
            lines.append(f"| `{field.encode_name}` | {_type(hint)} | {_default(field)} | {explained} |")
        lines.append("")
    return "\n".join(lines)


class _Source:
    """What the source of a class says of each of its members: below it, and above it."""

    def __init__(self, owner: type) -> None:
        self.docstrings: dict[str, str] = {}
        self.comments: dict[str, str] = {}
        source = textwrap.dedent(inspect.getsource(owner))
        lines = source.splitlines()
        body = ast.parse(source).body[0]
        assert isinstance(body, ast.ClassDef)
        for node, following in zip(body.body, [*body.body[1:], None], strict=True):
            target = node.target if isinstance(node, ast.AnnAssign) else None
            target = node.targets[0] if isinstance(node, ast.Assign) else target
            if not isinstance(target, ast.Name):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                self.docstrings[target.id] = _one_line(str(following.value.value))
            self.comments[target.id] = _one_line(_comment_above(lines, node.lineno - 1))


def _members(hint: Any) -> Iterator[str]:
    """What an enumeration and each of its members mean."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        yield _one_line(hint.__doc__ or "")
        docstrings = _Source(hint).docstrings
        yield from (f'`"{member.value}"`: {docstrings[member.name]}' for member in hint if member.name in docstrings)


def _comment_above(lines: list[str], line: int) -> str:
    """The comment that heads the paragraph in which the line stands."""
    while line > 0 and lines[line - 1].strip():
        line -= 1
    comment = []
    while lines[line].strip().startswith("#"):
        comment.append(lines[line].strip().lstrip("# "))
        line += 1
    return " ".join(comment)


def _type(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _type(typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(member) for member in typing.get_args(hint) if member is not type(None))
    if origin in (tuple, list):
        return f"list of {_type(typing.get_args(hint)[0])}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(f'`"{member.value}"`' for member in hint)
    return {str: "text", int: "integer", float: "number", bool: "`true` or `false`"}.get(hint, f"`{hint}`")


def _bounds(hint: Any) -> Iterator[str]:
    """What the annotations of a type allow, in words."""
    for meta in _metas(hint):
        if meta.description:
            yield f"{meta.description[0].upper()}{meta.description[1:]}."
        if meta.ge is not None and meta.le not in (None, MAX_INTEGER):
            yield f"{meta.ge:,} to {meta.le:,}."
        elif meta.ge is not None:
            yield f"At least {meta.ge:,}."
        if meta.examples:
            yield f"Such as `{_toml(meta.examples[0])}`."


def _metas(hint: Any) -> Iterator[Meta]:
    if typing.get_origin(hint) is Annotated:
        yield from (extra for extra in typing.get_args(hint)[1:] if isinstance(extra, Meta))
    for member in typing.get_args(hint):
        if not isinstance(member, Meta):
            yield from _metas(member)


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is not NODEFAULT:
        return "" if field.default is None else f"`{_toml(field.default)}`"
    if field.default_factory is not NODEFAULT:
        made = field.default_factory()
        return f"`{_toml(made)}`" if made not in ((), [], None) else ""
    return "required"


def _toml(value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _one_line(text: str) -> str:
    return _marked_up(re.sub(r"\s+", " ", text).strip())


def _marked_up(text: str) -> str:
    """`None` is a word of the program; in a file a key is left out instead."""
    return text.replace("all that has a default of None", "all that has no default")


def _in_cell(text: str) -> str:
    """Bars of the prose are escaped; those within code are no borders of a cell."""
    return "`".join(part if index % 2 else part.replace("|", "\\|") for index, part in enumerate(text.split("`")))
