"""The health panel of a training: sentences that are true, and a picture with the guards."""

import math
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset import figures
from twinset.figures import Panel
from twinset.figures.canvas import MUTED
from twinset.models.history import BatchStatistics, EpochRecord, ValidationScores
from twinset.report.run_report import health_picture, sentences, validation_sentences

GOOD = BatchStatistics(0.25, 1.0, 0.1, -2.0, 9.0, 0.0, 0.0, 64)


def record(epoch=1, active=0.5, norm=0.1, statistics=GOOD):
    return EpochRecord(epoch, 9, 0.5, 1.0, 100.0, norm, active, statistics)


def test_a_healthy_training_is_called_so():
    said = sentences([record(1), record(2)])
    assert len(said) == 6
    assert all(each.startswith("Healthy: ") for each in said)
    assert "4.0 times as far apart as same ones (1 and 0.25)" in said[0]
    assert "moves 50% of the embeddings" in said[1]
    assert "spread over 9.0 of 64 dimensions" in said[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"statistics": BatchStatistics(1.0, 1.2)}, "different pairs are 1.2 times"),
        ({"active": 0.001}, "the loss moves 0% of"),
        (
            {"statistics": replace(GOOD, effective_rank=1.2)},
            "spread over 1.2 of 64",
        ),
        ({"statistics": BatchStatistics(dead_share=0.6)}, "60% of the coordinates are constant"),
        ({"statistics": BatchStatistics(alignment=0.0, uniformity=-0.001)}, "uniformity -0.001"),
        ({"norm": 0.0}, "norm at the embeddings is 0,"),
        ({"norm": 0.9}, "norm at the embeddings is 0.9, over all epochs 0.1 in the median"),
    ],
)
def test_what_is_not_healthy_is_pointed_at(change, words):
    said = sentences([record(1), record(2), record(3, **change)])
    (found,) = [each for each in said if each.startswith("Look here: ")]
    assert words in found


def test_what_is_not_known_is_not_told():
    assert sentences([EpochRecord(1, 3, 0.5)]) == ()
    assert EpochRecord(1, 3, 0.5).health == {}
    assert record().health == {
        "same": 0.25,
        "different": 1.0,
        "active": 0.5,
        "alignment": 0.1,
        "uniformity": -2.0,
        "rank": 9.0,
        "gradient": 0.1,
    }


def test_the_picture_is_drawn_with_the_sentences():
    picture = health_picture([record(epoch) for epoch in (1, 2, 3)], scale=2.0)
    assert (picture.name, picture.notes) == ("health", sentences([record(3)]))
    with Image.open(BytesIO(picture.png)) as image:
        levels = np.asarray(image.convert("L"))
    assert levels.min() < 100 < 250 < levels.max()
    # a training of which nothing is known, such as one cut short in its first epoch
    health_picture([EpochRecord(1, 3, 0.5)])


def test_each_panel_has_its_lines_and_its_guard():
    lines = {"same": [0.3, 0.2], "different": [0.9, math.nan]}
    figure = figures.training_health(
        [1, 2], [Panel("distance", lines, 0.01), Panel("share", {"x": [0.5, 1.0]}, share=True)]
    )
    distance, share = figure.axes
    drawn = {line.get_label(): line for line in distance.lines}
    np.testing.assert_array_equal(drawn["same"].get_ydata(), [0.3, 0.2])
    (guard,) = [line for line in distance.lines if line.get_color() == MUTED]
    assert list(guard.get_ydata()) == [0.01, 0.01]
    assert distance.get_ylim()[0] < 0.01
    np.testing.assert_array_equal(share.lines[0].get_ydata(), [50, 100])
    assert [text.get_text() for text in share.get_yticklabels()] == ["0%", "50%", "100%"]
    assert len(share.lines) == 1


def test_the_history_holds_the_statistics(stripes, tmp_path):
    model = twinset.fit(stripes, epochs=2, batch_size=16, encoder={"units": [8]})
    model.save(tmp_path)
    head, *rows = (tmp_path / "history.csv").read_text("utf-8").splitlines()
    statistics = ["positive_distance", "negative_distance", "alignment", "uniformity"]
    assert {*statistics, "effective_rank", "gradient_norm", "active"} <= set(head.split(","))
    assert all(math.isfinite(float(value)) for row in rows for value in row.split(","))


def validated(*aucs, images=24):
    """Epochs whose recall@1 is three quarters of the AUC's surplus over a coin, plus a half."""
    return [
        replace(record(i), validation=ValidationScores(0.5 + 0.75 * (auc - 0.5), auc, images))
        for i, auc in enumerate(aucs, 1)
    ]


def test_validation_images_are_told_with_what_so_many_can_tell():
    """75% of 24 queries: Wilson's interval is (18 + 1.92 ± 1.96 √(4.5 + 0.96)) / 27.84."""
    (said,) = validation_sentences(validated(0.6, 0.8333, 0.83), "AUC", best=False)
    assert said.startswith("Healthy: epoch 2 of 3 was the best by AUC on 24 validation images")
    assert "recall@1 75.0%, which so many images tell to lie between 55% and 88%" in said
    (said,) = validation_sentences(validated(0.9, 0.8), "AUC", best=False)
    assert said.startswith("Look here: epoch 1 of 2")
    assert said.endswith('The last epochs made it worse: take stopping.keep = "best".')
    (said,) = validation_sentences(validated(0.9, 0.8), "recall@1", best=True)
    assert said.endswith("The model has its weights.")
    assert validation_sentences([record()], "AUC", best=True) == ()


def test_the_panel_of_the_validation_is_there_where_there_was_one():
    without, with_it = health_picture([record(), record(2)]), health_picture(validated(0.6, 0.7))
    heights = [Image.open(BytesIO(each.png)).height for each in (without, with_it)]
    assert heights[1] > heights[0]
    assert len(with_it.notes) == len(without.notes) + 1
