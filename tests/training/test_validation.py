"""Validation during training: what is measured, told and kept, and when the training ends."""

import keras
import numpy as np
import pytest

import twinset
from resuming import check_that_it_goes_on
from twinset.errors import DataError, RecipeError
from twinset.metrics.pairs import score_pairs
from twinset.metrics.retrieval import retrieve
from twinset.models.history import EpochRecord, ValidationScores, best_epoch
from twinset.training.validation import recall_at_1, sample

QUICK = {
    "pairs": "batch",
    "batch_size": 15,
    "epochs": 4,
    "encoder": {"units": [16, 4], "linear": True, "normalize": True},
    "loss": {"name": "supcon"},
    "optimizer": {"learning_rate": 0.0003},
    "progress": False,
}


def flipped(data, share, seed=0):
    """The same images with some of their labels drawn anew, so that no model is perfect."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(len(data)) < share, rng.integers(0, 3, len(data)), data.labels)
    return twinset.LabelledImages(data.images[:, ::-1], labels, data.class_names)


@pytest.fixture(scope="module")
def others(stripes):
    return flipped(stripes, 0.2)


@pytest.fixture(scope="module")
def model(stripes, others):
    return twinset.fit(stripes, validation=others, **QUICK)


def test_the_last_epochs_scores_are_those_of_the_model(model, others):
    """Another way: all pairs listed one by one, and the whole ranking of each image."""
    embeddings = model.embed(others)
    left, right = np.triu_indices(len(others), 1)
    apart = np.linalg.norm(embeddings[left] - embeddings[right], axis=1)
    same = others.labels[left] == others.labels[right]
    last = model.history[-1].validation
    assert last.images == len(others) == 60
    assert last.auc == pytest.approx(score_pairs(apart, same, threshold=1.0).auc, abs=1e-4)
    assert last.recall_at_1 == retrieve(embeddings, others.labels).recall_at[1]
    assert 0.3 < last.auc < 0.95


def test_it_changes_nothing_that_is_learned(model, stripes):
    alone = twinset.fit(stripes, **QUICK)
    for a, b in zip(alone.encoder.get_weights(), model.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(record.validation is None for record in alone.history)


def test_progress_history_and_files_have_it(stripes, others, tmp_path):
    told = []
    settings = QUICK | {"progress": told.append, "epochs": 2}
    model = twinset.fit(stripes, validation=others, **settings)
    scores = [record.validation for record in model.history]
    assert told[-1].numbers["recall@1"] == scores[-1].recall_at_1
    assert f"AUC {scores[-1].auc:.3g}" in told[-1].text
    # within an epoch it is that of the one before
    within = [each for each in told if each.task == "epoch 2/2" and each.done < each.total]
    assert all(each.numbers["AUC"] == scores[0].auc for each in within)
    model.save(tmp_path)
    assert "validation_recall_at_1,validation_auc" in (tmp_path / "history.csv").read_text()
    assert [each.validation for each in twinset.load_model(tmp_path).history] == scores


def record(epoch, auc, recall=0.5):
    return EpochRecord(epoch, 1, 0.1, validation=ValidationScores(recall, auc, 9))


def test_the_best_epoch_is_the_first_of_the_highest():
    history = [record(1, 0.7, 0.9), record(2, 0.8), record(3, np.nan), record(4, 0.8)]
    assert best_epoch(history).epoch == 2
    assert best_epoch(history, "recall@1").epoch == 1
    assert best_epoch([record(1, np.nan)]) is None


class Spoils(keras.callbacks.Callback):
    """Draws all weights anew when the first epoch has been judged: all later ones are worse."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            rng = np.random.default_rng(0)
            self.model.set_weights([rng.normal(size=w.shape) for w in self.model.get_weights()])


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_best_epochs_weights_are_kept_and_patience_ends_it(stripes, others, keep):
    one = twinset.fit(stripes, **QUICK | {"epochs": 1})
    rule = {"stopping": {"keep": keep, "patience": 3}, "epochs": 9}
    model = twinset.fit(stripes, validation=others, callbacks=[Spoils()], **QUICK | rule)
    aucs = [each.validation.auc for each in model.history]
    assert np.argmax(aucs) == 0
    assert len(aucs) == 4  # three that were no better
    assert not model.interrupted
    kept = all(
        np.array_equal(a, b)
        for a, b in zip(one.encoder.get_weights(), model.encoder.get_weights(), strict=True)
    )
    assert kept == (keep == "best")


def test_a_killed_training_goes_on_to_the_same_best_epoch(stripes, others, tmp_path, monkeypatch):
    settings = QUICK | {"stopping": {"keep": "best"}, "validation": others, "epochs": 5}
    check_that_it_goes_on(stripes, tmp_path / "c.npz", monkeypatch, killed_at=3, **settings)


@pytest.mark.parametrize("rule", [{"keep": "best"}, {"patience": 2}])
def test_a_rule_without_images_is_refused_before_the_training(stripes, rule):
    recipe = twinset.Recipe.load(stopping=rule)
    with pytest.raises(RecipeError, match=r"Expected validation images .* a folder val/"):
        twinset.fit(stripes, recipe, progress=False)


def test_what_cannot_tell_is_refused(stripes):
    one = stripes.subset(np.flatnonzero(stripes.labels == 0), "one")
    lone = stripes.subset(np.arange(3), "lone")
    wide = twinset.LabelledImages(np.zeros((4, 6, 9), np.uint8), [0, 0, 1, 1], ("a", "b"))
    for given, words in (
        (one, r"two classes or more, of one of them two. Received 20 of 1"),
        (lone, r"Received 3 of 3"),
        (wide, r"of shape \(6, 5\). Received"),
        (stripes, "that are not trained on"),
    ):
        with pytest.raises(DataError, match=words):
            twinset.fit(stripes, validation=given, progress=False)


def test_a_sample_of_many_classes_leaves_each_some_to_find():
    labels = np.repeat(np.arange(5000), 3)
    chosen = sample(labels, 300, seed=0)
    _, counts = np.unique(labels[chosen], return_counts=True)
    assert len(chosen) == 300
    assert (counts == 3).all()
    few = sample(np.arange(9000) % 10, 300, seed=0)
    assert np.bincount(few % 10).min() >= 24
    assert (np.diff(few) > 0).all()
    # classes of one image say nothing of recall, and come last
    mixed = np.concatenate([np.arange(100, 400), np.repeat(np.arange(20), 5)])
    assert (sample(mixed, 100, seed=0) >= 300).all()
    np.testing.assert_array_equal(sample(labels, 300, seed=0), chosen)
    assert set(sample(labels, 300, seed=1)) != set(chosen)


def test_recall_at_1_by_hand_and_with_copies():
    """At 0, 1, 3 and 3.5: 0 finds 1, 1 finds 0, the third finds the fourth of another class."""
    points = np.array([[0.0], [1.0], [3.0], [3.5]], np.float32)
    assert recall_at_1(points, np.array([0, 0, 1, 0])) == pytest.approx(2 / 3)
    copies = np.zeros((4, 2), np.float32)  # an equal one is no image itself
    assert (
        recall_at_1(copies, np.array([0, 1, 0, 1])) == retrieve(copies, [0, 1, 0, 1]).recall_at[1]
    )
