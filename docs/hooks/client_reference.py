"""The reference of the Python client, from its signatures, types and docstrings."""

from __future__ import annotations

import inspect
import re
import typing
from typing import TYPE_CHECKING, Any, Final

import raftbook.client

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST: Final = ("RaftbookClient", "connect", "SyncClient")
_LINE_LENGTH: Final = 90


def render() -> str:
    """The clients, what they give, and the documents that nodes answer with."""
    things = dict(public_names())
    documents = {name: thing for name, thing in things.items() if typing.is_typeddict(thing)}
    clients = {name: things[name] for name in _FIRST}
    others = {name: thing for name, thing in things.items() if name not in documents and name not in clients}
    lines: list[str] = []
    for title, group in (("Clients", clients), ("What they give", others), ("Documents", documents)):
        lines += [f"## {title}", ""]
        lines += [line for name, thing in group.items() for line in _section(name, thing)]
    return "\n".join(lines)


def public_names() -> list[tuple[str, Any]]:
    """The classes and functions that `raftbook.client` offers."""
    things = [(name, getattr(raftbook.client, name)) for name in raftbook.client.__all__]
    return [(name, thing) for name, thing in things if inspect.isclass(thing) or inspect.isfunction(thing)]


def _section(name: str, thing: Any) -> Iterator[str]:
    yield from (f"### {name}", "")
    if not inspect.isclass(thing):
        yield from (_signature(name, thing), "", _words(thing), "")
    elif typing.is_typeddict(thing) or issubclass(thing, tuple):
        yield from (_words(thing), "", *_fields(thing), "")
    else:
        yield from (_signature(name, thing.__init__), "", _words(thing), "")
    if inspect.isclass(thing):
        for member_name, member in vars(thing).items():
            yield from _member(f"{name}.{member_name}", member_name, member)


def _member(title: str, name: str, member: Any) -> Iterator[str]:
    function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    if name.startswith("_"):
        return
    if isinstance(function, property):
        yield from (f"#### {title}", "", _words(function), "")
    elif inspect.isfunction(function):
        yield from (f"#### {title}", "", _signature(name, function), "", _words(function), "")


def _fields(thing: Any) -> list[str]:
    """Of a document, or of a named tuple; `?` at a key that is not always there."""
    optional = getattr(thing, "__optional_keys__", frozenset())
    rows = [
        f"| `{name}`{' ?' if name in optional or _of(hint).startswith('NotRequired') else ''} | `{_bare(_of(hint))}` |"
        for name, hint in inspect.get_annotations(thing).items()
    ]
    return ["| | |", "|---|---|", *(row.replace(" | None", " or None") for row in rows)]


def _of(hint: Any) -> str:
    return str(getattr(hint, "__forward_arg__", hint))


def _bare(annotation: str) -> str:
    return re.sub(r"^NotRequired\[(.*)\]$", r"\1", annotation)


def _signature(name: str, function: Any) -> str:
    """As it stands in the code, without `self`; each parameter on a line of its own where it is long."""
    signature = inspect.signature(function)
    parameters = []
    star = False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            star = True
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            parameters.append("*")
        parameters.append(_parameter(parameter))
    returns = signature.return_annotation
    is_told = returns not in (inspect.Signature.empty, "None") and not name[0].isupper()
    arrow = f" -> {_of(returns)}" if is_told else ""
    start = ("async " if inspect.iscoroutinefunction(function) else "") + name
    shown = f"{start}({', '.join(parameters)}){arrow}"
    if len(shown) > _LINE_LENGTH:
        shown = f"{start}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){arrow}"
    return f"```python\n{shown}\n```"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    annotation = "" if parameter.annotation is parameter.empty else f": {_of(parameter.annotation)}"
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{stars}{parameter.name}{annotation}{default}"


def _words(thing: Any) -> str:
    """The docstring; what is indented in it is code in Markdown too, but for what it raises, which is a list."""
    text = inspect.cleandoc(inspect.getdoc(thing) or "") if thing.__doc__ else ""
    head, raises, told = text.partition("\nRaises:\n")
    if not raises:
        return text
    items = re.sub(r"(?m)^ {4}(\w+): ", r"- `\1`: ", told)
    return f"{head}\n\nRaises\n\n{re.sub(r'(?m)^ {8}', '  ', items)}"
