"""What holds for every loss over a batch: a table of losses × invariances, and every bad batch."""

import keras
import numpy as np
import pytest
from keras import ops

from loss_cases import CASES, DIM, batch, compile_for_jax, measure, of, value, values
from twinset import losses
from twinset.losses import batch as all_pairs
from twinset.losses import distances

EACH = pytest.mark.parametrize("name", CASES)
HEADED = [name for name, case in CASES.items() if hasattr(case.make().head, "directions")]
# One setting of each loss, for what must be compiled anew.
PLAIN = [name for name in CASES if "," not in name] + [
    "triplet, all, soft",
    "triplet, semi-hard",
    "triplet, hard",
]
NEAR = {"rel": 1e-4, "abs": 1e-6}


# --- invariances


@pytest.mark.any_backend
@EACH
def test_order_of_the_batch(name):
    labels, points = batch(2)
    order = np.random.default_rng(0).permutation(len(labels))
    each, slope = measure(name, labels, points)
    assert np.ptp(each) > 1e-3  # the images differ
    moved, moved_slope = measure(name, labels[order], points[order])
    np.testing.assert_allclose(moved, each[order], rtol=2e-4)
    np.testing.assert_allclose(moved_slope, slope[order], atol=2e-4 * np.abs(slope).max())


@pytest.mark.any_backend
@EACH
def test_names_of_the_classes(name):
    labels, points = batch(2)
    before = measure(name, labels, points)[0].mean()
    if name in HEADED:
        loss, renamed = CASES[name].make(), np.array([2, 0, 3, 1])  # and the proxies with them
        loss.head.directions.assign(ops.convert_to_numpy(loss.head.directions)[[1, 3, 0, 2]])
        after = value(loss, renamed[labels], points)
    else:
        after = measure(name, np.array([70_000, -3, 0, 9])[labels], points)[0].mean()
    assert after == pytest.approx(before, **NEAR)


@pytest.mark.any_backend
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.prefixes])
def test_rotation(name):
    labels, points = batch(2)
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(DIM, DIM)))[0]
    before = measure(name, labels, points)[0].mean()
    turned = (points @ turn).astype(np.float32)
    if name in HEADED:
        loss = CASES[name].make()
        loss.head.directions.assign(ops.convert_to_numpy(loss.head.directions) @ turn)
        after = value(loss, labels, turned)
    else:
        after = measure(name, labels, turned)[0].mean()
    assert after == pytest.approx(before, **NEAR)


@pytest.mark.any_backend
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.sphere])
def test_length_of_each_embedding(name):
    labels, points = batch(2)
    lengths = np.geomspace(1e-4, 1e4, len(labels))[:, None].astype(np.float32)
    before, _ = measure(name, labels, points)
    after, slope = measure(name, labels, points * lengths)
    assert after.mean() == pytest.approx(before.mean(), **NEAR)
    # so the gradient stands upright on the embedding
    along = np.sum(slope * points * lengths, axis=1)
    np.testing.assert_allclose(along, 0, atol=1e-4 * before.mean())


@pytest.mark.any_backend
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.sphere])
def test_place_of_the_origin(name):
    labels, points = batch(2)
    before, _ = measure(name, labels, points)
    after, _ = measure(name, labels, points + 30)
    assert after.mean() == pytest.approx(before.mean(), rel=1e-3)


@pytest.mark.any_backend
@EACH
def test_a_step_down_the_gradient_lowers_the_loss(name):
    labels, points = batch(2)
    before, slope = measure(name, labels, points)
    step = 1e-3 * np.sqrt((points**2).mean() / (slope**2).mean())
    after, _ = measure(name, labels, points - step * slope)
    assert after.mean() < before.mean()


# --- batches that a sampler should not, but will, draw

PAIRS = np.repeat(np.arange(4), 3)
ONE = np.ones((12, DIM), np.float32)
DRAWN = np.random.default_rng(8).normal(size=(12, DIM)).astype(np.float32)
FIRST = np.float32([0, *[1] * 11])[:, None]
SIGNS = np.float32([1, -1] * 6)[:, None]
BATCHES = {
    "one class": (np.zeros(12, int), DRAWN),
    "all coincident": (PAIRS, 0.3 * ONE),
    "one class, coincident": (np.zeros(12, int), ONE),
    "no positive, coincident": (np.arange(12), ONE),
    "duplicates": (PAIRS, DRAWN[np.tile(np.arange(4), 3)]),
    "zero vectors": (PAIRS, 0 * ONE),
    "one zero vector": (PAIRS, DRAWN * FIRST),
    "huge": (PAIRS, 1e4 * DRAWN),
    "huge, coincident": (PAIRS, 1e4 * ONE),
    "tiny": (PAIRS, 1e-20 * DRAWN),
    "opposite": (PAIRS, DRAWN[[0]] * SIGNS),
    "one image": (np.array([1]), DRAWN[:1]),
    "one zero image": (np.array([1]), 0 * DRAWN[:1]),
    "two alike": (np.array([1, 1]), DRAWN[:2]),
    "two unlike": (np.array([1, 2]), DRAWN[:2]),
    "two unlike, coincident": (np.array([1, 2]), DRAWN[[0, 0]]),
}


