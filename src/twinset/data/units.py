"""What belongs together: copies, groups, and whatever hangs on one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinset.data.judged import hanging_together
from twinset.data.labelled import Labelled


def units_of(
    images: Labelled, together: NDArray[np.integer] | None, *, grouped: bool = True
) -> NDArray[np.int64]:
    """Number what must stay whole: by pixels, by group, by `together`, and all that hang on it."""
    ties = [np.unique(images.fingerprints, axis=0, return_inverse=True)[1].ravel()]
    if together is not None:
        ties.append(np.unique(together, return_inverse=True)[1])
    count = len(images)
    if grouped and images.groups is not None:
        names, codes = np.unique(images.groups, return_inverse=True)
        # without a name it is no group
        ties.append(np.where(names[codes] == "", len(names) + np.arange(count), codes))
    first, edges = count, []
    for codes in ties:  # images on one side, what ties them on the other
        edges.append((np.arange(count), codes + first))
        first += int(codes.max(initial=-1)) + 1
    return hanging_together(first, *edges)[:count]
