import dataclasses
import json
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from twinset.errors import DataError
from twinset.metrics.pairs import PairScores
from twinset.report.page import Picture
from twinset.report.run_report import ROWS, Report

PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x02\x00\x00\x00\x01\x08\x00\x00\x00\x00\xd1I "
    b"\xde\x00\x00\x00\x0bIDATx\x9cch`\x00\x00\x00\x84\x00\x81\xa8:+\xdb\x00\x00\x00\x00IEND\xaeB`\x82"
)
MODEL = PairScores(
    pairs=20_000,
    positives=10_000,
    negatives=10_000,
    threshold=0.5,
    accuracy=0.914,
    fmr=0.12,
    fnmr=0.052,
    false_matches=1_200,
    false_non_matches=520,
    auc=0.971234,
)
BASELINE = dataclasses.replace(MODEL, accuracy=0.7352, threshold=9.8817, auc=0.799)


def report(**changes):
    return Report(
        **{
            "title": "twinset run: tutorial on fashion-mnist",
            "scores": MODEL,
            "baseline": BASELINE,
            "threshold_rule": "fixed by the recipe at half the margin; not calibrated on data",
            "pictures": (Picture("ten_test_pairs", "Left above right.", PIXEL),),
            "facts": {
                "training": {"epochs": 20, "seconds": 18.234567, "final loss": np.float32(0.25)},
                "data": {"images": np.int64(60_000), "name": "fashion-mnist"},
            },
            **changes,
        }
    )


class Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.data, self.open = [], "", {}, None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "data" and "id" in attributes:
            self.data[attributes["id"]] = attributes["value"]

    def handle_data(self, data):
        self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_json_tells_everything_but_pixels():
    content = json.loads(report().to_json())
    assert content == report().to_dict()
    assert content == {
        "schema": 2,
        "title": "twinset run: tutorial on fashion-mnist",
        "scores": dataclasses.asdict(MODEL),
        "baseline": dataclasses.asdict(BASELINE),
        "baseline_name": "raw pixels",
        "across": "",
        "threshold_rule": "fixed by the recipe at half the margin; not calibrated on data",
        "pictures": [{"name": "ten_test_pairs", "caption": "Left above right.", "notes": []}],
        "facts": {
            "training": {"epochs": 20, "seconds": 18.234567, "final loss": 0.25},
            "data": {"images": 60_000, "name": "fashion-mnist"},
        },
    }
    assert PairScores(**content["scores"]) == MODEL


def test_notes_and_another_baseline_are_on_the_page():
    noted = dataclasses.replace(report().pictures[0], notes=("Healthy: a < b.", "Look here: c."))
    told = report(pictures=(noted,), baseline_name="raw features")
    assert json.loads(told.to_json())["pictures"][0]["notes"] == list(noted.notes)
    text = " ".join(Page(told.to_html()).text.split())
    assert "Healthy: a < b. Look here: c." in text
    assert "comparing raw features scores" in text
    assert "Raw features: the baseline." in text
    assert "raw pixels" not in text.lower()
    assert told.summary().splitlines()[3].split() == ["model", "raw", "features"]


def test_json_is_the_same_whatever_the_order_of_the_facts(tmp_path):
    one = report(facts={"a": {"x": 1, "y": 2}, "b": {}})
    two = report(facts={"b": {}, "a": {"y": 2, "x": 1}})
    one.write_json(tmp_path / "one.json")
    two.write_json(tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert list(json.loads(one.to_json())) == sorted(json.loads(one.to_json()))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan"), -np.inf])
def test_number_that_is_not_finite_is_null_and_said_to_be_undefined(value):
    broken = report(scores=dataclasses.replace(MODEL, auc=value), facts={"run": {"loss": value}})
    content = json.loads(broken.to_json(), parse_constant=pytest.fail)
    assert content["scores"]["auc"] is None
    assert content["facts"]["run"]["loss"] is None
    assert Page(broken.to_html()).text.count("not defined") == 2
    assert "not defined" in broken.summary()


def test_page_shows_the_numbers_of_the_json():
    content, page = json.loads(report().to_json()), Page(report().to_html())
    assert len(page.data) == 2 * len(ROWS)
    for name, value in page.data.items():
        who, field = name.split(".")
        assert float(value) == content[who][field]
    text = " ".join(page.text.split())
    assert "Accuracy on test set: 91.40%" in text
    assert "Of 20,000 test pairs, the model told 18,280 rightly" in text
    assert "to every pair would score 50.00%; comparing raw pixels scores 73.52%" in text
    for shown in ("12.00%", "1,200 of 10,000", "5.20%", "520 of 10,000", "0.9712", "9.8817"):
        assert shown in text
    assert content["threshold_rule"] in text
    for fact in ("epochs", "20", "18.23", "60,000", "fashion-mnist"):
        assert fact in text


def test_page_keeps_the_order_of_sections_and_pictures():
    pictures = tuple(Picture(name, "caption", PIXEL) for name in ("zebra", "ant", "mule"))
    page = Page(report(pictures=pictures).to_html())
    assert [image["alt"] for image in page.of("img")] == [
        "Zebra: caption",
        "Ant: caption",
        "Mule: caption",
    ]
    assert page.text.index("18.23") < page.text.index("60,000")


def test_page_needs_nothing_from_outside():
    html = report().to_html()
    page = Page(html)
    assert "://" not in html
    assert "url(" not in html
    assert "@import" not in html
    sources = [
        value
        for _, attributes in page.tags
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "action")
    ]
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert not page.of("script")
    (policy,) = (meta for meta in page.of("meta") if "http-equiv" in meta)
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror='alert(2)'>\" & {{ 7 * 7 }}"


