"""The served page as people meet it: headless Chromium, a desk and a phone, two languages."""

from __future__ import annotations

import re
import time
import weakref
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
PATIENCE_S = 8
LOOKS = pytest.mark.parametrize("look", [DESK, PHONE], ids=["desk-en", "phone-fr"])


# A tab of each look for each browser. To load the page is to ask for 86 files, which takes a second
# of a core; and a new tab compiles them anew.
_TABS = weakref.WeakKeyDictionary()
# To another view, as by a link; what was there is unmounted first, by way of an address of no view.
_LEAVE = """() => {
    const untouched = !localStorage.length && !sessionStorage.length;
    localStorage.clear();
    sessionStorage.clear();
    history.pushState(null, "", "/left");
    dispatchEvent(new PopStateEvent("popstate"));
    return untouched;
}"""
_GO = """(url) => {
    document.querySelector("h1").dataset.left = "";
    history.pushState(null, "", url);
    dispatchEvent(new PopStateEvent("popstate"));
}"""


@contextmanager
def visited(browser, url, *, noisy=False, kept=True, **look):
    """Open a page of the server, and insist on silence and on no request to anybody else.

    The next visit of this look goes on in the same tab: by a link, where nothing was stored and the
    server is the same. Not so without `kept`, for what a tab would remember, nor after a failure.
    """
    tabs = _TABS.setdefault(browser, {})
    name = tuple(sorted((key, str(value)) for key, value in look.items()))
    page = tabs.pop(name, None) if kept else None
    if page is None:
        page = browser.new_context(**(DESK | look)).new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
    host, noise, foreign = "/".join(url.split("/")[:3]), [], []
    heard = {
        "console": lambda message: _of_the_page(message.text) and noise.append(message.text),
        "pageerror": lambda error: noise.append(str(error)),
        "dialog": lambda dialog: noise.append(dialog.message),
        "request": lambda request: (
            request.url.startswith((host, "blob:", "data:")) or foreign.append(request.url)
        ),
    }
    for event, listen in heard.items():
        page.on(event, listen)
    try:
        if page.url == f"{host}/left":
            page.evaluate(_GO, url)
        else:
            page.goto(url)
        page.locator("h1:not([data-left])").wait_for()
        yield page
        if kept:
            untouched = page.evaluate(_LEAVE)
            page.locator("h1", has_text=re.compile("^(Not found|Introuvable)$")).wait_for()
            if noisy or not untouched:
                page.goto("about:blank")
    except BaseException:
        kept = False
        raise
    finally:
        for event, listen in heard.items():
            page.remove_listener(event, listen)
        if kept:
            tabs[name] = page
        else:
            page.context.close()
    assert not foreign, "\n".join(foreign)
    assert noisy or not noise, "\n".join(noise)


def until(page, holds, arg=None):
    """Wait until a script of the page comes out true.

    Not by `page.wait_for_function`: what is not true at once it asks again from within the page,
    where the page's own policy forbids to run a text (`EvalError`).
    """
    last = time.monotonic() + PATIENCE_S
    while not page.evaluate(holds, arg):
        assert time.monotonic() < last, f"not within {PATIENCE_S} s: {holds}"
        page.wait_for_timeout(20)


def _of_the_page(text):
    # software rendering complains about screenshots; axe about the report's frame, whose sandbox
    # has no origin that it could send its questions to
    return not ("due to ReadPixels" in text or "'postMessage' on 'DOMWindow'" in text)


def check(page):
    """Nothing wider than the window, no text left out, and axe content; each look has its theme."""
    assert not re.findall(r"^[a-z]+\.[a-z-]+$", page.inner_text("body"), re.MULTILINE)
    check_reading(page)


def check_reading(page, **options):
    """Nothing wider than the window, and axe content."""
    from axe_playwright_python.sync_playwright import Axe

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cut = page.locator(".badge, dialog[open], .card").evaluate_all(
        "all => all.filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText)"
    )
    assert not cut, cut
    # to find what else axe looked at takes half of its time
    options["resultTypes"] = ["violations"]
    found = Axe().run(page, options=options).response["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    told = [(each["id"], [node["target"] for node in each["nodes"]]) for each in grave]
    assert not told, told
