"""Every plot: arrays in, `matplotlib.figure.Figure` out.

Never pyplot: its figures live in a global list until somebody closes them. Blue means same and
orange means different, everywhere; what colour says is also said in words or by a hatch. Text has
8.5 points or more on figures about five inches wide, so they read on a phone of 360 pixels.
"""

from twinset.figures.canvas import png_bytes, save
from twinset.figures.contact_sheets import contact_sheet, look_alikes
from twinset.figures.curves import distance_histogram, loss_curve
from twinset.figures.evaluation_plots import class_matrix, det, reliability, roc
from twinset.figures.fold_plots import folds
from twinset.figures.health_panels import training_health
from twinset.figures.neighbour_sheet import Row, neighbours
from twinset.figures.network_drawing import LayerRow, network
from twinset.figures.pair_sheet import pairs

__all__ = [
    "LayerRow",
    "Row",
    "class_matrix",
    "contact_sheet",
    "det",
    "distance_histogram",
    "folds",
    "look_alikes",
    "loss_curve",
    "neighbours",
    "network",
    "pairs",
    "png_bytes",
    "reliability",
    "roc",
    "save",
    "training_health",
]
