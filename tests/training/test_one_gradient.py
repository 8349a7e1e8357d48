"""Devices that share a batch find the gradient that one finds, and take the steps that it takes."""

import itertools
import json
import os
import subprocess
import sys

import pytest

import one_gradient
from twinset.losses import LOSSES

pytestmark = pytest.mark.jax_alone


def test_several_devices_find_what_one_finds():
    """Every loss; views, dropout, normalisation, learned heads, prefixes, a network in parts.

    And no device needs the images of another.

    In float64, as the order of a sum alone moves float32 by 10⁻⁶. `benchmarks/one_gradient.py`
    takes each by itself, two devices, and float32.
    """
    ways = ["everything", one_gradient.STEPS]
    arguments = ["float64", "--ways", *ways, "--losses", *one_gradient.LOSSES, "--counts", "4"]
    done = subprocess.run(
        [sys.executable, one_gradient.__file__, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"KERAS_BACKEND": "jax"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    gradients = found["everything"]
    assert set(gradients) > set(one_gradient.LOSSES)
    assert {name: far for name, far in gradients.items() if max(far) > 1e-10} == {}
    steps = found[one_gradient.STEPS]
    assert max(steps[one_gradient.PAIRS] + steps[one_gradient.CLUSTERS]) < 1e-10
    # messages to each of three others: there and back for each of two normalisations, a stretch of
    # all slopes and its sum; and two exchanges when the host looks
    assert steps[f"exchanges, {one_gradient.PAIRS}"] == [(2 * 2 + 2) * 3 + 2]


def test_every_loss_that_a_recipe_can_name_is_in_the_table():
    names = {name.partition(",")[0] for name in one_gradient.LOSSES}
    assert names - {"prefixes"} == set(LOSSES.names())


def test_labels_on_the_wrong_device_would_be_seen():
    """However devices change places, other images are of one class: no loss stays what it was."""
    _, labels = one_gradient.images()
    parts = labels.reshape(one_gradient.MOST, -1)
    same = labels[:, None] == labels
    for order in list(itertools.permutations(range(one_gradient.MOST)))[1:]:
        moved = parts[list(order)].ravel()
        assert (same != (moved[:, None] == moved)).mean() > 0.1
