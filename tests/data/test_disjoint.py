"""Nothing is in two parts: the proof against a loop, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import calibration_oracles as oracles
from twinset.data.image_sources import fingerprints
from twinset.data.parts import prove_disjoint
from twinset.errors import DataError


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["fit", "tune", "test", ""]))),
    st.booleans(),
)
def test_the_proof_finds_what_the_loop_finds(rows, with_groups):
    pixels = np.array([[k, 0] for k, _ in rows], np.uint8).reshape(-1, 2)
    parts = {}
    for position, (_, name) in enumerate(rows):
        if name:
            parts.setdefault(name, []).append(position)
    keys = {name: [(i, rows[i][0]) for i in indices] for name, indices in parts.items()}
    shared = oracles.first_shared(keys)
    groups = [f"group {k}" for k, _ in rows] if with_groups else None
    if with_groups:  # the images differ, so the groups decide
        pixels[:, 1] = np.arange(len(rows))
    if shared is None:
        prove_disjoint(pixels, parts, groups)
        return
    owner, earlier, name, later = shared
    what = f"group 'group {rows[later][0]}'" if with_groups else "image: remove"
    with pytest.raises(
        DataError,
        match=f"position {earlier} in '{owner}' and position {later} in '{name}' with the same "
        f"{what}",
    ):
        prove_disjoint(pixels, parts, groups)


def test_one_changed_pixel_is_another_image(stripes):
    images = np.concatenate([stripes.images, stripes.images])
    parts = {"fit": range(60), "test": range(60, 120)}
    with pytest.raises(DataError, match="position 0 in 'fit' and position 60 in 'test'"):
        prove_disjoint(fingerprints(images), parts)
    images[60:, 0, 0] ^= 1
    images[7] = images[3]  # twice in one part is no leak
    prove_disjoint(fingerprints(images), parts)
    # a view that is not contiguous is hashed as what it shows
    prove_disjoint(fingerprints(images[:, ::-1]), parts)
