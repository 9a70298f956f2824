"""What there is one of for each order, event or update has slots: a million dictionaries would double the book."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from enum import Enum

import pytest

import raftbook

PACKAGES = ("engine", "codec", "market_data", "feed", "intake", "json_format")
ONE_OF_A_KIND = {
    "Feed",  # One in a node,
    "Intake",  # and so is this;
    "_EveryTagRefused",  # one in a process;
    "_InPieces",  # one while a snapshot is read.
}


def classes_of(package: str) -> dict[str, type]:
    folder = importlib.import_module(f"{raftbook.__name__}.{package}")
    modules = [
        importlib.import_module(f"{folder.__name__}.{found.name}") for found in pkgutil.iter_modules(folder.__path__)
    ]
    return {
        name: found
        for module in modules
        for name, found in inspect.getmembers(module, inspect.isclass)
        if found.__module__ == module.__name__
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_its_values_have_no_dictionary(package):
    with_dictionary = {
        name
        for name, found in classes_of(package).items()
        if found.__dictoffset__ != 0
        and not issubclass(found, Enum | Exception)
        and not getattr(found, "_is_protocol", False)
    }
    assert with_dictionary <= ONE_OF_A_KIND


def test_the_exceptions_are_there():
    assert {name for package in PACKAGES for name in classes_of(package)} >= ONE_OF_A_KIND
