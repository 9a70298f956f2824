"""The commands of the documentation run as they stand on their pages, against real nodes."""

from __future__ import annotations

import itertools
import shutil

import pytest

from cli.local_cluster import PROJECT_FOLDER
from tests.support.documented_commands import reader, steps_of

PAGES = [("docs/quick-start.md", "docs/python-client.md", "docs/reference/websocket.md")]
"""Those of one row are read one after the other, by the same reader."""
ALL_READY = "for port in 8101 8102 8103; do curl -sf http://127.0.0.1:$port/readyz; done"


@pytest.mark.parametrize("pages", PAGES, ids=lambda pages: pages[0])
def test_pages_do_what_they_say(pages, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("the pages' examples use curl; install it (on Debian: apt-get install curl)")
    steps = {page: steps_of(PROJECT_FOLDER / page) for page in pages}
    for page, found in steps.items():
        assert found, f"{page} has no marked block; were its markers lost?"
    with reader(tmp_path / "reader") as reading:
        for how, following in itertools.groupby(itertools.chain(*steps.values()), lambda step: step.how):
            reading.follow_all(list(following))
            if how == "in the background":
                reading.wait_until(ALL_READY)
