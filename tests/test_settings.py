"""The signature of a callable as its section of a recipe, and as the check of its calls."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import AfterValidator, Field, ValidationError

from twinset.errors import RecipeError
from twinset.settings import (
    Count,
    CountOrNone,
    Maker,
    Makers,
    Number,
    Positive,
    Share,
    Units,
    checked,
    config_of,
    modules_of,
    named,
    parameters,
    read,
    section_of,
)


class Base:
    """A base.

    Args:
        ratio: of one to
            the other.
        seed: of the base.
    """

    def __init__(self, *, ratio: Share = 0.5, seed: int = 0) -> None:
        self.ratio, self.seed = ratio, seed


@named("derived")
class Derived(Base):
    """One with a base.

    Args:
        size: how large: from 1 on.
        kind: which.
        **common: as for `Base`.

    Raises:
        nothing: that is a setting.
    """

    def __init__(
        self, size: Count, kind: Literal["a", "b"] = "a", *, power: Positive = 1.0, **common: Any
    ) -> None:
        super().__init__(**common)
        self.size, self.kind, self.power = size, kind, power


def even(value: int) -> int:
    if value % 2:
        raise ValueError("expected an even number")
    return value


@checked
def function(
    shape: Any,
    units: Units = (2, 1),
    flip: Literal["auto"] | bool = False,
    side: Annotated[int, AfterValidator(even)] = 2,
) -> tuple[Any, ...]:
    """Return what it was told."""
    return shape, units, flip, side


def test_a_section_has_the_arguments_that_are_not_given():
    section = section_of(Derived, ("size", "seed"), "derived")
    assert section().model_dump() == {
        "name": "derived",
        "kind": "a",
        "power": 1.0,
        "ratio": 0.5,
    }
    told = {name: field.description for name, field in section.model_fields.items()}
    assert told == {"name": None, "kind": "which.", "power": None, "ratio": "of one to the other."}
    assert section_of(Derived, ("size", "seed"), "derived") is section
    assert section(power=2) == section(power=2.0)
    assert hash(section(power=2)) == hash(section(power=2.0))
    with pytest.raises(ValidationError, match="frozen"):
        section().power = 3.0


def test_a_setting_without_a_default_must_be_told():
    with pytest.raises(RecipeError, match="the_loss.size: field required"):
        read(section_of(Derived), {}, "the_loss")
    assert read(section_of(Derived), {"size": 3}, "").size == 3


def test_a_section_of_a_dataclass():
    @dataclass(frozen=True)
    class Augmentation:
        flip: Literal["auto"] | bool = False
        shift: CountOrNone = 0

    assert section_of(Augmentation)(shift=2).model_dump() == {"flip": False, "shift": 2}


def test_calls_take_and_change_what_fits():
    made = Derived(np.int64(3), power=2, ratio=np.float32(0.25))
    assert config_of(made) == {"size": 3, "kind": "a", "power": 2.0, "ratio": 0.25, "seed": 0}
    assert [type(value) for value in (made.size, made.power, made.ratio)] == [int, float, float]
    assert function("any", [3, 2], "auto") == ("any", (3, 2), "auto", 2)
    assert function(shape=None, side=4) == (None, (2, 1), False, 4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: Derived(0),
            "Derived: size: input should be greater than or equal to 1; received 0",
        ),
        (lambda: Derived(1, "c"), "Derived: kind: input should be 'a' or 'b'; received 'c'"),
        (
            lambda: Derived(1, power=math.inf),
            "power: input should be a finite number; received inf",
        ),
        (lambda: Derived(1, ratio=1), "Derived: ratio: input should be less than 1; received 1"),
        (lambda: Derived(True), "size: input should be a valid integer; received True"),
        (lambda: Derived(1, power="2"), "power: input should be a valid number; received '2'"),
        (lambda: function(0, ()), "units: .* at least 1 item after validation.*; received \\(\\)"),
        (lambda: function(0, [1, 0]), "units.1: .* greater than or equal to 1; received 0"),
        (lambda: function(0, side=3), "function: side: expected an even number; received 3"),
        (lambda: function(0, flip=3), "flip: input should be 'auto' or .* boolean.*; received 3"),
        (
            lambda: Derived(0, power=0),
            "Derived: size: .*; received 0; power: .* greater than 0; received 0",
        ),
    ],
)
def test_calls_are_checked(call, words):
    with pytest.raises(RecipeError, match=f"{words}$"):
        call()


@pytest.mark.parametrize("call", [lambda: Derived(), lambda: Derived(1, nonsense=1)])
def test_arguments_that_there_are_not_are_pythons_error(call):
    with pytest.raises(TypeError, match=r"size|nonsense"):
        call()


def test_a_class_looks_as_it_was_written():
    assert Derived.__init__.__doc__ is None
    assert list(parameters(Derived)) == ["size", "kind", "power", "ratio", "seed"]
    assert Derived.recipe_name == "derived"


def test_one_callable_by_its_place():
    rounded = Maker("twinset.distance:euclidean", given=("left", "right", "xp"))
    section = rounded.read({}, "distance")
    assert section.model_dump() == {}
    found = rounded.make(section, left=np.zeros((1, 2)), right=np.array([[3.0, 4.0]]), xp=np)
    assert found == 5


def test_built_in_names_are_those_in_the_package():
    losses = Makers("loss", "twinset.losses", "contrastive", given=("classes", "dim"))
    assert "contrastive" in losses.names()
    assert "twinset.losses.batch" in set(modules_of("twinset.losses"))
    assert losses.parse("circle", {"gamma": 64}).gamma == 64.0


def annotation(number: Any) -> Any:
    return Annotated[float, Field(gt=number)]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Number, [-1, 0.5, np.float64(2)], [math.nan, math.inf, "1", True, None]),
        (Positive, [1e-9, 3], [0, -1, math.inf]),
        (Share, [0, 0.999], [1, -0.1]),
        (Count, [1, np.int32(7)], [0, 1.0, True]),
        (CountOrNone, [0, 7], [-1, 0.5]),
    ],
)
def test_the_types_that_several_share(kind, good, bad):
    @checked
    def take(value: kind) -> Any:
        return value

    for value in good:
        assert take(value) == value
    for value in bad:
        with pytest.raises(RecipeError, match=r"^take: value: "):
            take(value)
