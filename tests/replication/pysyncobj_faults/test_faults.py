"""The table of faults is whole: every fault has its scenario, every scenario its test, and every fault its remedy."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.replication.pysyncobj_faults.faults import FAULTS

FOLDER = Path(__file__).parent
TESTS = FOLDER.parents[1]
ROW_COUNT = 22


def scenarios_of_the_stock_library() -> set[str]:
    """Every function that returns an Outcome."""
    return {
        f"{path.stem}.{node.name}"
        for path in FOLDER.glob("stock_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id == "Outcome"
    }


def scenarios_that_are_run() -> set[str]:
    constants = {
        node.value
        for path in FOLDER.glob("test_*.py")
        if path != Path(__file__)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {constant for constant in constants if constant.startswith("stock_")}


def has_test(test_id: str) -> bool:
    file, *names = test_id.split("::")
    path = TESTS / file
    body: list[ast.stmt] = ast.parse(path.read_text()).body if path.is_file() else []
    for name in names:
        found = [node for node in body if getattr(node, "name", None) == name]
        if not found or isinstance(found[0], ast.ClassDef) != (name != names[-1]):
            return False
        body = getattr(found[0], "body", [])
    return bool(body) and names[-1].startswith("test_")


def test_every_row_is_shown():
    assert sorted({fault.row for fault in FAULTS}) == list(range(1, ROW_COUNT + 1))
    assert [fault.row for fault in FAULTS] == sorted(fault.row for fault in FAULTS)


def test_every_scenario_stands_once_in_the_table_and_is_run():
    in_table = [scenario for fault in FAULTS for scenario in fault.scenarios]
    assert all(fault.scenarios for fault in FAULTS)
    assert sorted(in_table) == sorted(scenarios_of_the_stock_library())
    assert set(in_table) == scenarios_that_are_run()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.row}-{fault.scenarios[0].partition('.')[2]}")
def test_every_fault_has_tests_of_raftbook(fault):
    assert fault.raftbook
    missing = [test_id for test_id in fault.raftbook if not has_test(test_id)]
    assert missing == [], "not there (any more); point to the tests that replaced them"
