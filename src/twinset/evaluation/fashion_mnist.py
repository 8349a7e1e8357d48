"""What the protocol knows of Fashion-MNIST: which classes are alike, and which are held out."""

from __future__ import annotations

from twinset.data.labelled import Labelled
from twinset.evaluation.folds import Fold

# Of `LabelledImages` of the official test set. Known by its content: a folder of the same name may
# hold other classes, or the same in another order.
DIGEST = "42ad7b2c22d3efdc8a1e22b242ee685ec561f09069e0d3b53ace1b85b47826ce"

TOPS, SHOES = (0, 2, 3, 4, 6), (5, 7, 9)

NEAR, COURSE, HALVES = "U1", "U2", "U3"

# U1: pairs of near classes; every class is unseen once. U2: the split of the course IFN680.
# U3: halves, both ways.
FOLDS = (
    *(
        Fold("class", pair, NEAR, number)
        for number, pair in enumerate(((0, 6), (2, 4), (5, 7), (1, 3), (8, 9)), 1)
    ),
    Fold("class", (3, 6, 7, 8), COURSE, 1, averaged=False),
    Fold("class", (0, 4, 5, 6, 7), HALVES, 1, averaged=False),
    Fold("class", (1, 2, 3, 8, 9), HALVES, 2, averaged=False),
)


def is_fashion_mnist(test: Labelled) -> bool:
    """Tell whether images are Fashion-MNIST's test set."""
    return test.digest == DIGEST


def near_classes(test: Labelled) -> tuple[tuple[int, ...], ...]:
    """List the labels of classes that are alike, where that is known."""
    return (TOPS, SHOES) if is_fashion_mnist(test) else ()
