"""Settings: the signature of a callable is its section of the recipe, and checks its own calls.

A loss, a network, an optimiser or the augmentation declares what it can be told once, where it is
defined: names, types, ranges and defaults as its arguments, their meaning as the lines of `Args`.

    @named("hinge")  # its name in recipes
    class Hinge(BatchLoss):
        \"\"\"Pushes classes apart, by a margin.

Args:
            margin: distance beyond which different images cost nothing. Defaults to 1.
            **common: as for `BatchLoss`.
        \"\"\"

        def __init__(self, margin: Positive = 1.0, **common: Unpack[Common]) -> None:
            super().__init__(**common)
            self.margin = margin

From this follow the section `[loss]` of a recipe with name = "hinge", frozen and without room for
unknown keys (`Makers.section`); the check of `Hinge(margin=-1)`, by the same range and in the same
words; and its place in `Makers.names()`, since its module lies in the package of its kind. Another
package declares an entry point of the group of that name instead, and may do without `named`.

One rule says which arguments are settings: all but those that the kind is `given` by the code that
makes one, such as the shape of the images, the number of classes, or the seed. Where a class ends
in `**common`, the arguments of its base follow. An annotation may hold any rule of pydantic:
`Annotated[float, Field(gt=0, lt=1)]`, `Literal["a", "b"]`, an `AfterValidator`; those that several
places need are below. A rule over two arguments is for the callable itself to check.

What is one callable and no choice (the optimiser, the augmentation) is a `Maker`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    get_type_hints,
)

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticCustomError, core_schema

from twinset.errors import RecipeError
from twinset.registry import Registry, suggestion

Kind = TypeVar("Kind", bound=Callable[..., Any])


def _plain(value: Any) -> Any:
    # a number of NumPy or JAX is as good as Python's, and is known without an import of either
    return value.item() if getattr(value, "shape", None) == () else value


# strict: neither `true` nor "4" is a number; an integer still is a float
_NUMBER = BeforeValidator(_plain)
Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False, strict=True), _NUMBER]
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True), _NUMBER]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True), _NUMBER]
Share: TypeAlias = Annotated[float, Field(ge=0, lt=1, strict=True), _NUMBER]
Count: TypeAlias = Annotated[int, Field(ge=1, strict=True), _NUMBER]
CountOrNone: TypeAlias = Annotated[int, Field(ge=0, strict=True), _NUMBER]
Units: TypeAlias = Annotated[tuple[Count, ...], Field(min_length=1)]


class Section(BaseModel):
    """A frozen part of a recipe that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, at: str = "", **values: Any) -> Self:
        """Make a section as a recipe would, of plain values.

        Raises:
            RecipeError: an unknown key, a wrong type or value.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise RecipeError(explain(error, cls.model_fields, at)) from None

    if TYPE_CHECKING:  # its settings are known once the callable is, so not to a type checker

        def __getattr__(self, name: str) -> Any: ...


# --- of one callable


def named(name: str) -> Callable[[Kind], Kind]:
    """Name a class or function as recipes do, and have it check its arguments.

    Args:
        name: unique among its kind.

    Example:
        >>> @named("ring")
        ... def ring(*, radius: Positive = 1.0) -> str:
        ...     return f"a ring of {radius}"
        >>> ring(radius=2)
        'a ring of 2.0'
        >>> ring(radius=0)
        Traceback (most recent call last):
        twinset.errors.RecipeError: ring: radius: input should be greater than 0; received 0
    """

    def mark(maker: Kind) -> Kind:
        marked = checked(maker)
        marked.recipe_name = name  # type: ignore[attr-defined]
        return marked

    return mark


def checked(maker: Kind) -> Kind:
    """Have a class or function check its arguments by their types, as a recipe would."""
    call: Any = vars(maker)["__init__"] if isinstance(maker, type) else maker
    signature = inspect.signature(call)
    rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")

    @functools.wraps(call)
    def check(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        more = bound.arguments.get(rest, {})
        try:
            # what this call was told, and no more: defaults are right
            found = _told(maker).model_validate({**bound.arguments, **more})
        except ValidationError as error:
            raise RecipeError(f"{maker.__name__}: {explain(error, ())}") from None
        for name in found.model_fields_set:
            (more if name in more else bound.arguments)[name] = getattr(found, name)
        return call(*bound.args, **bound.kwargs)

    # Keras' layers look at the arguments without following wrappers
    check.__signature__ = signature  # type: ignore[attr-defined]
    if isinstance(maker, type):
        maker.__init__ = check  # type: ignore[misc]
        return maker
    return cast("Kind", check)


@functools.cache
def parameters(maker: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Find the arguments of a class or function, with those that `**common` hands to its base."""
    found: dict[str, inspect.Parameter] = {}
    for call in _calls(maker):
        hints = get_type_hints(inspect.unwrap(call), include_extras=True)
        more = False
        for name, each in inspect.signature(call).parameters.items():
            if each.kind is each.VAR_KEYWORD:
                more = True
            elif name != "self":
                found.setdefault(name, each.replace(annotation=hints.get(name, Any)))
        if not more:
            break
    return found


