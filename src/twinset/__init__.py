"""Teach a machine what "the same" means: train a siamese network, measure it honestly, use it.

>>> import twinset
>>> twinset.Recipe.load("tutorial", epochs=4).epochs
4

Names are loaded on first use, so that `import twinset` costs milliseconds and Keras is imported
only by what trains or embeds. Keras chooses its backend once, at its first import: twinset asks
for JAX, unless the environment variable KERAS_BACKEND or an earlier `import keras` chose.
"""

from __future__ import annotations

import importlib
import os
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinset import losses as losses
    from twinset import networks as networks
    from twinset.data.checks.check import DataCheck as DataCheck
    from twinset.data.checks.check import check_data as check_data
    from twinset.data.checks.near_duplicates import Alike as Alike
    from twinset.data.data_set import load_features as load_features
    from twinset.data.data_set import load_images as load_images
    from twinset.data.labelled import LabelledFeatures as LabelledFeatures
    from twinset.data.labelled import LabelledImages as LabelledImages
    from twinset.data.named_parts import split as split
    from twinset.data.pairs import Pairs as Pairs
    from twinset.data.pairs import tutorial_pairs as tutorial_pairs
    from twinset.data.sources.fashion_mnist import load_fashion_mnist as load_fashion_mnist
    from twinset.data.streamed import load_batches as load_batches
    from twinset.decision import ErrorCurve as ErrorCurve
    from twinset.decision import Threshold as Threshold
    from twinset.decision import Verdict as Verdict
    from twinset.distance import from_cosine as from_cosine
    from twinset.distance import to_cosine as to_cosine
    from twinset.errors import TwinsetError as TwinsetError
    from twinset.evaluation.choice import choose as choose
    from twinset.evaluation.chosen import Choice as Choice
    from twinset.evaluation.evaluate import Evaluation as Evaluation
    from twinset.evaluation.evaluate import compare_models as compare_models
    from twinset.evaluation.evaluate import evaluate as evaluate
    from twinset.exporters.export import Export as Export
    from twinset.exporters.export import export as export
    from twinset.metrics.comparison import Comparison as Comparison
    from twinset.metrics.fusion import Fusion as Fusion
    from twinset.metrics.fusion import fuse as fuse
    from twinset.metrics.pairs import PairScores as PairScores
    from twinset.metrics.pairs import score_pairs as score_pairs
    from twinset.models.bulk import Written as Written
    from twinset.models.bulk import embed_images as embed_images
    from twinset.models.compare_pairs import Joint as Joint
    from twinset.models.compare_pairs import PairVerdicts as PairVerdicts
    from twinset.models.compare_pairs import compare_pairs as compare_pairs
    from twinset.models.embedder import Embedder as Embedder
    from twinset.models.explanation import Explanation as Explanation
    from twinset.models.keras_model import SiameseModel as SiameseModel
    from twinset.models.onnx_model import load_model as load_model
    from twinset.networks.layers import siamese as siamese
    from twinset.recipe import Recipe as Recipe
    from twinset.report.index_page import write_review as write_review
    from twinset.run import Run as Run
    from twinset.run import train as train
    from twinset.search.answer import Answer as Answer
    from twinset.search.answer import Changes as Changes
    from twinset.search.decisions import Decided as Decided
    from twinset.search.decisions import Decision as Decision
    from twinset.search.duplicates import DuplicateGroup as DuplicateGroup
    from twinset.search.duplicates import Duplicates as Duplicates
    from twinset.search.duplicates import duplicates as duplicates
    from twinset.search.identification import Identification as Identification
    from twinset.search.identification import Identity as Identity
    from twinset.search.identification import IdentitySettings as IdentitySettings
    from twinset.search.index import Index as Index
    from twinset.search.items import Items as Items
    from twinset.search.items import Neighbour as Neighbour
    from twinset.search.keep import KeepPlan as KeepPlan
    from twinset.search.keep import keep_plan as keep_plan
    from twinset.search.paging import Page as Page
    from twinset.search.review import Review as Review
    from twinset.search.switching import Switched as Switched
    from twinset.search.thresholds import Point as Point
    from twinset.server.client import Client as Client
    from twinset.server.running import serve as serve
    from twinset.training.estimator import SiameseTransformer as SiameseTransformer
    from twinset.training.fit import fit as fit

__version__ = "0.2.0"

# ~/.keras/keras.json is no choice to respect: Keras itself writes it, naming TensorFlow, at the
# first import on every machine.
os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "jax"
# TensorFlow tells its CPU's instruction sets at every import.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Module → its public names.
_PUBLIC = {
    "data.checks.check": "DataCheck check_data",
    "data.checks.near_duplicates": "Alike",
    "data.data_set": "load_features load_images",
    "data.labelled": "LabelledFeatures LabelledImages",
    "data.named_parts": "split",
    "data.pairs": "Pairs tutorial_pairs",
    "data.sources.fashion_mnist": "load_fashion_mnist",
    "data.streamed": "load_batches",
    "decision": "ErrorCurve Threshold Verdict",
    "distance": "from_cosine to_cosine",
    "errors": "TwinsetError",
    "evaluation.choice": "choose",
    "evaluation.chosen": "Choice",
    "evaluation.evaluate": "Evaluation compare_models evaluate",
    "exporters.export": "Export export",
    "losses": "losses",
    "metrics.comparison": "Comparison",
    "metrics.fusion": "Fusion fuse",
    "metrics.pairs": "PairScores score_pairs",
    "models.bulk": "Written embed_images",
    "models.compare_pairs": "Joint PairVerdicts compare_pairs",
    "models.embedder": "Embedder",
    "models.explanation": "Explanation",
    "models.keras_model": "SiameseModel",
    "models.onnx_model": "load_model",
    "networks": "networks",
    "networks.layers": "siamese",
    "recipe": "Recipe",
    "report.index_page": "write_review",
    "run": "Run train",
    "search.answer": "Answer Changes",
    "search.decisions": "Decided Decision",
    "search.duplicates": "DuplicateGroup Duplicates duplicates",
    "search.identification": "Identification Identity IdentitySettings",
    "search.index": "Index",
    "search.items": "Items Neighbour",
    "search.keep": "KeepPlan keep_plan",
    "search.paging": "Page",
    "search.review": "Review",
    "search.switching": "Switched",
    "search.thresholds": "Point",
    "server.client": "Client",
    "server.running": "serve",
    "training.estimator": "SiameseTransformer",
    "training.fit": "fit",
}
# Public name → the module that defines it, or the module itself.
_HOMES = dict(sorted((name, f"twinset.{m}") for m, of in _PUBLIC.items() for name in of.split()))
_MODULES = {"losses", "networks"}

# Former name → the name now. The former warns for one release, and goes with 0.3.
_RENAMED = {"read_features": "load_features", "read_images": "load_images"}

# `as` above makes the names public for type checkers, which cannot read this line.
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        now = _RENAMED[name]
        message = f"twinset.{name} is called twinset.{now}; the former name goes with version 0.3."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return __getattr__(now)
    if name not in _HOMES:
        raise AttributeError(f"module 'twinset' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    value = home if name in _MODULES else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