def test_hostile_text_stays_text():
    hostile = report(
        title=HOSTILE,
        threshold_rule=HOSTILE,
        pictures=(Picture("p", HOSTILE, PIXEL),),
        facts={HOSTILE: {HOSTILE: HOSTILE}},
    )
    page, plain = Page(hostile.to_html()), Page(report().to_html())
    assert not page.of("script")
    assert [set(image) for image in page.of("img")] == [{"src", "alt", "width", "height"}]
    assert page.of("img")[0]["alt"] == f"P: {HOSTILE}"
    # <title>, <h1>, the rule, the caption of the picture, and three times in the facts
    assert page.text.count(HOSTILE) == 7
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in plain.tags}
    assert json.loads(hostile.to_json())["title"] == HOSTILE


def test_text_with_half_a_character_is_written(tmp_path):
    broken = report(title="\udcff 猫", facts={})
    broken.write_json(tmp_path / "report.json")
    broken.write_html(tmp_path / "report.html")
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["title"] == "\udcff 猫"
    assert "<h1>? 猫</h1>" in (tmp_path / "report.html").read_text("utf-8")


def test_summary_is_an_aligned_table_without_control_characters():
    title = "twinset run: \x1b[31mred\nline"
    assert report(title=title).summary().splitlines() == [
        "twinset run:  [31mred line",
        "* Accuracy on test set: 91.40% (18,280 of 20,000 pairs)",
        "",
        "                       model  raw pixels",
        "Accuracy              91.40%      73.52%",
        "False match rate      12.00%      12.00%",
        "False non-match rate   5.20%       5.20%",
        "ROC AUC               0.9712      0.7990",
        "Threshold                0.5      9.8817",
        "",
        "Threshold of the model: fixed by the recipe at half the margin; not calibrated on data",
    ]


def test_report_without_pictures_and_facts_has_no_empty_section():
    page = Page(report(pictures=(), facts={}).to_html())
    assert not page.of("img")
    assert len(page.of("h2")) == 1


def test_picture_is_a_file_with_a_title_and_a_size(tmp_path):
    picture = Picture("ten_test_pairs", "c", PIXEL)
    assert (picture.title, picture.size) == ("Ten test pairs", (2, 1))
    picture.write(tmp_path)
    assert (tmp_path / "ten_test_pairs.png").read_bytes() == PIXEL


def test_picture_refuses_other_files():
    with pytest.raises(DataError, match=r"PNG file as picture 'p'\. Received 4 bytes"):
        Picture("p", "c", b"GIF8")


@pytest.mark.parametrize("name", ["", "../p", "a/b", ".hidden", "a b", "CON:", "p\n", "-x"])
def test_picture_refuses_a_name_that_is_no_file(name):
    with pytest.raises(DataError, match="letters, digits, - and _ as the name"):
        Picture(name, "c", PIXEL)


def test_two_pictures_of_one_name_are_refused():
    picture = Picture("p", "c", PIXEL)
    with pytest.raises(DataError, match="pictures of different names"):
        report(pictures=(picture, picture))


def test_fact_that_is_neither_text_nor_number_is_refused():
    with pytest.raises(DataError, match=r"fact 'seeds' of 'run'\. Received list"):
        report(facts={"run": {"seeds": [1, 2]}})


def test_report_is_written_without_loading_what_it_does_not_need():
    program = (
        "import sys, twinset.report.run_report\n"
        "print({'keras', 'jax', 'matplotlib', 'jinja2'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert run.stdout == "set()\n"