def config_of(made: Any) -> dict[str, Any]:
    """Find the arguments of what was made, each in the attribute of the same name, for Keras."""
    kind: Any = type(made)
    return {name: getattr(made, name) for name in parameters(kind)}


def _calls(maker: Any) -> list[Callable[..., Any]]:
    if not isinstance(maker, type):
        return [maker]
    return [vars(kind)["__init__"] for kind in maker.__mro__ if "__init__" in vars(kind)]


@functools.cache
def _told(maker: Callable[..., Any]) -> type[BaseModel]:
    # Settings or not, whatever has a type is checked. None is never read: it is not told.
    fields: Any = {
        name: (each.annotation, None)
        for name, each in parameters(maker).items()
        if each.annotation is not Any
    }
    config = ConfigDict(arbitrary_types_allowed=True)
    return create_model(maker.__name__, __config__=config, **fields)


@functools.cache
def section_of(
    maker: Callable[..., Any], given: Collection[str] = (), name: str | None = None
) -> type[Section]:
    """Make the section of a recipe that a class or function declares.

    Args:
        maker: its arguments are the keys; the lines of `Args` in its docstring describe them.
        given: arguments that are no settings.
        name: for one of several: the only value of the key `name`. Defaults to none.

    Example:
        >>> def ring(size: int, *, radius: Positive = 1.0) -> None: ...
        >>> section_of(ring, ("size",), "ring")(radius=2)
        Settings(name='ring', radius=2.0)
    """
    words = _descriptions(maker)
    fields: Any = {} if name is None else {"name": (Literal[name], name)}
    for key, each in parameters(maker).items():
        if key not in given:
            default = ... if each.default is each.empty else each.default
            fields[key] = (each.annotation, Field(default, description=words.get(key)))
    return create_model("Settings", __base__=Section, **fields)


def _descriptions(maker: Any) -> dict[str, str]:
    # the section "Args" of docstrings in Google's style
    found = {}
    for each in reversed(maker.__mro__) if isinstance(maker, type) else (maker,):
        _, _, args = inspect.cleandoc(each.__doc__ or "").partition("\nArgs:\n")
        block = re.split(r"^(?=\S)", args, maxsplit=1, flags=re.MULTILINE)[0]
        for line in re.split(r"^ {4}(?=\w)", block, flags=re.MULTILINE):
            key, _, sentence = line.partition(":")
            found[key] = " ".join(sentence.split())
    return found


class Maker:
    """One callable whose signature is a section, imported when first needed.

    Args:
        place: "module:attribute".
        given: arguments that are no settings, but handed over by `make`.
    """

    def __init__(self, place: str, given: Collection[str] = ()) -> None:
        self._place = place
        self._given = frozenset(given)

    @functools.cached_property
    def _call(self) -> Any:
        module, _, attribute = self._place.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def read(self, values: Any, at: str) -> Section:
        """Check settings, which stand at a place of the recipe."""
        return read(section_of(self._call, self._given), values, at)

    def make(self, section: Section, **given: Any) -> Any:
        """Call it with the settings of a section, and with what a recipe does not say."""
        return self._call(**dict(section), **given)


# --- of many callables, by name


