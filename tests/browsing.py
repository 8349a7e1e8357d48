"""Pages as a person meets them: opened from disk, in a real browser without network."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Chromium draws its own bars, which nobody sees here, as web pages: a process for each tab.
    # This list replaces Playwright's, whose others these tests do not need.
    "--disable-features=InitialWebUI,WebUIReloadButton,WebUIToolbar,WebUISplitTabsButton,"
    "WebUILocationBar,WebUIOmniboxPopup,WebUIOmniboxAimPopup,PreloadTopChromeWebUI,"
    "HttpsUpgrades,MediaRouter,OptimizationHints,PaintHolding",
]


def program():
    """Where this machine has Chromium, if it has."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; the gate must have it."""
    if program() is None:
        assert not os.environ.get("CI"), f"Expected one of {BROWSERS} on this machine."
        pytest.skip(f"none of {BROWSERS} is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=program(), args=ARGUMENTS)
        yield found
        found.close()


@contextmanager
def opened(browser, path, **look):
    """Open a page, and insist on silence: no message, no error, no request for anything else."""
    context = browser.new_context(offline=True, **look)
    page = context.new_page()
    noise = []
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("dialog", lambda dialog: noise.append(dialog.message))
    page.on("requestfailed", lambda request: noise.append(request.url[:100]))
    address = path.as_uri()
    page.on(
        "request",
        lambda request: (
            request.url == address or request.url.startswith("data:") or noise.append(request.url)
        ),
    )
    try:
        page.goto(address)
        yield page
    finally:
        context.close()
    assert not noise, "\n".join(noise)
