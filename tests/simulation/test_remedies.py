"""Each remedy switched off is found out by the seed that DESIGN.md names, and nothing is found with all of them on."""

from __future__ import annotations

from pathlib import Path

import pytest

import raftbook.simulation
from raftbook.simulation.life import live
from raftbook.simulation.remedies import REMEDIES, REMEDY_STEPS, as_markdown, find, shows, without
from tests.support.compiled import skip_if_machine_code

DESIGN = Path(raftbook.simulation.__file__).with_name("DESIGN.md")


def seeds_of_the_table() -> dict[str, int]:
    rows = [line.split("|") for line in DESIGN.read_text().splitlines() if line.startswith("| ")]
    return {cells[1].strip(): int(cells[3]) for cells in rows if cells[3].strip().isdecimal()}


SEEDS = seeds_of_the_table()


def test_the_table_has_a_seed_for_every_remedy():
    assert SEEDS.keys() == {remedy.name for remedy in REMEDIES}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda remedy: remedy.name)
def test_without_it_that_seed_breaks_the_promise(remedy):
    skip_if_machine_code(remedy.owner)
    assert shows(remedy, SEEDS[remedy.name]) is not None


@pytest.mark.timeout(300)
def test_with_it_none_of_those_seeds_does():
    for seed in sorted(set(SEEDS.values())):
        live(seed, steps=REMEDY_STEPS)


def test_a_remedy_is_on_again_afterwards():
    for remedy in REMEDIES:
        present = vars(remedy.owner)[remedy.attribute]
        with without(remedy):
            assert vars(remedy.owner)[remedy.attribute] is remedy.fault
        assert vars(remedy.owner)[remedy.attribute] is present


def test_one_that_another_makes_superfluous_is_switched_off_with_that():
    for remedy in REMEDIES:
        if remedy.besides is not None:
            other = remedy.besides
            present = vars(other.owner)[other.attribute]
            with without(remedy):
                assert vars(other.owner)[other.attribute] is other.fault
            assert vars(other.owner)[other.attribute] is present
    assert any(remedy.besides is not None for remedy in REMEDIES)


def test_a_search_in_vain_says_so():
    remedy = REMEDIES[0]._replace(fault=vars(REMEDIES[0].owner)[REMEDIES[0].attribute])
    finding = find(remedy, max_seeds=1)
    assert (finding.seed, finding.tried) == (None, 1)
    assert "none of 1" in as_markdown([finding])
