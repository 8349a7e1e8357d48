"""One frozen, typed description of a run, from a built-in name, a TOML file, or keywords."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twinset.errors import RecipeError

# strict: neither `true` nor "4" is a number; an integer still is a float
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Count: TypeAlias = Annotated[int, Field(ge=1, strict=True)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderRecipe(_Section):
    """The network that embeds one image.

    Args:
        name: "mlp": Flatten, then Dense layers with ReLU, dropout between them.
        units: size of each Dense layer; the last is the embedding size d.
        dropout: share of activations dropped between layers while training, in [0, 1).
    """

    name: Literal["mlp"] = "mlp"
    units: Annotated[tuple[Count, ...], Field(min_length=1)] = (128, 128, 128)
    dropout: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0.1


class LossRecipe(_Section):
    """The objective.

    Args:
        name: "contrastive" (Hadsell, Chopra, LeCun 2006).
        margin: distance beyond which different pairs cost nothing.
    """

    name: Literal["contrastive"] = "contrastive"
    margin: Positive = 1.0


class OptimizerRecipe(_Section):
    """The optimiser.

    Args:
        name: "rmsprop", with Keras' rho 0.9 and epsilon 1e-7.
        learning_rate: step size.
    """

    name: Literal["rmsprop"] = "rmsprop"
    learning_rate: Positive = 0.001


class Recipe(_Section):
    """Describes a training run completely; the same recipe and seed give the same numbers.

    Args:
        name: what reports call it. Defaults to "tutorial", as do all other fields to the
            tutorial's values.
        pairs: rule that draws the training pairs.
        distance: how embeddings are compared.
        threshold: a match is `distance <= threshold`; fixed here, for runs without a holdout.
        holdout: "none": fit on every training image. "protocol": fit on 50,000 of Fashion-MNIST's
            60,000, and choose the threshold on 5,000 others.
        rule: how the threshold is chosen on the holdout: "balanced accuracy", "EER",
            "FPR <= 0.01" or "cost 10:1".
        batch_size: pairs per step.
        epochs: passes over the pairs.
        seed: of pairs, initial weights, order and dropout.
        encoder: the network.
        loss: the objective.
        optimizer: the optimiser.

    Example:
        >>> recipe = Recipe.load("tutorial", epochs=4, loss={"margin": 2})
        >>> recipe.epochs, recipe.loss.margin, recipe.encoder.units
        (4, 2.0, (128, 128, 128))
    """

    name: Annotated[str, Field(min_length=1)] = "tutorial"
    pairs: Literal["tutorial"] = "tutorial"
    distance: Literal["euclidean"] = "euclidean"
    threshold: Positive = 0.5
    holdout: Literal["none", "protocol"] = "none"
    rule: Annotated[str, Field(min_length=1)] = "balanced accuracy"
    batch_size: Count = 128
    epochs: Count = 20
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0
    encoder: EncoderRecipe = EncoderRecipe()
    loss: LossRecipe = LossRecipe()
    optimizer: OptimizerRecipe = OptimizerRecipe()

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
            raise RecipeError(f"{origin}: {_explain(error)}") from None

    def to_toml(self) -> str:
        """Write the recipe as TOML that `load` reads back to an equal recipe."""
        return tomli_w.dumps(self.model_dump(mode="json"))


def builtin_names() -> list[str]:
    """List the recipes that come with twinset.

    Example:
        >>> builtin_names()
        ['tutorial']
    """
    folder = resources.files("twinset") / "recipes"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def parse_setting(text: str) -> tuple[str, Any]:
    """Split a `key=value` of the command line; the value is read as TOML, else as plain text.

    Raises:
        RecipeError: there is no `=`.

    Example:
        >>> parse_setting("loss.margin=2.5"), parse_setting("name=mine")
        (('loss.margin', 2.5), ('name', 'mine'))
    """
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
    name for name, field in Recipe.model_fields.items() if isinstance(field.default, BaseModel)
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
            f"Received {str(source)!r}{_suggest(str(source), builtin_names())}."
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
            merged[head] = _merge(section, change)
        elif rest:
            sections = [name for name, value in values.items() if isinstance(value, Mapping)]
            raise RecipeError(
                f"Expected a section of the recipe before the dot, out of {sections}. "
                f"Received {key!r}{_suggest(head, sections)}."
            )
        else:
            merged[head] = value
    return merged


def _explain(error: ValidationError) -> str:
    problems = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "the whole"
        if problem["type"] == "extra_forbidden":
            known = _known_keys(problem["loc"][:-1])
            hint = _suggest(str(problem["loc"][-1]), known)
            problems.append(f"unknown key {key!r}{hint}; known are {', '.join(known)}")
        else:
            message = problem["msg"][0].lower() + problem["msg"][1:]
            problems.append(f"{key}: {message}; received {problem['input']!r}")
    return "; ".join(problems)


def _known_keys(path: tuple[str | int, ...]) -> list[str]:
    section: type[BaseModel] = Recipe
    for part in path:
        annotation = section.model_fields[str(part)].annotation
        assert isinstance(annotation, type), "only sections can hold unknown keys"
        section = annotation
    return list(section.model_fields)


def _suggest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
