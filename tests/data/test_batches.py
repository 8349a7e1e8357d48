import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset.data.batches import PADDING, shuffled_batches
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