@EACH
def test_finite_value_and_gradient_for_every_batch(name):
    for what, (labels, points) in BATCHES.items():
        if len(labels) < 12 and name not in PLAIN:
            continue
        each, slope = measure(name, labels, points)
        assert np.isfinite(each).all(), what
        assert (each >= -1e-5).all(), what
        assert np.isfinite(slope).all(), what


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in CASES
        # a proxy is always there; the others push even so, by their papers
        if not name.startswith(("contrastive", "softmax", "proxy", "sigmoid"))
        and name not in ("multi_similarity, all", "prefixes, softmax")
    ],
)
def test_no_positive_anywhere_costs_nothing(name):
    for points in (DRAWN, ONE):
        each, slope = measure(name, np.random.default_rng(0).permutation(12), points)
        assert not each.any()
        assert not slope.any()


def test_a_zero_vector_gets_no_gradient_and_spares_the_others():
    _, slope = measure("supcon", *BATCHES["one zero vector"])
    assert not slope[0].any()
    assert (np.abs(slope[1:]).max(axis=1) > 1e-4).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["supcon", "contrastive, raw", "prefixes", "proxy_anchor"])
def test_half_precision_is_computed_in_float32(name, dtype):
    labels, points = batch(0)
    half = ops.cast(ops.convert_to_tensor(points), dtype)
    found = of(name).call(ops.convert_to_tensor(labels), half)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    rounded = ops.convert_to_numpy(ops.cast(half, "float32"))
    expected = values(of(name), labels, rounded)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-6)


# --- the same by other ways


@pytest.mark.parametrize("name", sorted(set(PLAIN) - {"softmax", "proxy_anchor", "prefixes"}))
def test_blocks_of_anchors_change_nothing(name, monkeypatch):
    labels, points = batch(3)
    whole, slope = measure(name, labels, points)
    monkeypatch.setattr(all_pairs, "WHOLE", 5)
    monkeypatch.setattr(all_pairs, "BLOCK_ELEMENTS", 30)  # five blocks of 3, the last empty
    if keras.backend.backend() == "jax":
        each, blocked = compile_for_jax(of(name))(points, labels)
    else:
        each, blocked = measure(name, labels, points)
    np.testing.assert_allclose(np.asarray(each), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(blocked), slope, atol=1e-5 * np.abs(slope).max())


@pytest.mark.parametrize("name", ["triplet, all", "triplet, semi-hard", "triplet, semi-hard, soft"])
def test_turns_and_sorting_agree(name, monkeypatch):
    labels, points = batch(3)
    found = []
    for sort in (False, True):
        monkeypatch.setattr(distances, "SORT", sort)
        if keras.backend.backend() == "jax":
            found.append([np.asarray(part) for part in compile_for_jax(of(name))(points, labels)])
        else:
            found.append(measure(name, labels, points))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5 * np.abs(found[0][1]).max())


def test_blocks_cover_large_batches(monkeypatch):
    seen = []
    rows = all_pairs._rows
    monkeypatch.setattr(all_pairs, "_rows", lambda *args: seen.append(args[0].shape) or rows(*args))
    labels = np.arange(2050) % 50
    points = np.random.default_rng(0).normal(size=(2050, 3)).astype(np.float32)
    found = value(losses.SupCon(), labels, points)
    assert seen
    assert {shape[0] for shape in seen} == {1025}
    monkeypatch.setattr(all_pairs, "WHOLE", 4096)
    assert value(losses.SupCon(), labels, points) == pytest.approx(found, rel=1e-6)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="sizes are unknown in its graphs only"
)
@EACH
def test_compiled_for_a_batch_of_unknown_size(name):
    import tensorflow as tf

    signature = [tf.TensorSpec([None, DIM]), tf.TensorSpec([None], tf.int32)]

    @tf.function(input_signature=signature)
    def both(points, labels):
        with tf.GradientTape() as tape:
            tape.watch(points)
            found = of(name)(labels, points)
        return found, tape.gradient(found, points)

    labels, points = batch(0)
    each, slope = measure(name, labels, points)
    found, compiled = both(points, labels.astype(np.int32))
    assert float(found) == pytest.approx(each.mean(), rel=1e-5)
    np.testing.assert_allclose(compiled.numpy(), slope, atol=1e-4 * np.abs(slope).max())
