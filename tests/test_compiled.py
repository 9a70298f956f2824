"""The compiled engine: what is compiled, and that it is the same engine. CI runs this interpreted, without a compiler.

`make test-compiled` compiles it, and runs this and all other tests of the engine against what it made.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hatch_build
from raftbook.engine import is_compiled
from tests.engine.determinism import KEPT, SUBPROCESS_TIMEOUT_S

PROJECT_ROOT = Path(__file__).resolve().parent.parent
SOURCES = hatch_build.sources(PROJECT_ROOT)

CONSUMERS = {"all", "any", "dict", "list", "max", "min", "next", "set", "sorted", "sum", "tuple", "join"}


def test_the_engine_and_all_that_stands_between_it_and_the_log_is_compiled():
    modules = [*PROJECT_ROOT.glob("raftbook/engine/*.py"), *PROJECT_ROOT.glob("raftbook/codec/*.py")]
    assert {str(module.relative_to(PROJECT_ROOT)) for module in modules} <= {*SOURCES, *hatch_build.INTERPRETED}
    assert "raftbook/state_machine.py" in SOURCES
    assert all((PROJECT_ROOT / source).is_file() for source in SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_all_of_it_is_compiled_or_nothing_and_from_the_source_as_it_is(source):
    module = importlib.import_module(source.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    if not is_compiled():
        assert module.__file__ == str(PROJECT_ROOT / source)
        return
    assert Path(module.__file__).suffix == ".so"
    newest = (PROJECT_ROOT / source).stat().st_mtime
    assert newest <= compiled_at(), "its source was changed after `make compiled`: run it again, or `make interpreted`"


def compiled_at():
    (library,) = PROJECT_ROOT.glob("raftbook__mypyc*.so")
    return library.stat().st_mtime


@pytest.mark.parametrize("source", SOURCES)
def test_no_generator_is_meant_to_be_lazy(source):
    """mypyc makes a list of a generator expression, except where it knows the function that consumes it."""
    tree = ast.parse((PROJECT_ROOT / source).read_text())
    consumed = {
        id(call.args[0])
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and call.args
        if getattr(call.func, "id", getattr(call.func, "attr", None)) in CONSUMERS
    }
    lazy = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.GeneratorExp) and id(node) not in consumed]
    assert lazy == [], "write a function with yield, or a list"


@pytest.mark.skipif(not is_compiled(), reason="nothing is compiled here: `make test-compiled` does it first")
def test_the_compiled_engine_and_the_interpreted_one_come_to_the_same_digests():
    reports = [
        subprocess.run(
            [sys.executable, "-m", *modules],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=SUBPROCESS_TIMEOUT_S,
        ).stdout
        for modules in (["tests.engine.determinism"], ["tests.support.from_sources", "tests.engine.determinism"])
    ]
    assert reports == [KEPT.read_text()] * 2


def hook():
    return hatch_build.CompiledHook(str(PROJECT_ROOT), {}, None, None, "", "wheel")


@pytest.mark.parametrize("setting", [None, "", "0"])
def test_without_the_switch_a_wheel_is_of_python_alone_and_needs_no_compiler(monkeypatch, setting):
    monkeypatch.delenv(hatch_build.SWITCH, raising=False)
    if setting is not None:
        monkeypatch.setenv(hatch_build.SWITCH, setting)
    build_data = {"pure_python": True, "force_include": {}}
    hook().initialize("standard", build_data)
    assert build_data == {"pure_python": True, "force_include": {}}
    assert hook().dependencies() == []


def test_with_the_switch_it_needs_mypyc_and_what_the_engine_is_typed_with(monkeypatch):
    monkeypatch.setenv(hatch_build.SWITCH, "1")
    assert hook().dependencies() == hatch_build.REQUIRED
    with (PROJECT_ROOT / "pyproject.toml").open("rb") as file:
        pyproject = tomllib.load(file)
    assert set(hatch_build.REQUIRED) <= {*pyproject["project"]["dependencies"], *pyproject["dependency-groups"]["dev"]}
    assert pyproject["tool"]["cibuildwheel"]["environment"] == {hatch_build.SWITCH: "1"}


def test_a_switch_that_is_neither_on_nor_off_is_refused(monkeypatch):
    monkeypatch.setenv(hatch_build.SWITCH, "yes")
    with pytest.raises(ValueError, match="set it to 1"):
        hook().initialize("standard", {})
