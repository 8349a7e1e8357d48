"""The page of an evaluation: every number is the JSON's, and a browser shows it in silence."""

import copy
import html
import json
import re

import numpy as np
import pytest

import twinset
from browsing import opened
from twinset import assessment, assessment_pictures, holdout
from twinset.errors import DataError
from twinset.evaluate.evaluation_page import to_html, write_page
from twinset.evaluate.report import Picture

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }} & $x$")
QUICK = {"encoder": {"units": [16, 8]}, "batch_size": 16, "epochs": 8}


def shades(seed, name="shades"):
    """Three gray levels with noise: easy, but not perfect."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), 20)
    images = np.clip(rng.normal(60 + 45 * labels[:, None, None], 25, (60, 5, 4)), 0, 255)
    return twinset.LabelledImages(images.astype(np.uint8), labels, HOSTILE, name)


@pytest.fixture(scope="module")
def made():
    """A calibrated model's assessment, the same without calibration, and the pictures."""
    fitted = twinset.fit(shades(0), **QUICK)
    model, test = holdout.calibrated(fitted, shades(1)), shades(2, "<b>test</b>")
    found = assessment.evaluate(model, test, fitted=shades(0), near=[(0, 1)])
    plain = assessment.evaluate(fitted, test, baselines=False)
    return found, plain, assessment_pictures.pictures(found, model, test)


@pytest.fixture(scope="module")
def content(made):
    return json.loads(json.dumps(made[0].to_dict()))


@pytest.fixture
def page(content, made):
    return to_html(content, made[2])


def values(page):
    return re.findall(r'<data[^>]* value="([^"]*)">', page)


def words(page):
    """The text of a page, without its tags."""
    body = page[page.index("<body>") :]
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", body)))


def test_every_number_of_the_json_is_on_the_page(content, page):
    model, shown = content["judgements"]["model"], set(values(page))
    told = [model["images"], model["pairs"], model["positives"], *model["scores"].values()]
    for judgement in content["judgements"].values():
        told += [number[k] for number in judgement["numbers"].values() for k in ("value", "low")]
        told += judgement["health"].values()
    for point in model["points"]:
        told += [point["promised_fmr"], point["promised_fnmr"], point["fmr"]["high"]]
        told += [point["fnmr"]["value"], point["rates"]["threshold"], point["fmr_spread"]]
        told += point["precision"].values()
    assert {str(number) for number in told if number is not None} <= shown


def test_every_value_of_the_page_is_in_the_json(content, page):
    def numbers(item):
        if isinstance(item, dict):
            for each in item.values():
                yield from numbers(each)
        elif isinstance(item, list):
            for each in item:
                yield from numbers(each)
        else:
            yield str(item)

    known = set(numbers(content))
    assert len(values(page)) > 100
    assert set(values(page)) <= known


def test_pictures_stand_where_they_belong(page, made):
    titles = re.findall(r"<h2>(.*?)</h2>|<figcaption><b>(.*?)</b>", page)
    assert [a or b for a, b in titles] == [
        "The model beside its baselines",
        "ROC curve.",
        "DET curve.",
        "Promised against realised",
        "Distances.",
        "Errors class by class.",
        "Hardest mistakes.",
        "Probability of “same”",
        "Reliability.",
        "Health of the embedding",
        "How it came about",
    ]
    extra = Picture("one_more", "Of another kind.", made[2][0].png)
    assert "<b>One more.</b>" in to_html(made[0].to_dict(), [*made[2], extra])


def test_a_model_without_calibration_is_told_plainly(made):
    page = to_html(made[1].to_dict())
    assert words(page).count("Not calibrated.") == 2
    assert page.count("<td>not calibrated</td>") == 2
    assert "<img" not in page


def test_few_errors_are_marked(content):
    few = copy.deepcopy(content)
    for point in few["judgements"]["model"]["points"]:
        point["rates"] |= {"false_matches": 29, "false_non_matches": 30}
    point = few["judgements"]["model"]["points"][0]
    marks = to_html(few).split('<section class="points">')[1:]
    assert [each.count("fewer than 30 errors") for each in marks] == [1] * len(marks)
    point["rates"]["false_matches"] = 30
    assert "fewer than" not in to_html(few).split('<section class="points">')[1]


def test_a_headline_that_rests_on_few_errors_is_marked(content):
    # 1,200 different pairs: 1.2 of them match at a false match rate of 0.1%
    rows = re.findall(r"<tr>.*?</tr>", to_html(content), flags=re.DOTALL)
    (rare,) = (row for row in rows if "TPR at FPR 0.1%" in row)
    assert "fewer than 30 errors" in rare
    many = copy.deepcopy(content)
    many["judgements"]["model"] |= {"pairs": 10**8, "positives": 10**7}
    assert "fewer than" not in to_html(many).split("Promised against")[0]


def test_a_baseline_that_is_better_is_named(content):
    better = copy.deepcopy(content)
    for each in better["judgements"].values():
        for name, number in each["numbers"].items():
            number["value"] = 0.5 if name in ("auc", "eer") else 0.25
    assert "behind" not in words(to_html(better))
    better["judgements"]["raw pixels"]["numbers"]["auc"]["value"] = 0.6
    better["judgements"]["raw pixels"]["numbers"]["eer"]["value"] = 0.6
    assert words(to_html(better)).count("model behind raw pixels") == 1
    better["judgements"]["PCA-64"]["numbers"]["eer"]["value"] = 0.4
    assert words(to_html(better)).count("model behind PCA-64") == 1


