"""The page as people meet it: a real server, headless Chromium, a desk and a phone, two languages."""

from __future__ import annotations

import gzip
import re
from contextlib import contextmanager
from pathlib import Path

import pytest

import twinset.server

PAGE = Path(twinset.server.__file__).parent / "page"
SOURCES = sorted(path for path in PAGE.rglob("*.js") if "vendor" not in path.parts)
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
    page.on("console", lambda message: noise.append(message.text))
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
    """Nothing wider than the window, no text left out, and axe content in both themes."""
    from axe_playwright_python.sync_playwright import Axe

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not re.findall(r"^[a-z]+\.[a-z-]+$", page.inner_text("body"), re.MULTILINE)
    for _ in range(2):
        found = Axe().run(page).response["violations"]
        grave = [each for each in found if each["impact"] in ("serious", "critical")]
        told = [(each["id"], [node["target"] for node in each["nodes"]]) for each in grave]
        assert not told, told
        page.locator(".tools > .button").click()  # the other theme


def give(page, home, *rows):
    """Pick files for a place that takes images."""
    files = [home / "photos" / f"{row:02}.png" for row in rows]
    page.locator("input[type=file]:not([capture])").first.set_input_files(files)


@LOOKS
def test_comparing(browser, server, home, look):
    french = look is PHONE
    with visited(browser, f"{server.url}/compare", **look) as page:
        give(page, home, 0, 1)  # two at once fill both places
        verdict = page.locator(".verdict.different .voice")
        verdict.wait_for()
        assert verdict.inner_text() == (
            "Les deux images montrent des choses différentes."
            if french
            else "The two images show different things."
        )
        page.get_by_role("slider").focus()
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        page.wait_for_url(re.compile(r"[?&]prior=0\.909"))  # odds of ten to one
        assert "91" in page.get_by_role("slider").get_attribute("aria-valuetext")
        check(page)
        away = "Retirer : Première" if french else "Take away: First"
        page.get_by_role("button", name=away).click()
        page.get_by_text("encore une image" if french else "one more image").wait_for()


def test_the_probability_is_that_of_python_at_any_prior(browser, server):
    pair = "left=items/00&right=items/04"
    data = {"left_item": "items/00", "right_item": "items/04", "prior": "0.02"}
    told = server.http.post("/api/v1/compare", data=data).json()
    with visited(browser, f"{server.url}/compare?{pair}&prior=0.02") as page:
        shown = page.locator(".big").inner_text()
        page.locator(".verdict.same").wait_for()
    assert float(shown.strip("<>% ")) == pytest.approx(100 * told["probability"], abs=0.51)


@LOOKS
def test_the_report(browser, server, look):
    with visited(browser, f"{server.url}/report", **look) as page:
        assert page.locator(".table tbody tr").count() == 1 + len(
            server.http.get("/api/v1/model").json()["alternatives"]
        )
        check(page)


def test_by_keyboard_alone(browser, server):
    with visited(browser, f"{server.url}/compare") as page:
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "Skip to the content"
        for _ in range(9):
            page.keyboard.press("Tab")
            if page.locator(":focus").inner_text() == "Report":
                break
        page.keyboard.press("Enter")
        page.wait_for_url("**/report")
        # the heading is read, and named in the tab
        assert page.locator("h1:focus").inner_text() == "What this model is, and how well it does"
        assert page.title() == "Report · twinset"
        page.go_back()
        assert page.locator("h1:focus").inner_text() == "Do these two show the same?"
        page.reload()
        assert page.title() == "Compare · twinset"


def test_language_and_theme_are_kept_and_a_link_brings_its_own(browser, server):
    with visited(browser, f"{server.url}/report") as page:
        page.get_by_role("button", name="Français").click()
        page.get_by_role("button", name="Passer en sombre").click()
        page.reload()
        page.get_by_role("button", name="Passer en clair").wait_for()
        assert page.locator("html").get_attribute("lang") == "fr"
        page.goto(f"{server.url}/report?lang=en")
        assert page.locator("h1").inner_text() == "What this model is, and how well it does"


def test_a_cut_network_is_said_and_can_be_tried_again(browser, server, home):
    with visited(browser, f"{server.url}/compare", noisy=True) as page:
        page.context.set_offline(True)
        give(page, home, 0, 4)
        page.get_by_role("alert").get_by_text("The server cannot be reached").wait_for()
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again").first.click()
        page.locator(".verdict.same").wait_for()


def test_what_is_no_image_is_said_in_the_server_s_words(browser, server):
    with visited(browser, f"{server.url}/compare", noisy=True) as page:
        lie = {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"}
        page.locator("input[type=file]:not([capture])").first.set_input_files([lie, lie])
        page.get_by_role("alert").get_by_text("Expected").wait_for()


def test_every_text_is_there_in_both_languages():
    texts = (PAGE / "texts.js").read_text("utf-8")
    keys = re.findall(r'^  (?:"([\w. -]+)"|(\w+)): \[', texts, re.MULTILINE)
    keys = [first or second for first, second in keys]
    assert len(keys) == len(set(keys))
    code = "\n".join(path.read_text("utf-8") for path in SOURCES if path.name != "texts.js")
    used = set(re.findall(r'\bt\("([\w. -]+)"', code))
    assert used <= set(keys), used - set(keys)
    made = re.findall(r"\bt\(`([\w.]+)\$", code)  # t(`verdict.${word}`)
    unused = {key for key in keys if f'"{key}"' not in code and not key.startswith(tuple(made))}
    assert all(key.startswith("rule.") for key in unused), unused


def test_all_assets_are_small_and_none_is_elsewhere():
    files = [path for path in PAGE.rglob("*") if path.is_file()]
    size = sum(len(gzip.compress(path.read_bytes())) for path in files)
    assert size <= 400_000
    for path in SOURCES + sorted(PAGE.rglob("*.css")):
        found = re.findall(r"(?:https?:)?//[\w.-]+\.\w{2,}", path.read_text("utf-8"))
        assert not found, (path, found)
    for library in ("fonts/newsreader", "fonts/instrument-sans"):
        assert (PAGE / f"{library}-OFL.txt").is_file()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_modules_are_small(path):
    if path.name != "texts.js":  # a list
        assert len(path.read_text("utf-8").splitlines()) <= 250
