"""Heads in closed form: what they promise of covariances, and the models that hold them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

import twinset
from twinset.errors import DataError, RecipeError
from twinset.metrics.pairs import auc, curve_of_pairs
from twinset.training.closed_form import fit_head

KINDS = ("plain", "centred", "euclidean", "whitened", "lda")


def classes(seed=0, count=6, size=20, dim=5, noise=(4, 1, 1, 1, 0.2)):
    """Rows of classes whose images differ most along the first axis, which says nothing of them."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count), size)
    centres = rng.normal(size=(count, dim))
    rows = centres[labels] + rng.normal(size=(len(labels), dim)) * noise
    return rows.astype(np.float32), labels


def within(rows, labels):
    """The covariance within classes, by its definition."""
    inner = np.concatenate([rows[labels == k] - rows[labels == k].mean(0) for k in set(labels)])
    return inner.T @ inner / (len(rows) - len(set(labels)))


def test_plain_and_centred_are_what_a_person_computes():
    rows = np.array([[3, 4], [-1, 6], [7, 1]], np.float32)
    labels = [0, 0, 1]  # the means of the classes are (1, 5) and (7, 1)
    np.testing.assert_allclose(fit_head(rows, labels, "plain")(rows[:1]), [[0.6, 0.8]], atol=1e-6)
    centred = fit_head(rows, labels, "centred")
    np.testing.assert_allclose(centred.mean, [4, 3])
    np.testing.assert_allclose(centred([[5, 3], [4, 8]]), [[1, 0], [0, 1]], atol=1e-6)


@pytest.mark.parametrize("kind", ["centred", "lda"])
def test_a_class_that_has_most_of_the_images_is_one_of_them(kind):
    """Its copies change no mean; nine in ten images of one class leave the others told apart."""
    rows, labels = classes(noise=(0,) * 5)
    copies = np.repeat(np.arange(len(rows)), np.where(labels == 0, 45, 1))
    once, often = (fit_head(rows[of], labels[of], kind) for of in (np.arange(len(rows)), copies))
    np.testing.assert_allclose(once.mean, often.mean, atol=1e-5)
    np.testing.assert_allclose(once(rows) @ once(rows).T, often(rows) @ often(rows).T, atol=1e-3)


def test_euclidean_keeps_distances_that_length_1_would_lose():
    rows = np.array([[1, 1], [2, 2], [4, 4], [-7, -7]], np.float32)  # one direction, four lengths
    head = fit_head(rows, [0, 0, 1, 1], "euclidean")
    # about their mean 0, of squared lengths 2, 8, 32 and 98, of which the mean is 35
    assert head.beside == pytest.approx(3 * 35**0.5)
    np.testing.assert_allclose(head([[0, 0]]), [[0, 0, 1]], atol=1e-6)
    spread = np.random.default_rng(0).uniform(size=(60, 20)).astype(np.float32)
    apart = pdist(fit_head(spread, range(60), "euclidean")(spread))
    assert spearmanr(apart, pdist(spread)).statistic > 0.99
    parts = fit_head(rows, [0, 0, 1, 1], "euclidean", sizes=(1, 1), weights=(1, 0))
    assert parts.beside == pytest.approx(3)
    np.testing.assert_allclose(
        parts(rows), fit_head(rows[:, :1], range(4), "euclidean")(rows[:, :1]), atol=1e-6
    )


@pytest.mark.parametrize("kind", ["whitened", "lda"])
def test_within_classes_the_covariance_becomes_the_unit_matrix(kind):
    rows, labels = classes()
    head = fit_head(rows, labels, kind, shrinkage=0.0)
    mapped = (rows - head.mean) @ head.matrix
    np.testing.assert_allclose(within(mapped, labels), np.eye(mapped.shape[1]), atol=1e-2)


def test_shrinkage_by_itself_is_that_of_ledoit_and_wolf():
    from sklearn.covariance import ledoit_wolf

    rows, labels = classes(count=9, size=4)
    inner = np.concatenate([rows[labels == k] - rows[labels == k].mean(0) for k in set(labels)])
    inner = inner.astype(float) * np.sqrt(4 / 3)
    values, vectors = np.linalg.eigh(ledoit_wolf(inner, assume_centered=True)[0])
    assert ledoit_wolf(inner, assume_centered=True)[1] > 0.01
    expected = (vectors * values**-0.5) @ vectors.T
    head = fit_head(rows, labels, "whitened", shrinkage="auto")
    np.testing.assert_allclose(head.matrix, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("images", [300, 900])
def test_of_many_features_the_directions_of_most_variance_are_kept(images):
    """As an exact decomposition finds them, for more images than features and for fewer."""
    rng = np.random.default_rng(0)
    strong = rng.normal(size=(images, 8)) @ rng.normal(size=(8, 600))
    rows = (strong + 0.1 * rng.normal(size=strong.shape)).astype(np.float32)
    head = fit_head(rows, np.arange(images) % 5, "whitened", dim=8)
    exact = np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:8]
    kept = np.linalg.qr(head.matrix)[0]
    np.testing.assert_allclose(np.linalg.svd(exact @ kept)[1], 1, atol=1e-3)