def test_what_is_not_finite_is_not_defined(content):
    empty = copy.deepcopy(content)
    model = empty["judgements"]["model"]
    for number in model["numbers"].values():
        number |= {"value": None, "low": None, "high": None}
    model["points"][0]["precision"]["0.1"] = None
    model["points"][0]["fmr_spread"] = None
    model["health"]["alignment"] = None
    page = to_html(empty)
    assert "None" not in page
    assert "no interval" in page
    assert "If 10% of pairs were the same, the precision would not be defined" in words(page)


def test_class_names_are_text(page):
    assert "<script" not in page
    assert "onerror=alert" not in page.replace("&#34;&gt;&lt;img src=x onerror=alert", "")
    assert HOSTILE[0] in words(page)
    assert "49" not in words(page).split("ROC AUC of near classes")[1][:20]
    assert "<b>test" not in page


def test_another_schema_is_refused(content):
    with pytest.raises(DataError, match="Expected an evaluation of schema 1. Received schema 2"):
        to_html(content | {"schema": 2})
    with pytest.raises(DataError, match="Received schema None"):
        to_html({})


def test_two_pictures_of_one_name_are_refused(content, made):
    with pytest.raises(DataError, match="different names"):
        to_html(content, [made[2][0], made[2][0]])


# --- the pictures


def test_sampled_pairs_are_pairs():
    left, right = assessment_pictures.sampled_pairs(300, limit=1000)
    assert len(left) == len(right) == 1000
    assert (left < right).all()
    assert (left >= 0).all()
    assert (right < 300).all()
    assert len({*zip(left.tolist(), right.tolist(), strict=True)}) == 1000
    again = assessment_pictures.sampled_pairs(300, limit=1000)
    np.testing.assert_array_equal(again, [left, right])
    assert abs(np.concatenate([left, right]).mean() - 149.5) < 6


def test_few_images_give_all_their_pairs():
    left, right = assessment_pictures.sampled_pairs(45, limit=990)
    assert len({*zip(left.tolist(), right.tolist(), strict=True)}) == 990


def test_captions_say_where_pairs_come_from(made):
    captions = {picture.name: picture.caption for picture in made[2]}
    assert captions["distances"].startswith("Distances of all pairs.")
    assert "among all pairs" in captions["hardest_mistakes"]


# --- the page as a person meets it


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    made[0].write_json(folder / "evaluation.json")
    write_page(
        folder / "evaluation.html",
        json.loads((folder / "evaluation.json").read_text("utf-8")),
        made[2],
    )
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 700, 1280])
def test_the_page_fits_and_shows_every_picture(browser, folder, width, scheme):
    look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with opened(browser, folder / "evaluation.html", **look) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        beyond = """[...document.querySelectorAll("main *:not(thead *)")]
            .filter(element => element.getBoundingClientRect().right > innerWidth)
            .map(element => element.outerHTML.slice(0, 80))"""
        assert page.evaluate(beyond) == []
        widths = "[...document.images].map(image => image.complete && image.naturalWidth)"
        assert len(page.evaluate(widths)) == 6
        assert all(page.evaluate(widths))


def test_headlines_are_the_numbers_of_the_json(browser, folder):
    numbers = json.loads((folder / "evaluation.json").read_text("utf-8"))["judgements"]["model"][
        "numbers"
    ]
    with opened(browser, folder / "evaluation.html") as page:
        for key, written in (("auc", ".4f"), ("eer", ".2%")):
            shown = page.locator(f"#headline-{key} data")
            told = [numbers[key][end] for end in ("value", "low", "high")]
            found = [each.get_attribute("value") for each in shown.all()]
            assert found == [str(number) for number in told]
            assert shown.all_text_contents() == [format(number, written) for number in told]
        for key, number in numbers.items():
            cell = page.locator(f'[id="model.{key}"]')
            assert cell.get_attribute("value") == str(number["value"])


def test_a_phone_names_each_column_in_the_row(browser, folder):
    names = """[...document.querySelectorAll(".numbers tbody tr:first-child td")]
        .map(cell => getComputedStyle(cell, "::before").content)"""
    with opened(
        browser, folder / "evaluation.html", viewport={"width": 360, "height": 800}
    ) as page:
        assert "raw pixels" in page.evaluate(names)[1]
        narrow = (
            "Math.min(...[...document.querySelectorAll('.numbers td')].map(c => c.offsetWidth))"
        )
        assert page.evaluate(narrow) > 130, "two columns, each as wide as an interval"
        page.set_viewport_size({"width": 1280, "height": 800})
        assert set(page.evaluate(names)) == {"none"}


def test_dark_mode_does_not_reach_the_print(browser, folder):
    background = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, folder / "evaluation.html", color_scheme="dark") as page:
        dark = page.evaluate(background)
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(background) == "rgb(255, 255, 255)" != dark
        assert page.pdf(format="A4").startswith(b"%PDF")
