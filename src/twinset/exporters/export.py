"""A trained model as files that any program can use: a graph, and a card that explains it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from twinset import distance as distances
from twinset.backbones.session import INPUT, OUTPUT
from twinset.data import load as run_data
from twinset.data.labelled import Labelled, LabelledImages
from twinset.data.pair_parts import pairs_to_score
from twinset.errors import DataError, ModelError
from twinset.files import check_writable, write_bytes
from twinset.metrics.pairs import score_pairs
from twinset.models.card import CARD, GRAPH, Essentials, read_card
from twinset.models.hub import is_on_hub, local_folder
from twinset.models.onnx_model import OnnxModel

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder
    from twinset.models.keras_model import SiameseModel

EXPORT_CARD = "card.json"
# Format → the file's name.
FILES = {"onnx": GRAPH, "litert": "encoder.tflite"}


@dataclass(frozen=True)
class PairQuality:
    """How well an engine tells pairs of test images, at the model's threshold and over all."""

    accuracy: float
    auc: float


@dataclass(frozen=True)
class Export:
    """The .onnx or .tflite file that `export` wrote."""

    graph: Path
    precision: str  # "float32" or "int8"
    size: int  # of the file, in bytes
    # largest of a coordinate from Keras' embeddings, of the graph before any quantisation
    difference: float
    # of "float32" and "int8" on the same pairs, so many; empty without quantisation
    quality: dict[str, PairQuality] = field(default_factory=dict)
    pairs: int = 0
    # thresholds of "float32" and "int8", and how the latter came about; empty likewise
    thresholds: dict[str, float] = field(default_factory=dict)
    decided: str = ""

    def summary(self) -> str:
        """Say it for people."""
        lines = [
            f"{self.graph}: {self.size:,} bytes, {self.precision}",
            f"embeddings differ from Keras' by {self.difference:.1e} at most"
            + (", before the quantisation" if self.quality else ""),
        ]
        if self.quality:
            whole, small = self.quality["float32"], self.quality["int8"]
            lines.append(
                f"on {self.pairs:,} test pairs: accuracy {small.accuracy:.2%} "
                f"({whole.accuracy:.2%} in float32), "
                f"ROC AUC {small.auc:.4f} ({whole.auc:.4f})"
            )
            lines.append(
                f"threshold {self.thresholds['int8']:.4f} ({self.thresholds['float32']:.4f} in "
                f"float32), {self.decided}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Say it for programs."""
        return asdict(self) | {"graph": str(self.graph)}


def export(
    run: str | Path | SiameseModel,
    out: str | Path | None = None,
    *,
    format: Literal["onnx", "litert"] = "onnx",  # noqa: A002 - the name of the command's option
    int8: bool = False,
    data: str | LabelledImages | None = None,
    tell: Callable[[str], None] | None = None,
) -> Export:
    """Write a model as a graph that needs no Keras, checked against Keras.

    The graph scales the pixels, embeds them and normalises: uint8 `images` of shape (batch, h, w)
    or (batch, h, w, 3) in, float32 `embeddings` of shape (batch, d) out. It holds the model's card.

    Args:
        run: the folder of a model, or a model.
        out: the folder to write encoder.onnx and card.json to. Defaults to the model's own, which
            has a card, gets the graph alone, and is ready for ONNX Runtime then.
        format: "onnx", or "litert" for encoder.tflite, which TensorFlow makes and twinset itself
            does not use. Defaults to "onnx".
        int8: quantise weights and activations to 8 bits, and measure what that costs. Such a graph
            is a model of its own: its embeddings do not belong beside those of the other. Its
            threshold and probability are chosen on the calibration part; where there is none, they
            are carried over by the distances that pairs of images have in both graphs, and what is
            promised takes in the verdicts that change. Defaults to False.
        data: for that, images to see ranges on and to evaluate both graphs with; a data set's name
            or path, as for `train`, of which the parts for fit, calibration and test are taken; or
            images for all but calibration. Defaults to the run's own data.
        tell: is told what comes next. Defaults to none.

    Raises:
        ModelError: there is no such model, its encoder cannot be written, or the graph would give
            other embeddings; what the format needs is not installed.
        DataError: no such data; no such format, or int8 with another than onnx; `out` is missing,
            or belongs to another model.

    Example:
        >>> import tempfile, numpy as np, twinset
        >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
        >>> images = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "bright"))
        >>> model = twinset.fit(images, epochs=1, encoder={"units": [8]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = export(model, folder)
        ...     sorted(file.name for file in Path(folder).iterdir()), done.difference < 1e-5
        (['card.json', 'encoder.onnx'], True)
        >>> done.to_dict()["precision"], done.summary().splitlines()[0].endswith("bytes, float32")
        ('float32', True)
    """
    say = tell or (lambda _: None)
    if format not in FILES or (format == "litert" and int8):
        raise DataError(
            f"Expected a format out of {sorted(FILES)}, and int8 with onnx alone. "
            f"Received {format!r} and int8={int8}."
        )
    if out is None and isinstance(run, str | Path) and is_on_hub(run):
        raise DataError(
            "Expected a folder for the graph of a model on the hub. Received none: name one as out."
        )
    home = local_folder(run) if isinstance(run, str | Path) else None
    target = _target(home, out, int8=int8)
    check_writable(target / FILES[format])
    if home is not None:  # before Keras is loaded: a wrong folder is told at once
        _refuse_foreign(target, read_card(home).digest)

    from twinset.exporters.graph import export_graph, export_litert
    from twinset.models.keras_model import SiameseModel

    model = run if isinstance(run, SiameseModel) else SiameseModel.load(str(home))
    _refuse_foreign(target, model.digest)
    say("writing the graph, and comparing it with Keras")
    graph, difference = export_litert(model) if format == "litert" else export_graph(model)
    more: dict[str, Any] = {"precision": "float32"}
    if int8:
        say("quantising, and evaluating both graphs")
        graph, more = _quantised(graph, model, *_images(home, model, data, say))
    # written when all checks have passed: a folder never holds a graph that nobody looked at
    done = Export(target / FILES[format], size=len(graph), difference=difference, **more)
    write_bytes(done.graph, graph)
    # a model's own folder has its card already
    if not (target / CARD).is_file():
        text = json.dumps(_card(graph, done, model), indent=2)
        write_bytes(target / EXPORT_CARD, text.encode() + b"\n")
    return done


def ready(model: SiameseModel, folder: Path, tell: Callable[[str], None] | None = None) -> bool:
    """Give the folder of a fresh model its graph; tell, and return False, where that cannot be."""
    try:
        export(model, folder)
    except ModelError as error:  # no failure of the training: Keras is there
        (folder / GRAPH).unlink(missing_ok=True)
        if tell is not None:
            tell(f"no graph for ONNX Runtime, Keras will be used instead: {error}")
        return False
    return True


def _target(home: Path | None, out: str | Path | None, *, int8: bool) -> Path:
    if out is None and (home is None or int8):
        what = "an 8-bit graph" if int8 else "a model in memory"
        raise DataError(f"Expected a folder to write {what} to. Received none: name one as out.")
    target = Path(out) if out is not None else Path(str(home))
    if target.exists() and not target.is_dir():
        raise DataError(f"{target}: expected a folder to write to. Received a file.")
    if int8 and (target / CARD).is_file():
        raise DataError(
            f"{target}: expected a folder of its own for an 8-bit graph. Received that of a model, "
            "whose graph this is not: choose another."
        )
    return target


def _refuse_foreign(target: Path, digest: str) -> None:
    if (target / CARD).is_file() and read_card(target).digest != digest:
        raise DataError(
            f"{target}: expected a folder of its own, or the model's. Received that of another "
            "model: choose another."
        )


def _images(
    home: Path | None,
    model: SiameseModel,
    data: str | LabelledImages | None,
    say: Callable[[str], None],
) -> tuple[LabelledImages, LabelledImages, Labelled | None]:
    # those to see ranges on, to evaluate both graphs with, and to choose a threshold on
    if isinstance(data, LabelledImages):
        return data, data, None
    if home is None:
        raise DataError(
            "Expected images for the quantisation of a model in memory. Received none: pass "
            "LabelledImages as data."
        )
    origin = run_data.origin_of(home, run_data.Origin(data))
    parts = run_data.evaluation_parts(home, origin, model.recipe, model.preprocessing, tell=say)
    test = parts.test
    assert isinstance(test, LabelledImages), "export_graph refused what is no model of images"
    seen = parts.fit if len(parts.fit) else test
    assert isinstance(seen, LabelledImages), "of the same data"
    return seen, test, parts.calibration


def _quantised(
    graph: bytes,
    model: SiameseModel,
    seen: LabelledImages,
    test: LabelledImages,
    calibration: Labelled | None,
) -> tuple[bytes, dict[str, Any]]:
    from twinset.exporters.carried import decided
    from twinset.exporters.graph import described, quantised

    made = quantised(graph, seen.images)
    # what it is depends on the images it saw, too
    digest = hashlib.sha256(made.SerializeToString()).hexdigest()
    whole = OnnxModel.of_graph(graph)
    small = OnnxModel.of_graph(described(made, model, digest=digest))
    found, how = decided(small, whole, seen, calibration, rule=model.rules()[0])
    content = described(made, found)
    pairs = pairs_to_score(test)
    quality, thresholds = {}, {}
    for name, each in (("float32", whole), ("int8", OnnxModel.of_graph(content))):
        apart = distances.of_pairs(each.embed(test), pairs.left, pairs.right)
        scores = score_pairs(apart, pairs.same, threshold=each.threshold.value)
        quality[name] = PairQuality(scores.accuracy, scores.auc)
        thresholds[name] = each.threshold.value
    told = {"precision": "int8", "quality": quality, "pairs": len(pairs.same)}
    return content, {**told, "thresholds": thresholds, "decided": how}


def _card(graph: bytes, done: Export, whole: SiameseModel) -> dict[str, Any]:
    # an 8-bit graph is a model of its own
    model: Embedder = OnnxModel.of_graph(graph) if done.precision == "int8" else whole
    shape = list(model.preprocessing.shape)
    return {
        **Essentials.of(model).to_dict(),
        "graph": {
            "file": done.graph.name,
            "sha256": hashlib.sha256(graph).hexdigest(),
            "precision": done.precision,
            "input": {"name": INPUT, "dtype": "uint8", "shape": ["batch", *shape]},
            "output": {"name": OUTPUT, "dtype": "float32", "shape": ["batch", model.dim]},
            "largest_difference_from_keras": done.difference,
        },
        "quality": {name: asdict(each) for name, each in done.quality.items()},
        "pairs": done.pairs,
        "thresholds": done.thresholds,
        "decided": done.decided,
    }
