"""The first lives of dense commands, a test for each: soon done, so `make mutants` can afford them for every mutant."""

from __future__ import annotations

import pytest

from tests.engine.against_naive_book import COMMANDS_PER_LIFE, live


@pytest.mark.parametrize("seed", range(1, 13))
def test_the_engine_does_what_the_naive_book_does_in_a_life(seed):
    assert live(seed).commands >= COMMANDS_PER_LIFE
