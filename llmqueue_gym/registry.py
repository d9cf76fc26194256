"""Lazy tables from a name to `module:attribute`, one per extension point, and the `name:key=value,...` form.

A table holds strings, so that listing what exists imports nothing. A name is resolved when it is first used.
"""

import dataclasses
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin

from llmqueue_gym.errors import BadInput, nearest

MOST = 1e18  # of a number in a spec: what is larger, but finite, is a slip

# How a parameter is read, by the name of its type, and what it is then.
_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "bool": ({"true": True, "false": False}.__getitem__, "true or false"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "None": ({"none": None}.__getitem__, "none"),
}


class Registry:
    """Names of one kind of thing, and how to build each.

    Args:
        kind: what an entry is, for messages ("policy", "predictor", ...).
        entries: name -> "module:attribute", a class or function that builds the thing, or the builder itself.
        made: class of what is built; calling the registry with such a thing returns it as it is.
        more: returns further entries, which stand behind the others; called when somebody asks for them.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, str | Callable[..., Any]],
        made: type = object,
        more: Callable[[], Mapping[str, Callable[..., Any]]] | None = None,
    ):
        self.kind, self.made = kind, made
        self._entries: dict[str, str | Callable[..., Any]] = dict(entries)
        self._more = more

    def __call__(self, given: Any) -> Any:
        """Return a thing from its spec such as `weibull:shape=0.5`, or the thing itself.

        Raises:
            BadInput: an unknown name or parameter, a value out of its range, or something of another kind.
        """
        if isinstance(given, str):
            return self.make(given)
        return given if isinstance(given, self.made) else self.other(given)

    def other(self, given: Any) -> Any:
        """Return what is made of a thing of another kind, which nothing is unless a subclass says so."""
        raise BadInput(f"{given!r} is not a {self.kind}; choose from: {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._all()

    def _all(self) -> dict[str, str | Callable[..., Any]]:
        if self._more is not None:
            self._entries, self._more = {**self._entries, **self._more()}, None
        return self._entries

    def register(self, name: str, builder: str | Callable[..., Any]) -> None:
        """Add an entry: "module:attribute" or the builder itself."""
        if name in self:
            raise BadInput(f"{self.kind} {name!r} is registered already")
        self._entries[name] = builder

    def builder(self, name: str) -> Callable[..., Any]:
        """Return what builds `name`; BadInput with the nearest name where there is none."""
        if name not in self:
            raise BadInput(f"unknown {self.kind} {name!r}; {nearest(name, self)}")
        target = self._entries[name]
        if isinstance(target, str):
            module, attribute = target.split(":")
            target = getattr(importlib.import_module(module), attribute)
            self._entries[name] = target
        return target

    def make(self, spec: str, *given: Any) -> Any:
        """Build from `name`, `name:value` or `name:key=value,...`, for example `weibull:shape=0.5`.

        A value is read as its parameter is annotated: a number, `true` or `false`, `none`, or otherwise text.

        Args:
            spec: see above.
            given: the first arguments of the builder, which a spec does not tell.

        Raises:
            BadInput: an unknown name or key, a missing one, or a value that is not of its type.
        """
        name, colon, rest = spec.partition(":")
        builder = self.builder(name)
        parameters = dict(list(_parameters_of(builder).items())[len(given) :])
        arguments = {}
        for part in rest.split(",") if "=" in rest else [rest] if colon else []:
            key, equals, text = part.partition("=")
            if not equals:  # one bare value, such as a file name, goes to the first parameter
                key, text = next(iter(parameters), ""), part
            if key not in parameters:
                hint = nearest(key, parameters) if parameters else "it takes none"
                raise BadInput(f"{self.kind} {name!r} has no parameter {key!r}; {hint}")
            if key in arguments:
                raise BadInput(f"{self.kind} {name!r} is given {key!r} twice; give it once")
            arguments[key] = self.read(name, key, text, parameters[key])
        missing = [k for k, p in parameters.items() if p.default is p.empty and k not in arguments]
        if missing:
            raise BadInput(f"{self.kind} {name!r} needs {missing[0]!r}, as in {name}:{missing[0]}=...")
        return builder(*given, **arguments)

    def read(self, name: str, key: str, text: str, parameter: inspect.Parameter) -> Any:
        """Return the value that a text stands for, read as the parameter of an entry is annotated."""
        kinds = kinds_of(parameter.annotation)
        readers = [_READERS[kind] for kind in kinds if kind in _READERS]
        for read, _ in readers:
            try:
                value = read(text)
            except (KeyError, ValueError):
                continue
            if isinstance(value, (int, float)) and MOST < abs(value) < math.inf:
                raise BadInput(f"{self.kind} {name!r}: {key}={text!r} is out of all proportion: {MOST:g} at most")
            return value
        if len(readers) < len(kinds):  # something that is made from text, such as a file or another spec
            return text
        raise BadInput(f"{self.kind} {name!r}: {key}={text!r} is not {' or '.join(what for _, what in readers)}")


@functools.lru_cache(maxsize=1024)
def _parameters_of(builder: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a builder, which take a while to be found."""
    return inspect.signature(builder).parameters


class Named:
    """A dataclass that a registry builds: its text is its spec, and its parameters are checked."""

    name: ClassVar[str]

    def __str__(self) -> str:
        """Return the form that the registry reads, such as `lognormal:sigma=0.5`."""
        return spec_of(self, self.name)

    def _check(self, parameter: str, good: bool, rule: str) -> None:
        if not good:
            raise BadInput(f"{self.name}: {parameter}={getattr(self, parameter):g} must {rule}")


class ByData:
    """Equality and hash of what holds arrays, which dataclasses cannot compare; results are cached by it."""

    def _data(self) -> tuple[Any, ...]:
        """Return what tells two of a kind apart, arrays as bytes."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._data() == other._data()

    def __hash__(self) -> int:
        return hash(self._data())


def spec_of(thing: Any, name: str, **left_out: object) -> str:
    """Return the `name:key=value,...` that `Registry.make` reads back as `thing`, a dataclass.

    Fields stand in the order of its constructor. A nested spec has `;` for the comma. Empty texts are left out, and
    fields that have the value given for them in `left_out`.
    """
    fields = [field for field in dataclasses.fields(thing) if field.init]
    fields.sort(key=lambda field: field.kw_only is True)
    values = {field.name: getattr(thing, field.name) for field in fields}
    listed = [f"{k}={text_of(v)}" for k, v in values.items() if v != "" and (k not in left_out or v != left_out[k])]
    return f"{name}:{','.join(listed)}" if listed else name


def text_of(value: object) -> str:
    """Return the text that is read back as `value`: `10` for 10.0, all digits of a float where it needs them."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))
    return str(value).replace(",", ";")


def kinds_of(annotation: Any) -> list[str]:
    """Return the names of the types in an annotation such as `int | None`, which may be a string (PEP 563)."""
    if isinstance(annotation, str):
        return [kind.strip() for kind in annotation.split("|")]
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else [annotation]
    return ["None" if kind in (None, type(None)) else getattr(kind, "__name__", "") for kind in kinds]
