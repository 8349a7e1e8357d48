"""Settings: the signature of a callable is its section of the recipe, and checks its own calls.

A loss, a network, an optimiser or the augmentation declares what it can be told once, where it is
defined: names, types, ranges and defaults as its arguments, their meaning as the lines of `Args`
(docs/contributing.md has a whole example, a loss "cosine").

From this follow the section `[loss]` of a recipe with name = "cosine", frozen and without room for
unknown keys; the check of `Cosine(margin=2)`, by the same range and in the same words; and its
place in `LOSSES.names()`, since its module lies in the package of its kind. Another package
declares an entry point of the group of that name instead, and may do without `named`.

One rule says which arguments are settings: all but those that the kind is `given` by the code that
makes one, such as the shape of the images, the number of classes, or the seed. Where a class ends
in `**common`, the arguments of its base follow. An annotation may hold any rule of pydantic; those
that several places need are below. A rule over two arguments is for the callable itself to check.

`twinset.settings` has what a recipe chooses by name (`Makers`: losses, networks), and what is one
callable and no choice (`Maker`: the optimiser, the augmentation).
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
    TypeAlias,
    TypeVar,
    cast,
    get_origin,
    get_type_hints,
)

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
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

    if TYPE_CHECKING:  # its settings are known once the callable is, so not to a type checker

        def __getattr__(self, name: str) -> Any: ...


def named(name: str, **facts: Any) -> Callable[[Kind], Kind]:
    """Name a class or function as recipes do, and have it check its arguments.

    `facts` are what the rooms above may want to know of it, and become its attributes.
    """

    def mark(maker: Kind) -> Kind:
        marked = checked(maker)
        for fact, value in {"recipe_name": name, **facts}.items():
            setattr(marked, fact, value)
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
    # Settings or not, whatever has a default or a range; the rest, such as images, may be large or
    # of a type that pydantic cannot check. None is never read: it is not told.
    fields: Any = {
        name: (each.annotation, None)
        for name, each in parameters(maker).items()
        if each.default is not each.empty or get_origin(each.annotation) is Annotated
    }
    config = ConfigDict(arbitrary_types_allowed=True)
    return create_model(maker.__name__, __config__=config, **fields)


@functools.cache
def section_of(
    maker: Callable[..., Any], given: Collection[str] = (), name: str | None = None
) -> type[Section]:
    """Make the section that a callable declares; a name is the only value of its key `name`."""
    words = descriptions(maker)
    fields: Any = {} if name is None else {"name": (Literal[name], name)}
    for key, each in parameters(maker).items():
        if key not in given:
            default = ... if each.default is each.empty else each.default
            fields[key] = (each.annotation, Field(default, description=words.get(key)))
    return create_model("Settings", __base__=Section, **fields)


def descriptions(maker: Any) -> dict[str, str]:
    """Read what each argument means out of the section "Args" of a docstring."""
    found = {}
    for each in reversed(maker.__mro__) if isinstance(maker, type) else (maker,):
        _, _, args = inspect.cleandoc(each.__doc__ or "").partition("\nArgs:\n")
        block = re.split(r"^(?=\S)", args, maxsplit=1, flags=re.MULTILINE)[0]
        for line in re.split(r"^ {4}(?=\S)", block, flags=re.MULTILINE):
            key, _, sentence = line.partition(":")
            found[key] = " ".join(sentence.split())
    return found


def read(section: type[Section], values: Any, at: str) -> Section:
    """Check settings against a section; `at` is their place in the recipe, for messages."""
    try:
        return section.model_validate(table(values, at))
    except ValidationError as error:
        raise RecipeError(explain(error, section.model_fields, at)) from None


def table(values: Any, at: str) -> Mapping[str, Any]:
    """Take a section, or a table of settings."""
    if isinstance(values, Section):
        return dict(values)
    if not isinstance(values, Mapping):
        raise RecipeError(f"{at}: expected a table of settings; received {values!r}")
    return values


def explain(error: ValidationError, known: Collection[str], at: str = "") -> str:
    """Say in one line what is wrong with settings, of known keys, at a place of the recipe."""
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
            came = "" if problem["type"] == "missing" else f"; received {problem['input']!r}"
            told.setdefault((f"{key}: ", came), []).append(message)
    return "; ".join(before + " or ".join(each) + after for (before, after), each in told.items())


class Maker:
    """One callable whose signature is a section, or a section itself, imported when first needed.

    `given` are the arguments that are no settings, but handed over by `make`.
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
        declared = isinstance(self._call, type) and issubclass(self._call, Section)
        section = self._call if declared else section_of(self._call, self._given)
        return read(section, values, at)

    def make(self, section: Section, **given: Any) -> Any:
        """Call it with the settings of a section, and with what a recipe does not say."""
        return self._call(**dict(section), **given)


class Makers(Registry):
    """Callables of one kind, of which a section of a recipe chooses one by its name.

    Built-in ones are in the package that is called as the group of entry points is: whatever
    `named` marks in one of its modules. There is no other list. A section without a name means the
    `default`; `given` are the arguments that are no settings, but handed over by `make`.
    """

    def __init__(self, kind: str, group: str, default: str, given: Collection[str]) -> None:
        super().__init__(kind, group, lambda: _named_in(group))
        self._default = default
        self._given = frozenset(given)

    def section(self, name: str) -> type[Section]:
        """Find the section that a name stands for."""
        return section_of(self.load(name), self._given, name)

    def read(self, values: Any, at: str) -> Section:
        """Check settings, which stand at a place of the recipe."""
        values = table(values, at)
        try:
            section = self.section(str(values.get("name", self._default)))
        except RecipeError as error:
            raise RecipeError(f"{at}.name: {error}") from None
        return read(section, values, at)

    def parse(self, name: str, settings: Mapping[str, Any]) -> Section:
        """Check the settings of what has a name."""
        return self.read({"name": name, **settings}, self.kind)

    def make(self, section: Section, **given: Any) -> Any:
        """Call what a section names, with its settings and those of `given` that it takes."""
        maker = self.load(section.name)
        settings = {key: value for key, value in section if key != "name"}
        taken = {key: given[key] for key in given if key in parameters(maker)}
        return maker(**settings, **taken)


def _named_in(package: str) -> dict[str, str]:
    marked = defined_in(package, lambda value: "recipe_name" in vars(value))
    return {
        value.recipe_name: f"{value.__module__}:{attribute}" for attribute, value in marked.items()
    }


def defined_in(package: str, wanted: Callable[[Any], bool]) -> dict[str, Any]:
    """Import a package's modules, and find the functions and classes that they define."""
    return {
        name: value
        for module in modules_of(package)
        for name, value in vars(importlib.import_module(module)).items()
        if getattr(value, "__module__", None) == module and wanted(value)
    }


def absent(package: str, name: str, known: Collection[str]) -> AttributeError:
    """Make the error of a package that has no such public name."""
    hint = suggestion(name, known)
    return AttributeError(f"module {package!r} has no attribute {name!r}{hint}")


def modules_of(package: str) -> Iterator[str]:
    """List the full names of a package's modules."""
    path = importlib.import_module(package).__path__
    return (f"{package}.{found.name}" for found in pkgutil.iter_modules(path))


@dataclass(frozen=True)
class Part:
    """The mark of a recipe's field that is a section, which is found when a recipe is read.

    Not when the class is made, as the callables of losses and networks take an import of Keras.
    """

    source: Maker | Makers

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
        try:
            return self.source.read(values, at)
        except RecipeError as error:
            # one text, which `explain` repeats: pydantic would forget which section it is about
            raise PydanticCustomError("section", "{text}", {"text": str(error)}) from None
