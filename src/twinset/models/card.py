"""The card of a model: what every engine needs to use it; no engine is loaded for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

from twinset.backbones.session import Provenance
from twinset.data.decoding.decode import Preprocessing
from twinset.data.labelled import VectorInput
from twinset.decision import Calibrator, ErrorCurve, Threshold
from twinset.errors import ModelError, reason
from twinset.files import write_bytes

Kind = TypeVar("Kind")

# Of the folder and of what a graph holds: the next number where this code would misread the old.
FORMAT: Final = 2
CARD, ENCODER, GRAPH = "model.json", "encoder.keras", "encoder.onnx"
RECIPE, HISTORY = "recipe.toml", "history.csv"


@dataclass(frozen=True)
class TrainedOn:
    """The data that a model was trained on."""

    name: str
    digest: str
    images: int


@dataclass(frozen=True, kw_only=True)
class Essentials:
    """What it takes to use an encoder, also within an exported graph; `Embedder` explains it."""

    digest: str
    dim: int
    preprocessing: Preprocessing | VectorInput
    threshold: Threshold
    alternatives: tuple[Threshold, ...] = ()
    calibrator: Calibrator | None = None
    error_curve: ErrorCurve | None = None
    trained_on: TrainedOn
    class_names: tuple[str, ...]
    provenance: tuple[Provenance, ...] = ()

    @classmethod
    def of(cls, model: Any) -> Self:
        """Describe an `Embedder`."""
        return cls(**{each.name: getattr(model, each.name) for each in fields(Essentials)})

    def settings(self) -> dict[str, Any]:
        """List the fields that a model has, beside what its encoder and its recipe tell."""
        told = ("digest", "dim")
        return {n: getattr(self, n) for each in fields(Essentials) if (n := each.name) not in told}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the format among them."""
        return {"format": FORMAT, "distance": "euclidean", **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Card(Essentials):
    """The file model.json of a model's folder."""

    encoder_sha256: str  # of encoder.keras, so that a save cut short is recognised
    interrupted: bool  # whether training ended early, by Ctrl-C
    backend: str
    versions: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write the card into a model's folder."""
        # with escapes: a class may be named by a folder whose bytes are no text
        write_bytes(folder / CARD, json.dumps(self.to_dict(), indent=2).encode() + b"\n")


def read_card(folder: str | Path) -> Card:
    """Read the card of a model's folder."""
    source = Path(folder)
    path = source / CARD
    if not path.is_file():
        raise ModelError(
            f"{source}: expected a model folder, with {CARD} in it. "
            f"{'There is no such file' if source.is_dir() else 'There is no such folder'}: "
            "make one with `twinset train`."
        )
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: expected the card of a model. {reason(error)}.") from None
    return parse(Card, text, path, "load it with that version, or train again")


def parse_essentials(text: str, source: str | Path) -> Essentials:
    """Read what an exported graph says of itself."""
    return parse(Essentials, text, source, "export it again")


def parse(kind: type[Kind], text: str, source: str | Path, mend: str) -> Kind:
    """Read a card from JSON; `mend` is what to do about one of another format."""
    try:
        values = json.loads(text)
        version, _ = values.pop("format"), values.pop("distance", None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{source}: expected the card of a model. {error!r}") from None
    if version != FORMAT:
        raise ModelError(
            f"{source}: expected a model of format {FORMAT}. Received format {version!r}, "
            f"written by another version of twinset: {mend}."
        )
    try:
        return _made(kind, values)
    except ValueError as error:
        raise ModelError(f"{source}: {error}") from None


# The dataclasses declare what a card holds. They are read by hand, as pydantic takes a third of the
# time from the shell to a verdict.
_KINDS = (Preprocessing, VectorInput, Threshold, Calibrator, ErrorCurve, TrainedOn, Provenance)
_PARTS: dict[str, type[Any]] = {each.__name__: each for each in _KINDS}
_SCALARS: dict[str, Any] = {each.__name__: each for each in (str, int, bool)}
_SCALARS |= {"float": int | float, "Resize": str, "dict[str, str]": dict}


def _made(kind: type[Kind], values: Any) -> Kind:
    if not isinstance(values, Mapping):
        raise ValueError(f"expected an object. Received {values!r}.")
    declared = {each.name: str(each.type) for each in fields(cast("Any", kind))}
    if unknown := values.keys() - declared.keys():
        raise ValueError(f"{min(unknown)}: expected no such field.")
    try:
        return kind(**{n: _parsed(declared[n], value, n) for n, value in values.items()})
    except TypeError as error:  # names what is missing
        raise ValueError(f"expected a whole card. {error}.") from None


def _parsed(declared: str, value: Any, name: str) -> Any:
    if declared.endswith(" | None"):
        return None if value is None else _parsed(declared.removesuffix(" | None"), value, name)
    if declared == "Preprocessing | VectorInput":
        vectors = isinstance(value, Mapping) and "size" in value
        declared = "VectorInput" if vectors else "Preprocessing"
    if declared in _PARTS:
        try:
            return _made(_PARTS[declared], value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    inner = declared.removeprefix("tuple[").removesuffix(", ...]")
    if inner != declared and isinstance(value, list):
        return tuple(_parsed(inner, each, name) for each in value)
    # Python counts True and False among the whole numbers
    right = isinstance(value, _SCALARS.get(declared, ()))
    if not right or isinstance(value, bool) != (declared == "bool"):
        raise ValueError(f"{name}: expected {declared}. Received {value!r}.")
    return float(value) if declared == "float" else value
