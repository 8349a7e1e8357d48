"""The page as a person meets it: opened from disk, in a browser without network."""

import json

import numpy as np
import pytest

from browsing import opened
from twinset import figures
from twinset.figures import LayerRow
from twinset.metrics.pairs import score_pairs
from twinset.report.page import Picture
from twinset.report.run_report import Report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 28, 28), dtype=np.uint8)
    same = np.arange(400) % 2
    distances = rng.uniform(0.0, 1.4, 400) - 0.35 * same + 0.35
    scores = score_pairs(distances, same, 0.7)
    drawings = {
        "ten_test_pairs": figures.pairs(
            images,
            images[::-1],
            same[:10],
            distances=distances[:10],
            threshold=0.7,
            titles=["Ankle boot / T-shirt/top"] * 10,
        ),
        "loss": figures.loss_curve([1, 2, 3], [0.3, 0.2, 0.1]),
        "distances": figures.distance_histogram(distances, same, 0.7),
        "network": figures.network([LayerRow("dense", "Dense", (128,), 100_480)], heading="MLP"),
    }
    pictures = tuple(
        Picture(name, "What one sees in it.", figures.png_bytes(figure))
        for name, figure in drawings.items()
    )
    digest = {"digest": "0123456789abcdef" * 4, "name_without_any_place_to_break_" * 4: 1}
    report = Report(
        "twinset run: " + "W" * 80, scores, scores, "fixed.", pictures, {"data": digest}
    )
    folder = tmp_path_factory.mktemp("report")
    report.write_html(folder / "report.html")
    report.write_json(folder / "report.json")
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_page_fits_and_shows_every_picture(browser, folder, width, scheme):
    look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with opened(browser, folder / "report.html", **look) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        beyond = """[...document.querySelectorAll("main *")]
            .filter(element => element.getBoundingClientRect().right > innerWidth)
            .map(element => element.outerHTML.slice(0, 80))"""
        assert page.evaluate(beyond) == []
        widths = "[...document.images].map(image => image.complete && image.naturalWidth)"
        assert len(page.evaluate(widths)) == 4
        assert all(page.evaluate(widths))


def test_headline_is_the_accuracy_of_the_json(browser, folder):
    accuracy = json.loads((folder / "report.json").read_text())["scores"]["accuracy"]
    with opened(browser, folder / "report.html") as page:
        headline = page.locator(".headline")
        assert headline.text_content() == f"Accuracy on test set: {accuracy:.2%}"
        assert headline.locator("data").get_attribute("value") == str(accuracy)


def test_dark_mode_changes_the_page_and_print_does_not_follow_it(browser, folder):
    background = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, folder / "report.html", color_scheme="dark") as page:
        dark = page.evaluate(background)
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(background) == "rgb(255, 255, 255)" != dark


def test_no_picture_is_cut_in_print(browser, folder):
    with opened(browser, folder / "report.html") as page:
        page.emulate_media(media="print")
        rules = "[...document.querySelectorAll('figure')].map(f => getComputedStyle(f).breakInside)"
        assert page.evaluate(rules) == ["avoid"] * 4
        # A4 less margins of 16 mm, at 96 pixels to the inch
        assert (
            page.evaluate("Math.max(...[...document.images].map(i => i.height))") < 265 / 25.4 * 96
        )
        assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize(
    ("loud", "heard"),
    [("<script>console.log('hello')</script>", "hello"), ("<img src='near.png'>", r"near\.png")],
)
def test_silence_is_really_heard(browser, tmp_path, loud, heard):
    (tmp_path / "report.html").write_text(loud)
    with pytest.raises(AssertionError, match=heard), opened(browser, tmp_path / "report.html"):
        pass
