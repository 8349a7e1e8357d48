"""One frozen, typed description of a run, from a built-in name, a TOML file, or keywords."""

from __future__ import annotations

import os
import textwrap
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import ConfigDict, Field, ValidationError, model_validator

from twinset.errors import RecipeError
from twinset.registry import suggestion
from twinset.settings import (
    Count,
    CountOrNone,
    Maker,
    Makers,
    Part,
    Positive,
    Section,
    descriptions,
    explain,
)

# What is declared elsewhere and found when a recipe is read. A recipe is read whole, or it would be
# wrong without a word until it is used. The price is the import of Keras, seconds where all else is
# milliseconds: so what only looks at data takes `IMAGES` alone, and `train` looks for data first.
IMAGES = Maker("twinset.data.choose:choose_preprocessing", given=("sources",))
SPLIT = Maker("twinset.data.parts:Shares")
AUGMENTATION = Maker("twinset.training.augment:Augmentation", given=("mirrors",))
ENCODERS = Makers("network", "twinset.networks", "mlp", given=("input_shape", "seed", "network"))
LOSSES = Makers(
    "loss",
    "twinset.losses",
    "contrastive",
    given=("classes", "dim", "seed", "normalize", "reduction", "name", "dtype"),
)
OPTIMIZER = Maker("twinset.training.tasks:build", given=("steps", "precision", "trunk"))
BLEND = Maker("twinset.training.blend:Blend")
STOPPING = Maker("twinset.training.validation:Stopping")
HEAD = Maker("twinset.training.closed_form:Head")
CHOICE = Maker("twinset.evaluation.candidates:Choosing")
# What a section holds which a recipe leaves out: the defaults of its callable.
_DEFAULTS: Any = {}


