"""The engine as extension modules: the same Python source, through mypyc.

    make compiled                        beside the sources of this checkout, which are then not read any more
    RAFTBOOK_COMPILED=1 pip wheel .      in a wheel; [tool.cibuildwheel] in pyproject.toml has one for each Python

Without RAFTBOOK_COMPILED a wheel is of Python alone, and nobody needs a compiler.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILED: Final = (
    "raftbook/codec",
    "raftbook/engine",
    "raftbook/state_machine.py",
    "raftbook/intake/intake.py",
    # An order's way in and its report's way out.
    "raftbook/json_format/fields.py",
    "raftbook/json_format/hot_forms.py",
    "raftbook/json_format/numbers.py",
    "raftbook/json_format/report_text.py",
    "raftbook/json_format/views.py",
    "raftbook/gateway/stream_commands.py",
    "raftbook/gateway/stream_connection.py",
    "raftbook/gateway/websocket_frames.py",
    "raftbook/node/client_frames.py",
    "raftbook/node/publisher.py",
)
"""Folders, whose modules are all compiled, and files. They become one library, in which calls are those of C."""

INTERPRETED: Final = ("raftbook/engine/events.py", "raftbook/engine/turns.py")
"""What stays Python among them. Events are msgspec structs, C as they are, and mypyc drops a class's options. What
machine code calls to let other threads have their turn has to be Python."""

SWITCH: Final = "RAFTBOOK_COMPILED"

BUILD_FOLDER: Final = "build/compiled"

REQUIRED: Final = ["mypy[mypyc]>=1.16", "cbor2>=6.2", "msgspec>=0.20"]
"""mypyc, and what the modules import that has types: what mypyc knows the type of, it compiles to less."""


def sources(root: Path) -> list[str]:
    """The files to compile, relative to `root`."""
    files: list[Path] = []
    for name in COMPILED:
        path = root / name
        files += sorted(path.glob("*.py")) if path.is_dir() else [path]
    names = [str(file.relative_to(root)) for file in files]
    return [name for name in names if name not in INTERPRETED]


def build(root: Path, folder: Path) -> list[Path]:
    """Compile into `folder`, and return the extension modules there. Takes a minute or two."""
    # Imported here: a wheel of Python alone is built without them.
    from mypyc.build import mypycify  # noqa: PLC0415
    from setuptools import Distribution  # type: ignore[import-untyped]  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # type: ignore[import-untyped]  # noqa: PLC0415

    os.chdir(root)
    temporary = root / BUILD_FOLDER
    extensions = mypycify(
        sources(root), opt_level="3", debug_level="0", group_name="raftbook", target_dir=str(temporary)
    )
    command = build_ext(Distribution({"name": "raftbook", "ext_modules": extensions}))
    command.build_lib = str(folder)
    command.build_temp = str(temporary / "objects")
    command.ensure_finalized()
    command.run()
    return [Path(output) for output in command.get_outputs()]


class CompiledHook(BuildHookInterface[Any]):
    """Puts the extension modules into a wheel that is to have them."""

    def dependencies(self) -> list[str]:
        return REQUIRED if self._is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or not self._is_wanted():
            return  # An editable install is this folder, where `make compiled` builds them.
        root = Path(self.root)
        folder = root / BUILD_FOLDER / "wheel"
        modules = build(root, folder)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] |= {str(module): str(module.relative_to(folder)) for module in modules}

    def _is_wanted(self) -> bool:
        """Raises ValueError for a switch that is neither on nor off."""
        setting = os.environ.get(SWITCH, "")
        if setting not in ("", "0", "1"):
            raise ValueError(f"{SWITCH} is {setting!r}; set it to 1 to compile the engine, to 0 or not at all for none")
        return setting == "1"


if __name__ == "__main__":
    checkout = Path(__file__).resolve().parent
    for module in build(checkout, checkout):
        print(module.relative_to(checkout))  # noqa: T201 (says what was built)
