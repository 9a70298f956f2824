"""The reference of the Python client, from its signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import raftbook.client

if TYPE_CHECKING:
    from collections.abc import Iterator


def render() -> str:
    """Each public class with its public methods, and each public function."""
    return "\n".join(line for name, thing in public_names() for line in _section(name, thing))


def public_names() -> list[tuple[str, Any]]:
    """What `raftbook.client` defines and shows."""
    module = raftbook.client
    names = getattr(module, "__all__", None) or [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    ]
    things = [(name, getattr(module, name)) for name in names]
    return [(name, thing) for name, thing in things if inspect.isclass(thing) or inspect.isfunction(thing)]


def _section(name: str, thing: Any) -> Iterator[str]:
    yield from (f"## {name}", "")
    if not inspect.isclass(thing):
        yield from (_signature(name, thing), _words(thing), "")
        return
    if not issubclass(thing, tuple):
        yield from (_signature(name, thing.__init__), "")
    yield from (_words(thing), "")
    for member_name, member in vars(thing).items():
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if isinstance(function, property):
            yield from (f"#### {name}.{member_name}", "", _words(function), "")
        elif not member_name.startswith("_") and inspect.isfunction(function):
            yield from (f"#### {name}.{member_name}", "", _signature(member_name, function), "", _words(function), "")


def _signature(name: str, function: Any) -> str:
    """As it stands in the code, without `self`; on lines of its own for each parameter where it is long."""
    signature = inspect.signature(function)
    parameters = [parameter for parameter in signature.parameters.values() if parameter.name not in ("self", "cls")]
    returns = signature.return_annotation
    arrow = "" if returns in (inspect.Signature.empty, "None") or name[0].isupper() else f" -> {returns}"
    shown = str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    shown = re.sub(r": '([^']*)'", r": \1", shown)
    start = ("async " if inspect.iscoroutinefunction(function) else "") + name
    if len(start + shown + arrow) > 90:
        inner = shown[1:-1]
        # Commas between parameters, not those within the brackets of a type.
        shown = "(\n    " + re.sub(r", (?=[*\w]+(?::|,|\)|$|=))(?![^\[]*\])", ",\n    ", inner) + ",\n)"
    return f"```python\n{start}{shown}{arrow.replace(chr(39), '')}\n```"


def _words(thing: Any) -> str:
    """The docstring; what is indented in it is code in Markdown too."""
    return inspect.cleandoc(thing.__doc__ or "")
