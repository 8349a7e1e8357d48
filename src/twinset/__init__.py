"""Teach a machine what "the same" means: train a siamese network, score it honestly, use it.

>>> import twinset
>>> twinset.Recipe.load("tutorial", epochs=4).epochs
4

Names are loaded on first use, so that `import twinset` costs milliseconds and Keras is imported
only by what trains or embeds. Keras chooses its back end once, at its first import: twinset asks
for JAX, unless the environment variable KERAS_BACKEND or an earlier `import keras` chose.
"""

from __future__ import annotations

import importlib
import os
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinset.data.features import LabelledFeatures
    from twinset.data.images import LabelledImages
    from twinset.data.pairs import Pairs, tutorial_pairs
    from twinset.data.read import read_images
    from twinset.data.read_features import read_features
    from twinset.data.sources.fashion_mnist import load_fashion_mnist
    from twinset.decision import Threshold, Verdict
    from twinset.embed import losses, networks
    from twinset.embed.embedder import Embedder
    from twinset.embed.load import load_model
    from twinset.embed.model import SiameseModel
    from twinset.embed.siamese import siamese
    from twinset.embed.training import fit
    from twinset.errors import TwinsetError
    from twinset.evaluate.verification import score_pairs
    from twinset.recipe import Recipe
    from twinset.workflow.assessment import evaluate
    from twinset.workflow.check import check_data
    from twinset.workflow.comparison import compare_models
    from twinset.workflow.duplicates import duplicates
    from twinset.workflow.export import export
    from twinset.workflow.index import Index
    from twinset.workflow.run import train
    from twinset.workflow.verdicts import compare_pairs

__version__ = "0.1.0"

# ~/.keras/keras.json is no choice to respect: Keras itself writes it, naming TensorFlow, at the
# first import on every machine.
os.environ.setdefault("KERAS_BACKEND", "jax")
# TensorFlow tells its CPU's instruction sets at every import.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Public name → the module that defines it, or the module itself.
_HOMES = {
    "Embedder": "twinset.embed.embedder",
    "Index": "twinset.workflow.index",
    "LabelledFeatures": "twinset.data.features",
    "LabelledImages": "twinset.data.images",
    "Pairs": "twinset.data.pairs",
    "Recipe": "twinset.recipe",
    "SiameseModel": "twinset.embed.model",
    "Threshold": "twinset.decision",
    "TwinsetError": "twinset.errors",
    "Verdict": "twinset.decision",
    "check_data": "twinset.workflow.check",
    "compare_models": "twinset.workflow.comparison",
    "compare_pairs": "twinset.workflow.verdicts",
    "duplicates": "twinset.workflow.duplicates",
    "evaluate": "twinset.workflow.assessment",
    "export": "twinset.workflow.export",
    "fit": "twinset.embed.training",
    "load_fashion_mnist": "twinset.data.sources.fashion_mnist",
    "load_model": "twinset.embed.load",
    "losses": "twinset.embed.losses",
    "networks": "twinset.embed.networks",
    "read_features": "twinset.data.read_features",
    "read_images": "twinset.data.read",
    "score_pairs": "twinset.evaluate.verification",
    "siamese": "twinset.embed.siamese",
    "train": "twinset.workflow.run",
    "tutorial_pairs": "twinset.data.pairs",
}

_MODULES = {"losses", "networks"}

__all__ = [
    "Embedder",
    "Index",
    "LabelledFeatures",
    "LabelledImages",
    "Pairs",
    "Recipe",
    "SiameseModel",
    "Threshold",
    "TwinsetError",
    "Verdict",
    "check_data",
    "compare_models",
    "compare_pairs",
    "duplicates",
    "evaluate",
    "export",
    "fit",
    "load_fashion_mnist",
    "load_model",
    "losses",
    "networks",
    "read_features",
    "read_images",
    "score_pairs",
    "siamese",
    "train",
    "tutorial_pairs",
]


class _Callable(types.ModuleType):
    """Lets `twinset.evaluate` be both the stage and, as the counterpart of `fit`, the verb."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Judge a model: see `twinset.workflow.assessment.evaluate`."""
        from twinset.workflow.assessment import evaluate

        return evaluate(*args, **kwargs)


# Importing any module of the stage would put the package in the place of a function.
importlib.import_module("twinset.evaluate").__class__ = _Callable


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'twinset' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    value = home if name in _MODULES else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
