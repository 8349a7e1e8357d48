import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset.data.batches import PADDING, class_batches, shuffled_batches
from twinset.errors import DataError


@given(st.integers(1, 300), st.integers(1, 70), st.integers(0, 2**31 - 1), st.integers(0, 100))
def test_each_item_once_and_padding_last(count, size, seed, epoch):
    batches = shuffled_batches(count, size, seed=seed, epoch=epoch)
    assert batches.shape == (-(-count // size), min(size, count))
    flat = batches.ravel()
    assert sorted(flat[:count].tolist()) == list(range(count))
    assert (flat[count:] == PADDING).all()
    assert (batches[:, 0] != PADDING).all()


def test_a_function_of_seed_and_epoch():
    orders = {
        (seed, epoch): shuffled_batches(50, 10, seed=seed, epoch=epoch).tobytes()
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(set(orders.values())) == 16
    assert orders[2, 3] == shuffled_batches(50, 10, seed=2, epoch=3).tobytes()


def test_the_order_is_uniform():
    firsts = [int(shuffled_batches(5, 5, seed=0, epoch=epoch)[0, 0]) for epoch in range(2000)]
    # 400 expected of each, a standard deviation of 18
    assert np.abs(np.bincount(firsts, minlength=5) - 400).max() < 5 * 18


@pytest.mark.parametrize(("count", "size"), [(0, 1), (1, 0)])
def test_nothing_to_draw_from(count, size):
    with pytest.raises(DataError, match="at least 1 item and a batch of at least 1"):
        shuffled_batches(count, size, seed=0, epoch=0)


# --- several images of each of several classes


@given(
    st.lists(st.integers(0, 9), min_size=2, max_size=90),
    st.integers(2, 40),
    st.integers(0, 6),
    st.integers(0, 3),
)
def test_every_image_has_partners(labels, batch_size, per_class, epoch):
    labels = np.array(labels)
    several = np.flatnonzero(np.bincount(labels) > 1)
    if not len(several) or (per_class and not 2 <= per_class <= batch_size):
        with pytest.raises(DataError, match="two images"):
            class_batches(labels, batch_size, per_class=per_class, seed=0, epoch=epoch)
        return
    rows = class_batches(labels, batch_size, per_class=per_class, seed=0, epoch=epoch)
    assert rows.dtype == np.int32
    assert rows.shape[1] <= batch_size
    for row in rows:
        classes, counts = np.unique(labels[row], return_counts=True)
        assert len(set(counts)) == 1, "balanced"
        assert counts[0] >= 2
        assert counts[0] == per_class or not per_class
        assert np.isin(classes, several).all()
        for label, count in zip(classes, counts, strict=True):
            distinct = len(set(row[labels[row] == label]))
            assert distinct == min(count, (labels == label).sum()), "none again before all came"
    again = class_batches(labels, batch_size, per_class=per_class, seed=0, epoch=epoch)
    np.testing.assert_array_equal(rows, again)


def test_equal_classes_are_all_visited_once():
    labels = np.repeat(np.arange(10), 25)
    for epoch in (0, 1):
        rows = class_batches(labels, 50, seed=4, epoch=epoch)
        assert rows.shape == (5, 50)
        assert sorted(rows.ravel()) == list(range(250))
        assert (np.sort(labels[rows], axis=1) == np.repeat(np.arange(10), 5)).all()
    one, two = (class_batches(labels, 50, seed=4, epoch=epoch) for epoch in (0, 1))
    assert not np.array_equal(one, two)


def test_small_classes_come_as_often_as_large_ones():
    labels = np.repeat([0, 1, 2], [300, 30, 3])
    rows = class_batches(labels, 12, per_class=4, seed=0, epoch=0)
    np.testing.assert_array_equal(np.bincount(labels[rows].ravel()) / rows.size, [1 / 3] * 3)
