"""The served page as people meet it: headless Chromium, a desk and a phone, two languages."""

from __future__ import annotations

import re
from contextlib import contextmanager

import pytest

DESK = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light", "locale": "en-GB"}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "color_scheme": "dark",
    "locale": "fr-FR",
    "is_mobile": True,
    "has_touch": True,
}
LOOKS = pytest.mark.parametrize("look", [DESK, PHONE], ids=["desk-en", "phone-fr"])


@contextmanager
def visited(browser, url, *, noisy=False, **look):
    """Open a page of the server, and insist on silence and on no request to anybody else."""
    context = browser.new_context(**(DESK | look))
    page = context.new_page()
    page.set_default_timeout(8000)
    host, noise = "/".join(url.split("/")[:3]), []
    # software rendering complains about screenshots, not about the page
    page.on(
        "console",
        lambda message: "due to ReadPixels" in message.text or noise.append(message.text),
    )
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("dialog", lambda dialog: noise.append(dialog.message))
    foreign = []
    page.on(
        "request",
        lambda request: (
            request.url.startswith((host, "blob:", "data:")) or foreign.append(request.url)
        ),
    )
    try:
        page.goto(url)
        page.locator("h1").wait_for()
        yield page
    finally:
        context.close()
    assert not foreign, "\n".join(foreign)
    assert noisy or not noise, "\n".join(noise)


def check(page):
    """Nothing wider than the window, no text left out, and axe content; each look has its theme."""
    from axe_playwright_python.sync_playwright import Axe

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not re.findall(r"^[a-z]+\.[a-z-]+$", page.inner_text("body"), re.MULTILINE)
    found = Axe().run(page).response["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    told = [(each["id"], [node["target"] for node in each["nodes"]]) for each in grave]
    assert not told, told