class Recipe(Section):
    """A complete description of a training run; with the same seed it gives the same numbers.

    Args:
        name: what reports call it. Defaults to "tutorial", as do all other fields to the
            tutorial's values.
        pairs: "tutorial": a list of pairs, drawn once by the tutorial's rule. "batch": all pairs
            of the images in each batch.
        threshold: a match is `distance <= threshold`; fixed here, for runs without a holdout.
        holdout: "none": fit on every training image. "auto": keep images for the choice of the
            threshold out of the fit: those that the data names, the protocol's 10,000 of
            Fashion-MNIST's 60,000, or the shares of `split`; as "cross" where these would be too
            few. "cross": fit on every image, and choose the threshold on distances of images left
            out in turn, by up to five further trainings. "protocol": refuse other data.
        rule: how the threshold is chosen on the holdout: "balanced accuracy", "EER",
            "FPR <= 0.01" or "cost 10:1".
        batch_size: pairs per step; with pairs = "batch", images per step.
        per_class: images of each class in a batch, with pairs = "batch". 0: as many as fit when
            every class takes part, at least 4.
        micro_batch: images that go through the network at once, for batches that are larger than
            memory; the loss and its gradient are those of the whole batch, for a third more work.
            A pretrained network's normalisation is at rest then, and its dropout. JAX alone. 0:
            the whole batch at once.
        epochs: passes over the pairs or images.
        seed: of pairs, initial weights, order, dropout and augmentation.
        precision: "float32", or "mixed_bfloat16" or "mixed_float16": while it trains, the network
            computes in 16 bits, for devices that are faster so; weights, loss,
            optimiser and the trained model are float32 all the same.
        images: what the user's own images become.
        split: shares of the parts, where the data names none.
        augment: what may differ between an image and what the network sees of it.
        encoder: the network.
        loss: the objective.
        optimizer: the optimiser.
        blend: what the embedding is made of in the end.
        stopping: which epoch's weights the training ends with, where it has validation images.
        head: what turns the features of a frozen network into the embedding.
        choice: whether the recipe is chosen out of candidates, and how.

    Example:
        >>> recipe = Recipe.load("tutorial", epochs=4, loss={"margin": 2})
        >>> recipe.epochs, recipe.loss.margin, recipe.encoder.units
        (4, 2.0, (128, 128, 128))
        >>> import tomllib
        >>> Recipe.parse(tomllib.loads(recipe.to_toml())) == recipe
        True
    """

    model_config = ConfigDict(validate_default=True)

    name: Annotated[str, Field(min_length=1)] = "tutorial"
    pairs: Literal["tutorial", "batch"] = "tutorial"
    threshold: Positive = 0.5
    holdout: Literal["none", "auto", "protocol", "cross"] = "none"
    rule: Annotated[str, Field(min_length=1)] = "balanced accuracy"
    batch_size: Count = 128
    per_class: CountOrNone = 0
    micro_batch: CountOrNone = 0
    epochs: Count = 20
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    images: Annotated[Section, Part(IMAGES)] = _DEFAULTS
    split: Annotated[Section, Part(SPLIT)] = _DEFAULTS
    augment: Annotated[Section, Part(AUGMENTATION)] = _DEFAULTS
    encoder: Annotated[Section, Part(ENCODERS)] = _DEFAULTS
    loss: Annotated[Section, Part(LOSSES)] = _DEFAULTS
    optimizer: Annotated[Section, Part(OPTIMIZER)] = _DEFAULTS
    blend: Annotated[Section, Part(BLEND)] = _DEFAULTS
    stopping: Annotated[Section, Part(STOPPING)] = _DEFAULTS
    head: Annotated[Section, Part(HEAD)] = _DEFAULTS
    choice: Annotated[Section, Part(CHOICE)] = _DEFAULTS

    @model_validator(mode="before")
    @classmethod
    def _one_distance(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "distance" in values:  # people look for the cosine
            raise ValueError(
                "embeddings are compared by their Euclidean distance, which orders those of length "
                "1 as the cosine does: leave `distance` out, and take `twinset.to_cosine` where a "
                "cosine is due"
            )
        return values

    @model_validator(mode="after")
    def _fitting(self) -> Recipe:
        loss = LOSSES.load(self.loss.name)
        over = getattr(loss, "over", ("pairs",))
        if self.pairs == "tutorial" and "pairs" not in over:
            raise ValueError(
                f"the loss {self.loss.name!r} needs pairs = 'batch': it looks at all pairs of a "
                "batch"
            )
        if self.pairs == "batch" and "batch" not in over:
            raise ValueError(
                f"the loss {self.loss.name!r} needs pairs = 'tutorial': it looks at given pairs"
            )
        if self.pairs == "batch" and not (self.unit_length or getattr(loss, "any_length", False)):
            raise ValueError(
                f"the loss {self.loss.name!r} needs encoder.normalize = true: it compares "
                "directions, and the model would compare lengths as well"
            )
        if self.encoder.name == "own" and self.precision != "float32":
            raise ValueError(
                "precision: a network of your own has the types of its layers; set their dtype "
                "where you build it, and leave precision at 'float32'"
            )
        if self.pairs == "tutorial" and not self.blend.nothing:
            raise ValueError(
                "a blend needs pairs = 'batch': its embeddings have length 1, and a list of pairs "
                "is learned with distances of its own scale"
            )
        return self

    @classmethod
    def load(cls, source: str | Path | Recipe = "tutorial", **overrides: Any) -> Recipe:
        """Read a recipe and change some of its values.

        Args:
            source: a built-in name (see `builtin_names`), the path of a TOML file, or a recipe.
            **overrides: fields to replace; a mapping changes single values of a section, and a
                dotted key does the same: `{"loss.margin": 2}`.

        Raises:
            RecipeError: no such recipe, unreadable TOML, an unknown key, a wrong type or value.
        """
        if isinstance(source, Recipe):
            values, origin = source.model_dump(), f"recipe {source.name!r}"
        else:
            values, origin = _read(source)
            # what the file leaves out: so that a dotted key finds its section
            values = {name: {} for name in _SECTIONS} | values
        return cls.parse(_merge(values, overrides), origin)

    @classmethod
    def parse(cls, values: Mapping[str, Any], origin: str = "recipe") -> Recipe:
        """Check plain values, as TOML or JSON holds them.

        Raises:
            RecipeError: an unknown key, a wrong type or value.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise RecipeError(f"{origin}: {explain(error, cls.model_fields)}") from None

    @property
    def unit_length(self) -> bool:
        """Whether embeddings have length 1, as those of another package's encoder should."""
        return bool(getattr(self.encoder, "normalize", True))

    @property
    def scale(self) -> float:
        """Distance that counts as far: the margin, or a sphere's radius where there is one."""
        on_sphere = self.pairs == "batch" and self.unit_length
        return 1.0 if on_sphere else float(getattr(self.loss, "margin", 1.0))

    def __reduce__(self) -> tuple[Any, ...]:
        # pickle finds classes by their names, and those of sections are made when they are read
        return Recipe.parse, (self.model_dump(),)

    def to_toml(self, *, explained: bool = False) -> str:
        """Write the recipe as TOML that `load` reads back to an equal recipe.

        Args:
            explained: with what each value means, as a comment above it. Defaults to False.
        """
        values = self.model_dump(mode="json")
        return _explained(self, values) if explained else tomli_w.dumps(values)


def _explained(section: Section, values: Mapping[str, Any]) -> str:
    words = descriptions(type(section))
    lines, tables = list[str](), list[str]()
    for key, value in values.items():
        field = type(section).model_fields[key]
        about = words.get(key) or field.description or ""
        if isinstance(value, dict):
            for mark in field.metadata:
                if isinstance(mark, Part) and isinstance(mark.source, Makers):
                    about += f" Its name is one of {', '.join(mark.source.names())}."
            inner = _explained(getattr(section, key), value)
            tables.append(f"\n{_comment(about)}[{key}]\n{inner}")
        else:
            lines.append(_comment(about) + tomli_w.dumps({key: value}))
    return "".join([*lines, *tables])


def _comment(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, 98))