class Makers(Registry):
    """Callables of one kind, of which a section of a recipe chooses one by its name.

    Built-in ones are in the package that is called as the group is: whatever `named` marks in one
    of its modules. There is no other list.

    Args:
        kind: of thing, for messages: "loss".
        group: of entry points, and the package of the built-in ones: "twinset.losses".
        default: the name that a section means which has none.
        given: arguments that are no settings, but handed over by `make` to those that take them.
    """

    def __init__(self, kind: str, group: str, default: str, given: Collection[str]) -> None:
        super().__init__(kind, group, lambda: _named_in(group))
        self._default = default
        self._given = frozenset(given)

    def section(self, name: str) -> type[Section]:
        """Find the section that a name stands for.

        Raises:
            RecipeError: no such name, or it cannot be loaded.
        """
        return section_of(self.load(name), self._given, name)

    def read(self, values: Any, at: str) -> Section:
        """Check settings, which stand at a place of the recipe."""
        values = table(values, at)
        try:
            section = self.section(str(values.get("name", self._default)))
        except RecipeError as error:
            raise wrong(f"{at}.name: {error}") from None
        return read(section, values, at)

    def parse(self, name: str, settings: Mapping[str, Any]) -> Section:
        """Check the settings of what has a name.

        Raises:
            RecipeError: an unknown name or key, a wrong type or value.
        """
        try:
            return self.read({"name": name, **settings}, self.kind)
        except PydanticCustomError as error:
            raise RecipeError(error.message()) from None

    def make(self, section: Section, **given: Any) -> Any:
        """Call what a section names, with its settings and those of `given` that it takes."""
        maker = self.load(section.name)
        settings = {key: value for key, value in section if key != "name"}
        taken = {key: given[key] for key in given if key in parameters(maker)}
        return maker(**settings, **taken)


def _named_in(package: str) -> dict[str, str]:
    return {
        value.recipe_name: f"{module}:{attribute}"
        for module in modules_of(package)
        for attribute, value in vars(importlib.import_module(module)).items()
        if getattr(value, "__module__", None) == module and "recipe_name" in vars(value)
    }


def modules_of(package: str) -> Iterator[str]:
    """List the full names of a package's modules."""
    path = importlib.import_module(package).__path__
    return (f"{package}.{found.name}" for found in pkgutil.iter_modules(path))


# --- in a recipe


@dataclass(frozen=True)
class Part:
    """The mark of a recipe's field that is a section, which is found when a recipe is read.

    Not when the class is made, as the callables of losses and networks take an import of Keras.

    Args:
        source: of the section.
    """

    source: Maker | Makers | type[Section]

    def __get_pydantic_core_schema__(self, kind: Any, handler: Any) -> core_schema.CoreSchema:
        """Tell pydantic how to read and write it."""
        return core_schema.with_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda section, info: section.model_dump(mode=info.mode), info_arg=True
            ),
        )

    def _read(self, values: Any, info: core_schema.ValidationInfo) -> Section:
        at = info.field_name or ""
        if isinstance(self.source, type):
            return read(self.source, values, at)
        return self.source.read(values, at)


def read(section: type[Section], values: Any, at: str) -> Section:
    """Check settings against a section, which stand at a place of the recipe.

    The mistakes become one text, for pydantic would forget which section they are of.
    """
    try:
        return section.model_validate(table(values, at))
    except ValidationError as error:
        raise wrong(explain(error, section.model_fields, at)) from None


def table(values: Any, at: str) -> Mapping[str, Any]:
    """Take a section, or a table of settings, which stands at a place of the recipe."""
    if isinstance(values, Section):
        return dict(values)
    if not isinstance(values, Mapping):
        raise wrong(f"{at}: expected a table of settings; received {values!r}")
    return values


def wrong(text: str) -> PydanticCustomError:
    """Make an error of a whole sentence, which a recipe's error repeats as it is."""
    return PydanticCustomError("section", "{text}", {"text": text})


def explain(error: ValidationError, known: Collection[str], at: str = "") -> str:
    """Say in one line what is wrong with settings.

    Args:
        error: of pydantic.
        known: the keys that there are.
        at: place of the section in the recipe. Defaults to the recipe itself.
    """
    told: dict[tuple[str, str], list[str]] = {}
    for problem in error.errors():
        # a text further on names the type that was tried, which no user wrote
        place = [part for i, part in enumerate(problem["loc"]) if not i or isinstance(part, int)]
        key = ".".join(map(str, ([at] if at else []) + place)) or "the whole"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "section" or (problem["type"] == "value_error" and not place):
            told[message, ""] = []
        elif problem["type"] == "extra_forbidden":
            hint = suggestion(str(place[-1]), known)
            told[f"unknown key {key!r}{hint}; known are {', '.join(known)}", ""] = []
        else:
            message = message[0].lower() + message[1:]
            told.setdefault((f"{key}: ", f"; received {problem['input']!r}"), []).append(message)
    return "; ".join(before + " or ".join(each) + after for (before, after), each in told.items())
