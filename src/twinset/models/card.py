"""`Card`: what every engine needs to know to use a trained model; no engine is loaded for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from twinset.data.decoding.decode import Preprocessing
from twinset.data.features import VectorInput
from twinset.decision import Calibrator, Threshold
from twinset.errors import ModelError

Kind = TypeVar("Kind", bound=BaseModel)

FORMAT: Final = 2
CARD, ENCODER, GRAPH = "model.json", "encoder.keras", "encoder.onnx"
RECIPE, HISTORY = "recipe.toml", "history.csv"


@dataclass(frozen=True)
class TrainedOn:
    """Which data a model was trained on: name, digest, number of images."""

    name: str
    digest: str
    images: int


class Essentials(BaseModel):
    """What it takes to use an encoder: how images become pixels, and distances verdicts.

    An exported graph carries these along, so that the file alone is enough.

    Args:
        digest: identity of the embeddings: equal for models whose embeddings can be compared.
        dim: size d of an embedding.
        distance: name of the distance, from `twinset.distance`.
        preprocessing: turns any image into what the encoder takes.
        threshold: decides what counts as the same.
        alternatives: further thresholds, by other rules.
        calibrator: distance → probability of "same"; None without a calibration.
        trained_on: the training data.
        class_names: of the training data.
    """

    model_config = ConfigDict(extra="forbid")

    digest: str
    dim: int
    distance: str
    preprocessing: Preprocessing | VectorInput
    threshold: Threshold
    alternatives: tuple[Threshold, ...] = ()
    calibrator: Calibrator | None = None
    trained_on: TrainedOn
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, model: Any) -> Self:
        """Describe a model.

        Args:
            model: an `Embedder`.
        """
        return cls(**{name: getattr(model, name) for name in Essentials.model_fields})

    @property
    def values(self) -> dict[str, Any]:
        """The fields of `Essentials` alone, as they are."""
        return {name: getattr(self, name) for name in Essentials.model_fields}


class Card(Essentials):
    """The file model.json of a model's folder.

    Args:
        digest: this field and the next eight as for `Essentials`.
        dim: size d of an embedding.
        distance: name of the distance.
        preprocessing: of images.
        threshold: decides what counts as the same.
        alternatives: further thresholds.
        calibrator: distance → probability.
        trained_on: the training data.
        class_names: of the training data.
        format: of the folder; always 2.
        encoder_sha256: of the file encoder.keras, so that a save cut short is recognised.
        interrupted: whether training ended early, by Ctrl-C.
        backend: Keras' back end that trained it.
        versions: of what the training depended on.
    """

    format: Literal[2] = FORMAT
    encoder_sha256: str
    interrupted: bool
    backend: str
    versions: dict[str, str]


def read_card(folder: str | Path) -> Card:
    """Read the card of a model's folder.

    Args:
        folder: as `SiameseModel.save` wrote it.

    Raises:
        ModelError: there is none, it is damaged, or of another format.
    """
    source = Path(folder)
    path = source / CARD
    if not path.is_file():
        raise ModelError(
            f"{source}: expected a model folder, with {CARD} in it. "
            f"{'There is no such file' if source.is_dir() else 'There is no such folder'}: "
            "make one with `twinset train`."
        )
    try:
        values = json.loads(path.read_text("utf-8"))
        version = values["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: expected the card of a model. {error!r}") from None
    if version != FORMAT:
        raise ModelError(
            f"{source}: expected a model of format {FORMAT}. Received format {version!r}, "
            "written by another version of twinset: load it with that version, or train again."
        )
    return _validated(Card, values, path)


def parse_essentials(text: str, source: str | Path) -> Essentials:
    """Read what an exported graph says of itself.

    Args:
        text: JSON.
        source: the file, for messages.

    Raises:
        ModelError: it is damaged, or of another version.
    """
    try:
        values = json.loads(text)
        version = values.pop("format")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{source}: expected the card of a model in it. {error!r}") from None
    if version != FORMAT:
        raise ModelError(
            f"{source}: expected a model of format {FORMAT}. Received format {version!r}, "
            "written by another version of twinset: export it again."
        )
    return _validated(Essentials, values, source)


def _validated(kind: type[Kind], values: Any, source: str | Path) -> Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{source}: {where}: {first['msg']}.") from None
