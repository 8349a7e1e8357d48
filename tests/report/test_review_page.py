"""The page of a review as a person meets it: keys, buttons, and the table that is saved."""

import csv

import numpy as np
import pytest
from PIL import Image

from browsing import ARGUMENTS, opened, program
from twinset.report.index_page import write_review
from twinset.search.review import Question, Review


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    rng = np.random.default_rng(0)
    known = {}
    for name in ("a", 'b "quoted", <b>', "c", "d"):
        path = folder / f"{len(known)}.png"
        known[name] = {"label": "<script>", "path": str(path), "_stamp": "secret"}
        Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(path)
    known["d"] = {"path": str(folder / "gone.png")}
    a, b, c, d = known
    questions = (
        Question(a, b, 0.5, 0.25, "weakest link of its group: </script>", 0.75),
        Question(c, d, 0.25, 0.75, "near the threshold", 0.25),
        Question(a, d, 0.75, 0.125, "would join two groups", 0.125),
    )
    write_review(Review(questions, known, "label"), folder / "review.html", title="Doubts")
    return folder / "review.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_both_images_stand_side_by_side(browser, page_file, width, scheme):
    look = {"viewport": {"width": width, "height": 760}, "color_scheme": scheme}
    with opened(browser, page_file, **look) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        left, right = page.locator("#pair img").all()
        assert left.bounding_box()["y"] == right.bounding_box()["y"]
        assert left.bounding_box()["width"] > 150
        widths = "[...document.images].map(image => image.complete && image.naturalWidth)"
        assert page.evaluate(widths) == [256, 256]
        # all four buttons are within reach without scrolling
        last = page.locator("#undo").bounding_box()
        assert last["y"] + last["height"] <= 760
        assert "secret" not in page.content()
        assert "</script>" in page.locator("#why").text_content()


def test_keys_answer_skip_and_undo_and_the_table_is_saved(browser, page_file, tmp_path):
    with opened(browser, page_file) as page:
        page.keyboard.press("s")
        assert page.locator("#count").text_content() == "1 of 3 seen, 1 decided"
        page.keyboard.press("u")
        assert page.locator("#count").text_content() == "0 of 3 seen, 0 decided"
        page.keyboard.press("D")
        assert page.locator("#pair .none").text_content() == "d"  # whose image is gone
        page.keyboard.press(" ")
        page.keyboard.press("Control+s")  # the browser's own
        page.locator("#same").click()
        assert page.locator("#ask").text_content() == "All are seen. Save your decisions."
        assert page.locator("#same").is_disabled()
        page.keyboard.press("s")
        assert page.locator("#count").text_content() == "3 of 3 seen, 2 decided"
        with page.expect_download() as waiting:
            page.locator("#save").click()
        assert waiting.value.suggested_filename == "decisions.csv"
        waiting.value.save_as(tmp_path / "decisions.csv")
    rows = list(csv.DictReader((tmp_path / "decisions.csv").read_text("utf-8").splitlines()))
    assert [(row["left"], row["right"], row["same"]) for row in rows] == [
        ("a", 'b "quoted", <b>', "0"),
        ("c", "d", ""),
        ("a", "d", "1"),
    ]
    assert rows[1]["why"] == "near the threshold"


def test_answers_outlive_a_reload(browser, page_file, tmp_path):
    # A profile of its own, as people have one: what Chromium keeps in memory for `new_context`, it
    # forgets at the first reload, one time in twenty.
    with browser.browser_type.launch_persistent_context(
        tmp_path, executable_path=program(), args=ARGUMENTS, offline=True
    ) as context:
        (page,) = context.pages
        page.goto(page_file.as_uri())
        page.keyboard.press("s")
        page.reload()
        assert page.locator("#count").text_content() == "1 of 3 seen, 1 decided"
