"""The browser of the tests: Debian's chromium, driven by playwright."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.async_api import Browser, Playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")


class NoBrowserError(Exception):
    """There is no chromium; the message says what to do."""


async def launch(playwright: Playwright) -> Browser:
    """A browser without a window. Whatever it would fetch for itself goes nowhere."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        raise NoBrowserError(
            "the page is tested in a real browser, and there is no chromium on this machine: "
            "run .ci/install-browser (Debian: apt-get install chromium)"
        )
    options = [
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Which chromium asks of root, as CI is.
    return await playwright.chromium.launch(executable_path=path, args=options)
