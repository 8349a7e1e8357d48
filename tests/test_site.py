"""The documentation's site as `./task site` has built it: whole, searchable from disk, readable."""

import html
import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import twinset
from twinset import losses, networks
from visiting import DESK, PHONE, check_reading

pytestmark = pytest.mark.site

SITE = Path(__file__).parents[1] / "build/site"
# pages of one template: one of each kind stands for all
ALIKE = "reference/api/names/"
STANDING = {"twinset.Index", "twinset.fit", "twinset.losses.ProxyAnchor", "twinset.networks.conv"}
MADE = {"genindex.html", "search.html", "py-modindex.html"}
# the tutorial in French has the same code, in the same colours
COLOURED = {
    *("index.html", "benchmarks.html", "contributing.html", "tutorial/en.html"),
    f"{ALIKE}twinset.fit.html",
}

# of each kind of page one that has much of what may go wrong
PHONED = {
    *("index.html", "searching.html", "benchmarks.html", "search.html", "tutorial/fr.html"),
    *("how-to/find-duplicates.html", f"{ALIKE}twinset.fit.html"),
}
WEIGHT = 600_000  # bytes of a page with all that it loads, before any compression


@pytest.fixture(scope="module")
def pages():
    """The text of each page, by its path in the site."""
    found = {
        path.relative_to(SITE).as_posix(): path.read_text("utf-8") for path in SITE.rglob("*.html")
    }
    assert found, f"Expected the site in {SITE}: `./task site` builds it."
    return found


def test_each_link_and_anchor_leads_somewhere(pages):
    ids = {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in pages.items()}
    wrong = []
    for page, text in pages.items():
        for target in map(html.unescape, re.findall(r'\b(?:href|src)="([^"]+)"', text)):
            # 404.html is shown at any address; # alone is the top of a page
            if re.match(r"[a-z]+:", target) or page == "404.html" or target == "#":
                continue
            name, _, anchor = unquote(target).partition("#")
            path = (SITE / page).parent / name.partition("?")[0] if name else SITE / page
            place = path.resolve().relative_to(SITE).as_posix()
            if not path.is_file() or (anchor and anchor not in ids.get(place, ())):
                wrong.append(f"{page}: {target}")
    assert not wrong, "\n".join(wrong[:30])


def test_each_public_name_is_described_once(pages):
    public = {f"twinset.{name}" for name in twinset.__all__ if name not in ("losses", "networks")}
    for room in (losses, networks):
        public |= {f"{room.__name__}.{name}" for name in room.__all__ if not name.isupper()}
    described = Counter(
        name
        for text in pages.values()
        for name in re.findall(r'<dt class="sig[^"]*" id="(twinset\.[^"]+)"', text)
    )
    assert {name: described[name] for name in public} == dict.fromkeys(public, 1)
    assert max(described.values()) == 1


def test_each_page_says_what_it_is(pages):
    for page, text in pages.items():
        assert re.search(r'<html[^>]* lang="[a-z]{2}"', text), page
        assert page in MADE or len(re.findall("<h1", text)) == 1, page
        assert page in MADE or '<meta name="description"' in text, page
        assert not re.search(r"<img(?![^>]*\balt=\"[^\"])", text), page


def test_what_is_in_french_says_so(pages):
    """Around the page all is in English, and so are links to English pages."""
    text = pages["tutorial/fr.html"]
    assert '<html class="no-js" lang="fr"' in text
    assert text.index('<div lang="en"') < text.index("<header") < text.index('<div lang="fr">')
    assert re.search(r'<div lang="fr"><section[^>]*>\s*<h1>Le tutoriel', text)
    assert re.search(r'<span lang="en">In English: <a', text)
    assert '<span lang="fr">En français : <a' in pages["tutorial/en.html"]


@pytest.fixture(scope="module")
def tab(browser):
    """Make a tab that has no network; it closes with the module."""
    contexts = []

    def make(**look):
        contexts.append(browser.new_context(offline=True, **look))
        page = contexts[-1].new_page()
        page.set_default_timeout(8000)
        page.on("request", lambda request: foreign.append(request.url))
        return page

    foreign = []
    yield make
    for context in contexts:
        context.close()
    elsewhere = [url for url in foreign if not url.startswith(("file:", "data:"))]
    assert not elsewhere, elsewhere


_ON_A_PHONE = (Path(__file__).parent / "on_a_phone.js").read_text("utf-8")
_OPEN = """(name) => {
  const drawers = document.querySelectorAll("input.sidebar-toggle");
  for (const each of drawers) each.checked = each.id === name;
}"""


def test_the_search_finds_pages_from_disk(tab):
    page = tab(**DESK)
    for word, wanted in {
        "duplicates": "twinset.duplicates",
        "pgvector": "An index on a database server",
        "contrastive": "Which loss?",
    }.items():
        page.goto((SITE / "index.html").as_uri())
        page.locator("input[name=q]:visible").fill(word)
        page.keyboard.press("Enter")
        page.locator("#search-results li a").first.wait_for()
        page.locator(".search-summary", has_text="found").wait_for()
        found = page.locator("#search-results li a").all_inner_texts()
        assert any(wanted in title for title in found), (word, found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phones_and_screen_readers_can_read_it(tab, pages, scheme):
    """All pages but for colours, which axe takes long for, and those whose colours differ."""
    page, wrong = tab(**PHONE | {"color_scheme": scheme}), []
    for name in sorted(pages):
        colours = name in COLOURED
        alike = name.startswith(ALIKE) and Path(name).stem not in STANDING
        if not colours and (alike or scheme == "dark"):
            continue
        page.goto((SITE / name).as_uri())
        try:
            check_reading(page, rules={"color-contrast": {"enabled": colours}})
        except AssertionError as problem:
            wrong.append(f"{name}: {problem}"[:1000])
    assert not wrong, "\n".join(wrong[:30])


@pytest.mark.parametrize("name", sorted(PHONED))
def test_a_phone_shows_it_whole_and_fingers_hit(tab, name):
    """Each page, with its drawers closed and open, after one load: silent, light, no text jumps."""
    page, noise, loaded = tab(**PHONE), [], {}
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("response", lambda got: loaded.update({got.url: got}))
    page.goto((SITE / name).as_uri())
    files = {Path(unquote(urlsplit(url).path)) for url in loaded if url.startswith("file:")}
    assert 0 < sum(file.stat().st_size for file in files) < WEIGHT
    for width in (360, 390):
        page.set_viewport_size({"width": width, "height": 780})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    wrong = page.evaluate(_ON_A_PHONE)
    page.add_style_tag(content="* { transition: none !important; }")
    for drawer in ("__navigation", "__toc"):
        page.evaluate(_OPEN, drawer)
        wrong += [f"{drawer} {each}" for each in page.evaluate(_ON_A_PHONE)]
    page.context.close()
    assert (wrong, noise) == ([], [])
