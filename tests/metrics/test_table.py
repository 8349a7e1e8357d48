"""The table of metrics: a row that is added appears everywhere, and nothing else has to know it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import twinset
from twinset.data.parts import Parts
from twinset.errors import DataError
from twinset.evaluation.folds import Unit
from twinset.evaluation.study import run_study
from twinset.metrics.table import METRICS, Metric, register
from twinset.report.evaluation_page import to_html


def _shades(seed, count):
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(4), count // 4)
    images = np.clip(rng.normal(40 + 50 * labels[:, None, None], 30, (count, 5, 4)), 0, 255)
    return twinset.LabelledImages(images.astype(np.uint8), labels, tuple("abcd"))


@pytest.fixture
def gini():
    """The example of docs/contributing.md, which is all that it takes."""
    page = Path(__file__).parents[2] / "docs" / "contributing.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    (program,) = (each for each in blocks if "gini" in each)
    before = dict(METRICS)
    exec(program, {})
    yield
    METRICS.clear()
    METRICS.update(before)


def test_a_metric_that_is_added_is_everywhere(gini, tmp_path):
    quick = {"encoder": {"units": [8]}, "batch_size": 16, "epochs": 2, "progress": False}
    train, calibration, test = _shades(0, 80), _shades(1, 80), _shades(2, 80)
    model = twinset.fit(train, **quick).calibrate(calibration)
    found = twinset.evaluate(model, test, progress=False)
    value = found.model.numbers["gini"].value
    assert value == pytest.approx(2 * found.model.numbers["auc"].value - 1)

    rows = [line for line in found.summary().splitlines() if line.startswith("Gini")]
    assert f"{value:.4f} [" in rows[0]
    assert f"| Gini | {value:.4f} [" in found.to_markdown()
    content = json.loads(json.dumps(found.to_dict()))
    assert content["results"]["raw pixels"]["numbers"]["gini"]["enough_errors"] is True
    page = to_html(content)
    assert f'id="model.gini" value="{value}"' in page
    assert "Twice the area above chance." in page

    worse = twinset.fit(train, seed=3, **quick | {"epochs": 1})
    comparison = twinset.compare_models(model, worse, test)
    assert comparison["gini"].a == pytest.approx(value)
    assert "\nGini " in comparison.summary()
    assert comparison.to_dict()["differences"]["gini"]["better"] == "higher"

    parts = Parts(train, test, calibration=calibration)
    recipe = twinset.Recipe.load(encoder={"units": [8]}, batch_size=16, epochs=1)
    summary = run_study(parts, recipe, tmp_path, units=(Unit(0), Unit(1)), progress=False)
    (row,) = (each for each in summary["seeds"] if each["key"] == "gini")
    assert row["total"]["low"] < row["value"] < row["total"]["high"]
    assert f"| Gini | {row['value']:.4f} |" in (tmp_path / "protocol.md").read_text("utf-8")


def test_two_metrics_of_one_key_are_refused(gini):
    with pytest.raises(DataError, match="a key that no metric has. Received 'gini'"):
        register(Metric("gini", "Again", "The same.", lambda m: 0.5))


def test_every_row_says_what_people_need():
    for key, metric in METRICS.items():
        assert metric.key == key
        assert metric.label[0].isupper() or metric.label[0].isdigit()
        assert metric.meaning.endswith(".")
        assert format(0.5, metric.format)
    assert METRICS["eer"].sentence.endswith("Lower is better.")
    assert METRICS["uniformity"].sentence == METRICS["uniformity"].meaning