def builtin_names() -> list[str]:
    """List the recipes that come with twinset."""
    folder = resources.files("twinset") / "recipes"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def plain_values(source: str | Path) -> Mapping[str, Any]:
    """Read what a recipe's file says, unchecked: as quick as TOML, where to check takes Keras."""
    return _read(source)[0]


def parse_setting(text: str) -> tuple[str, Any]:
    """Split a `key=value` of the command line; the value is read as TOML, else as plain text."""
    key, equals, value = text.partition("=")
    if not (equals and key.strip()):
        raise RecipeError(f"Expected key=value, for example epochs=4. Received {text!r}.")
    try:
        read = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        read = {}
    # a line break in the value would begin another key
    return key.strip(), read["value"] if len(read) == 1 else value.strip()


_SECTIONS = [
    name
    for name, field in Recipe.model_fields.items()
    if any(isinstance(mark, Part) for mark in field.metadata)
]


def _read(source: str | Path) -> tuple[dict[str, Any], str]:
    if not isinstance(source, str | Path):
        raise RecipeError(
            f"Expected a built-in name, the path of a .toml file, or a Recipe. Received {source!r}."
        )
    if str(source) in builtin_names():
        text = (resources.files("twinset") / "recipes" / f"{source}.toml").read_text("utf-8")
        return tomllib.loads(text), f"recipe {str(source)!r}"
    path = Path(source)
    # os.path's answer is False for names that no file can have, where Path.is_file may raise
    if path.suffix != ".toml" or not os.path.isfile(path):  # noqa: PTH113
        raise RecipeError(
            f"Expected a recipe out of {builtin_names()} or the path of a .toml file. "
            f"Received {str(source)!r}{suggestion(str(source), builtin_names())}."
        )
    try:
        return tomllib.loads(path.read_text("utf-8-sig")), str(path)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path}: expected TOML. {error}") from None


def _merge(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in changes.items():
        head, _, rest = key.partition(".")
        change = {rest: value} if rest else value
        section = merged.get(head)
        if isinstance(section, Mapping) and isinstance(change, Mapping):
            other = change.get("name", section.get("name")) != section.get("name")
            # another kind of encoder or loss: the values of the old one are not its own
            merged[head] = _merge({} if other else section, change)
        elif rest:
            sections = [name for name, value in values.items() if isinstance(value, Mapping)]
            raise RecipeError(
                f"Expected a section of the recipe before the dot, out of {sections}. "
                f"Received {key!r}{suggestion(head, sections)}."
            )
        else:
            merged[head] = value
    return merged
