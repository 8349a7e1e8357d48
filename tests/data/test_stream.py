"""Images decoded a batch at a time: all of them, in order, with what failed beside them."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset.data.cache import decode_batches
from twinset.data.decoding.decode import Preprocessing
from twinset.data.decoding.image_file import EncodedImage
from twinset.errors import ImageFileError

SHAPE = Preprocessing((2, 2))


class Gray:
    """A source of an image of one gray; a negative one cannot be read."""

    def __init__(self, level, opened=None):
        self.level, self.name, self.opened = level, str(level), opened

    def encoded(self):
        if self.opened is not None:
            self.opened.append(self.level)
        if self.level < 0:
            raise ImageFileError(f"{self.name}: no")
        return np.full((2, 2), self.level, np.uint8)


@given(st.lists(st.integers(-3, 255)), st.integers(1, 20), st.integers(1, 4))
def test_batches_hold_all_in_order(levels, size, workers):
    batches = list(decode_batches([Gray(v) for v in levels], SHAPE, size=size, workers=workers))
    assert len(batches) == -(-len(levels) // size)
    positions = np.concatenate([np.empty(0, int), *(batch.positions for batch in batches)])
    assert positions.tolist() == [i for i, level in enumerate(levels) if level >= 0]
    found = [int(image[0, 0]) for batch in batches for image in batch.pixels]
    assert found == [level for level in levels if level >= 0]
    bad = {place: one for batch in batches for place, one in batch.skipped.items()}
    assert {place: (one.name, one.reason) for place, one in bad.items()} == {
        i: (str(level), f"{level}: no") for i, level in enumerate(levels) if level < 0
    }


def test_no_more_than_the_next_batch_is_read_ahead():
    opened = []
    batches = decode_batches([Gray(i % 250, opened) for i in range(100)], SHAPE, size=10, workers=1)
    next(batches)
    batches.close()
    assert 10 <= len(opened) <= 20
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_large_images_make_small_batches():
    wide = Preprocessing((1024, 1024, 3))
    sources = [Gray(1) for _ in range(40)]
    assert [len(batch.positions) for batch in decode_batches(sources, wide)] == [16, 16, 8]


def test_an_error_of_our_own_is_not_swallowed():
    class Wrong(Gray):
        def encoded(self):
            raise KeyError("a mistake")

    with pytest.raises(KeyError, match="a mistake"):
        list(decode_batches([Wrong(1)], SHAPE))
    assert EncodedImage is not None