def test_the_leading_directions_of_lda_separate_most():
    """The ratio of Fisher along its first direction is the largest there is (a slow oracle)."""
    from scipy.linalg import eigh

    rows, labels = classes(size=40)
    centres = np.stack([rows[labels == k].mean(0) for k in range(6)])
    between = np.cov(centres.T, bias=True)
    largest = eigh(between, within(rows, labels), eigvals_only=True)[-1]
    direction = fit_head(rows, labels, "lda", shrinkage=0.0, dim=1).matrix[:, 0].astype(float)
    ratio = (direction @ between @ direction) / (direction @ within(rows, labels) @ direction)
    assert ratio == pytest.approx(largest, rel=1e-4)


def test_whitening_helps_with_classes_that_it_has_not_seen():
    rows, labels = classes(count=30)
    seen = labels < 20
    heads = {kind: fit_head(rows[seen], labels[seen], kind) for kind in ("centred", "whitened")}
    same = labels[~seen][:, None] == labels[~seen][None]
    found = {}
    for kind, head in heads.items():
        apart = np.linalg.norm(head(rows[~seen])[:, None] - head(rows[~seen])[None], axis=-1)
        found[kind] = auc(curve_of_pairs(apart.ravel(), same.ravel()))
    assert found["whitened"] > found["centred"] + 0.05


@given(st.sampled_from(KINDS), st.integers(2, 12), st.integers(1, 40), st.integers(0, 99))
def test_any_shape_gives_unit_rows_no_larger_than_asked(kind, images, dim, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(images, 9)).astype(np.float32)
    labels = np.arange(images) // 2
    found = fit_head(rows, labels, kind, dim=dim)(rows)
    assert len(found) == images
    if kind in ("whitened", "lda"):
        assert found.shape[1] <= dim
    lengths = np.linalg.norm(found, axis=1)
    assert ((np.abs(lengths - 1) < 1e-4) | (lengths < 1e-4)).all()


def test_equal_rows_and_one_class_break_nothing():
    rows = np.ones((6, 4), np.float32)
    for kind in KINDS:
        assert np.isfinite(fit_head(rows, [0, 0, 0, 1, 1, 1], kind)(rows)).all()
        assert np.isfinite(fit_head(rows, [0] * 6, kind)(rows)).all()


def test_parts_are_weighed_and_left_out():
    rows, labels = classes()
    both = fit_head(rows, labels, "centred", sizes=(2, 3), weights=(1, 0))
    alone = fit_head(rows[:, :2], labels, "centred")
    np.testing.assert_allclose(both(rows), alone(rows[:, :2]), atol=1e-5)
    even = fit_head(rows, labels, "whitened", sizes=(2, 3))
    mapped = (rows - even.mean) @ even.matrix
    for part in (mapped[:, :2], mapped[:, 2:]):
        assert np.square(part).sum(1).mean() == pytest.approx(1, rel=1e-4)


def test_what_cannot_be_is_refused():
    rows = np.eye(3, dtype=np.float32)
    with pytest.raises(DataError, match="two images of one class"):
        fit_head(rows, [0, 1, 2], "whitened")
    with pytest.raises(DataError, match="a weight for each of 2 features"):
        fit_head(rows, [0, 0, 1], "plain", sizes=(1, 2), weights=(1,))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_pixels_computes_what_its_head_does(stripes, kind, tmp_path):
    model = twinset.fit(
        stripes,
        "auto",
        choice={"candidates": "none"},
        encoder={"name": "pixels"},
        head={"kind": kind},
    )
    rows = stripes.images.reshape(60, -1) / np.float32(255)
    expected = fit_head(rows, stripes.labels, kind)(rows)
    np.testing.assert_allclose(model.embed(stripes), expected, atol=1e-4)
    model.save(tmp_path)
    twinset.export(tmp_path)
    graph = twinset.load_model(tmp_path, engine="onnx")
    np.testing.assert_allclose(graph.embed(stripes), expected, atol=1e-4)
    assert graph.digest == model.digest
    assert not model.history


def test_features_of_others_take_the_same_heads():
    rows, labels = classes()
    data = twinset.LabelledFeatures(rows, labels, tuple("abcdef"))
    settings = {"encoder": {"name": "head"}, "head": {"kind": "whitened"}}
    model = twinset.fit(data, "head", **settings)
    np.testing.assert_allclose(model.embed(data), fit_head(rows, labels)(rows), atol=1e-4)


def test_heads_and_networks_that_do_not_fit_are_refused(stripes):
    with pytest.raises(RecipeError, match="Expected a frozen network"):
        twinset.fit(stripes, "fast", head={"kind": "whitened"})
    with pytest.raises(RecipeError, match="nothing to train"):
        twinset.fit(stripes, "fast", encoder={"name": "pixels"})
    with pytest.raises(RecipeError, match="chosen out of candidates first"):
        twinset.fit(stripes, "auto", encoder={"name": "pixels"})


def test_two_heads_of_the_same_features_share_their_directions():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 12
    rows = np.float32(rng.normal(size=(12, 600))[labels] + rng.normal(size=(60, 600)))
    kept = {}
    for kind in ("whitened", "lda", "whitened"):
        shared, alone = (fit_head(rows, labels, kind, bases=each) for each in (kept, None))
        np.testing.assert_array_equal(shared.matrix, alone.matrix)
        np.testing.assert_array_equal(shared.mean, alone.mean)
    assert len(kept) == 1
    fit_head(rows[:-1], labels[:-1], "lda", bases=kept)
    assert len(kept) == 2
