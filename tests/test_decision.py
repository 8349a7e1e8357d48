"""What a pair truly is: one check for scores, calibration, pairs of a training, and losses."""

import keras
import numpy as np
import pytest
from keras import ops

import twinset
from twinset.decision import truth
from twinset.errors import DataError
from twinset.figures.pair_sheets import pairs as sheet_of_pairs
from twinset.losses import Contrastive
from twinset.metrics.calibration import fit_calibrator
from twinset.metrics.pairs import best_accuracy_threshold, curve_of_pairs, hardest_mistakes

DISTANCES = np.array([0.1, 0.2, 0.8, 0.9], np.float32)
PIXELS = np.zeros((4, 3, 3), np.uint8)
# what people have instead of 0 and 1, and how a message shows the first that is wrong
WRONG = [
    ([1, 1, -1, -1], "-1"),
    ([1, 1, 2, 2], "2"),
    ([1.0, float("nan"), 0.0, 0.0], "nan"),
    (["same", "same", "different", "different"], "same"),
    (["1", "1", "0", "0"], "1"),
    ([0.9, 0.8, 0.2, 0.1], "0.9"),
    ([True, None, False, False], "None"),
]


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint8, np.int64, np.float32, object])
def test_ones_and_zeros_of_any_kind_are_booleans(kind):
    found = truth(np.array([1, 0, 0, 1]).astype(kind))
    assert (found.dtype, found.tolist()) == (bool, [True, False, False, True])
    assert truth([]).tolist() == []


@pytest.mark.parametrize(("same", "shown"), WRONG)
@pytest.mark.parametrize(
    "take",
    [
        lambda same: twinset.score_pairs(DISTANCES, same, 0.5),
        lambda same: best_accuracy_threshold(DISTANCES, same),
        lambda same: hardest_mistakes(DISTANCES, same, 0.5, 2),
        lambda same: fit_calibrator(curve_of_pairs(DISTANCES, same)),
        lambda same: twinset.Pairs([0, 1, 2, 3], [1, 2, 3, 0], same),
        lambda same: Contrastive()(np.array(same), DISTANCES),
        lambda same: sheet_of_pairs(PIXELS, PIXELS, same),
    ],
    ids=["score", "threshold", "mistakes", "calibrator", "Pairs", "Contrastive", "sheet"],
)
def test_other_labels_of_pairs_are_refused(take, same, shown):
    with pytest.raises(DataError, match=rf"Expected 1 or True .* Received .*{shown}.* position \d"):
        take(same)


def test_a_tensor_is_checked_too():
    labels = ops.convert_to_tensor(np.array([1, -1], np.int32))
    with pytest.raises(DataError, match=r"Received .*-1.* at position 1"):
        Contrastive()(labels, ops.convert_to_tensor(DISTANCES[:2]))


def test_a_compiled_loss_is_nan_where_a_label_is_wrong():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", Contrastive())
    rows, steps = DISTANCES[:, None], {"batch_size": 4, "verbose": 0}
    assert np.isfinite(model.fit(rows, np.array([1, 1, 0, 0]), **steps).history["loss"])
    assert np.isnan(model.fit(rows, np.array([1, 1, -1, -1]), **steps).history["loss"])


def test_pairs_become_arrays_that_fit_together():
    found = twinset.Pairs([0, 1], [2, 3], [1, 0])
    assert [each.dtype.kind for each in (found.left, found.right, found.same)] == ["i", "i", "b"]
    with pytest.raises(DataError, match=r"one shape \(p,\). Received \(2,\), \(2,\) and \(1,\)"):
        twinset.Pairs([0, 1], [2, 3], [1])
    with pytest.raises(DataError, match="positions of images, whole numbers from 0 .*-1 to 0"):
        twinset.Pairs([0, -1], [2, 3], [1, 0])
    odd = ([0.5], "float64, such as .*0.5"), (["a.png"], "such as .*a.png"), ([2**32], "int64")
    for wrong, told in odd:
        with pytest.raises(DataError, match=f"from 0 to 2,147,483,647. Received .*{told}"):
            twinset.Pairs(wrong, [2], [1])
