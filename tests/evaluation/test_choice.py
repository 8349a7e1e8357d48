"""The choice among candidates: which is taken, on what it is judged, what is told of the others."""

import json

import numpy as np
import pytest

import twinset
from twinset.errors import DataError
from twinset.evaluation.choice import choose
from twinset.evaluation.crossfit import crossfit

CLOSED = [
    "features, as they are",
    "features, centred",
    "features, Euclidean",
    "features, whitened",
    "features, LDA",
]


def features(noise, *, classes=24, size=8, dim=8, seed=0):
    """Classes that differ evenly, and images of one that differ as `noise` says for each number."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), size)
    rows = rng.normal(size=(classes, dim))[labels] + rng.normal(size=(len(labels), dim)) * noise
    names = tuple(f"thing {k}" for k in range(classes))
    return twinset.LabelledFeatures(rows, labels, names)


@pytest.fixture(scope="module")
def skewed():
    """Features of which one number is noise."""
    return choose(features([9, *[0.4] * 7]), choice={"budget": 0})


def test_the_simplest_candidate_is_taken_where_all_are_as_good():
    assert choose(features(0.1), choice={"budget": 0}).chosen == CLOSED[0]


def test_whitening_is_taken_where_noise_has_a_direction(skewed):
    assert skewed.chosen == "features, whitened"
    assert [row.name for row in skewed.rows] == [*CLOSED, "trained head"]
    by_name = {row.name: row for row in skewed.rows}
    assert by_name["features, whitened"].auc.value > by_name[CLOSED[0]].auc.value + 0.1
    assert by_name["features, whitened"].auc.low <= by_name["features, whitened"].auc.value


@pytest.mark.parametrize("noise", [[9, *[0.4] * 7], [1.5] * 8, [0.2, 3, *[0.8] * 6]])
def test_no_simpler_candidate_is_better_than_the_one_that_is_taken(noise):
    for classes in (10, 24):  # the errors are over images, and over classes
        found = choose(features(noise, classes=classes), choice={"budget": 0, "purpose": "unseen"})
        scores = [row.score.value for row in found.rows if row.score is not None]
        place = [row.name for row in found.rows].index(found.chosen)
        assert all(score < scores[place] for score in scores[:place])


def test_what_was_not_tried_is_told(skewed):
    assert "allow the time" in skewed.rows[-1].left_out
    told = skewed.summary()
    assert "->" in told
    assert "left out: trained head: it has to be trained" in told
    facts = skewed.facts()["Candidates"]
    assert facts["trained head"].startswith("left out: it has to be trained")
    assert facts["features, whitened"].startswith("AUC 0.")
    assert "24 classes" in told


def test_the_table_is_plain_json(skewed, tmp_path):
    skewed.write(tmp_path)
    found = json.loads((tmp_path / "choice.json").read_text())
    assert found["chosen"] == "features, whitened"
    assert found["by"] == "class"
    assert set(found["candidates"][0]) >= {"name", "auc", "map_at_r", "recall_at_1", "seconds"}


def test_a_choice_is_read_again_for_the_same_data_and_recipe_only(skewed, tmp_path):
    data = features([9, *[0.4] * 7])
    assert twinset.Choice.read(tmp_path, data, skewed.asked) is None
    skewed.write(tmp_path)
    again = twinset.Choice.read(tmp_path, data, skewed.asked)
    assert again.to_dict() == skewed.to_dict()
    assert (again.summary(), again.facts()) == (skewed.summary(), skewed.facts())
    assert again.recipe == skewed.recipe
    assert np.array_equal(again.found.embeddings, skewed.found.embeddings)
    assert twinset.Choice.read(tmp_path, features([8, *[0.4] * 7]), skewed.asked) is None
    other = twinset.Recipe.load(skewed.asked, **{"choice.budget": 9})
    assert twinset.Choice.read(tmp_path, data, other) is None
    kept = (tmp_path / "choice.npz").read_bytes()
    for content in (b"", kept[:500], kept[:300] + b"odd" + kept[303:]):
        (tmp_path / "choice.npz").write_bytes(content)
        assert twinset.Choice.read(tmp_path, data, skewed.asked) is None
    skewed.write(tmp_path)
    for content in ("", "{}", "[]", '{"candidates": 3}'):
        (tmp_path / "choice.json").write_text(content)
        assert twinset.Choice.read(tmp_path, data, skewed.asked) is None


def test_what_it_says_of_a_candidate_is_what_leaving_out_gives(skewed):
    """By the plain way: fit the recipe itself without each turn's classes, and embed these."""
    data = features([9, *[0.4] * 7])
    again = crossfit(data, lambda kept: twinset.fit(kept, skewed.recipe), by="class", seed=0)
    np.testing.assert_array_equal(again.positions, skewed.found.positions)
    np.testing.assert_allclose(again.embeddings, skewed.found.embeddings, atol=1e-4)
    assert skewed.found.data == data.digest


def test_it_is_the_same_again():
    data = features([3, *[0.5] * 7])
    first, second = (choose(data, choice={"budget": 0}) for _ in range(2))
    assert [row.auc for row in first.rows] == [row.auc for row in second.rows]


def test_a_trained_candidate_is_tried_while_there_is_time():
    data = features([9, *[0.4] * 7], classes=6, size=6)
    rows = choose(data, choice={"budget": 600}).rows
    assert rows[-1].left_out == ""
    assert rows[-1].dim == 128


def test_photos_are_judged_by_pixels_and_by_what_a_pretrained_network_finds(stripes):
    found = choose(stripes, choice={"budget": 0})
    names = [row.name for row in found.rows]
    assert names[:4] == ["pixels", "pixels, centred", "pixels, Euclidean", "pretrained"]
    left_out = {row.name for row in found.rows if row.auc is None}
    assert left_out == {"trained head", "pretrained, fine-tuned"}
    assert "which takes" in found.rows[-1].left_out, "a network on a CPU"
    assert found.chosen.startswith("pixels"), "three classes that pixels tell apart at once"


def test_where_brightness_alone_tells_things_apart_it_counts():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 24
    bright = 20 + 9 * labels[:, None, None]
    texture = rng.uniform(0.95, 1.05, size=(120, 16, 16))
    names = tuple(f"field {k}" for k in range(24))
    data = twinset.LabelledImages((bright * texture).astype(np.uint8), labels, names)
    found = choose(data, choice={"budget": 0})
    auc = {row.name: row.auc.value for row in found.rows if row.auc is not None}
    assert auc["pixels"] < 0.6, "at length 1 there is noise alone"
    assert auc["pixels, Euclidean"] > 0.99
    assert next(row for row in found.rows if row.name == found.chosen).auc.value > 0.98


def test_too_few_images_are_refused_before_anything_is_fitted():
    data = twinset.LabelledFeatures(np.eye(3), [0, 0, 1], ("a", "b"))
    with pytest.raises(DataError, match="images enough to learn from some"):
        choose(data)


def test_no_more_images_are_compared_than_there_is_time_for(monkeypatch):
    monkeypatch.setattr("twinset.evaluation.choice.JUDGED", 60)
    found = choose(features(0.3), choice={"budget": 0})
    assert found.found.images <= 60
    labels = features(0.3).labels[found.found.positions]
    np.testing.assert_array_equal(labels, found.found.labels)
