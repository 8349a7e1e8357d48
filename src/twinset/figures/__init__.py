"""Every plot: arrays in, `matplotlib.figure.Figure` out.

Never pyplot: its figures live in a global list until somebody closes them. Blue means same and
orange means different, everywhere; what colour says is also said in words or by a hatch. Text has
8.5 points or more on figures about five inches wide, so they read on a phone of 360 pixels.
"""

from typing import TYPE_CHECKING, Any

from twinset.errors import MissingError, no_drawing

_why_not = no_drawing()
if _why_not and not TYPE_CHECKING:
    # without the extra `pictures`: who wants a report without plots asks `no_drawing` first

    def __getattr__(name: str) -> Any:
        if name in __all__:
            raise MissingError(_why_not)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

else:
    from twinset.figures.canvas import png_bytes, save
    from twinset.figures.curves import (
        Panel,
        det,
        distance_histogram,
        growth,
        loss_curve,
        roc,
        training_health,
    )
    from twinset.figures.evaluation_plots import class_matrix, folds, reliability
    from twinset.figures.network_drawing import LayerRow, network
    from twinset.figures.pair_sheets import occlusion, pairs
    from twinset.figures.sheets import Row, contact_sheet, look_alikes, neighbours

__all__ = [
    "LayerRow",
    "Panel",
    "Row",
    "class_matrix",
    "contact_sheet",
    "det",
    "distance_histogram",
    "folds",
    "growth",
    "look_alikes",
    "loss_curve",
    "neighbours",
    "network",
    "occlusion",
    "pairs",
    "png_bytes",
    "reliability",
    "roc",
    "save",
    "training_health",
]
