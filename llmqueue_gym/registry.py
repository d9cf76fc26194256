"""Lazy tables from a name to `module:attribute`, one per extension point, and the `name:key=value,...` form.

A table holds strings, so that listing what exists imports nothing. A name is resolved when it is first used.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from llmqueue_gym.errors import BadInput, nearest


class Registry:
    """Names of one kind of thing, and how to build each.

    Args:
        kind: what an entry is, for messages ("policy", "predictor", ...).
        entries: name -> "module:attribute"; the attribute is a class or function that builds the thing.
    """

    def __init__(self, kind: str, entries: dict[str, str]):
        self.kind = kind
        self._entries: dict[str, str | Callable[..., Any]] = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def register(self, name: str, builder: str | Callable[..., Any]) -> None:
        """Add an entry: "module:attribute" or the builder itself."""
        if name in self._entries:
            raise BadInput(f"{self.kind} {name!r} is registered already")
        self._entries[name] = builder

    def builder(self, name: str) -> Callable[..., Any]:
        """Return what builds `name`; BadInput with the nearest name where there is none."""
        if name not in self._entries:
            raise BadInput(f"unknown {self.kind} {name!r}; {nearest(name, self._entries)}")
        target = self._entries[name]
        if isinstance(target, str):
            module, attribute = target.split(":")
            target = getattr(importlib.import_module(module), attribute)
            self._entries[name] = target
        return target

    def make(self, spec: str) -> Any:
        """Build from `name`, `name:value` or `name:key=value,...`, for example `weibull:shape=0.5`."""
        name, _, rest = spec.partition(":")
        builder = self.builder(name)
        parameters = inspect.signature(builder).parameters
        arguments = {}
        for part in rest.split(",") if "=" in rest else [rest] if rest else []:
            key, equals, text = part.partition("=")
            if not equals:  # one bare value, such as a file name, goes to the first parameter
                key, text = next(iter(parameters), ""), part
            if key not in parameters:
                hint = nearest(key, parameters) if parameters else "it takes none"
                raise BadInput(f"{self.kind} {name!r} has no parameter {key!r}; {hint}")
            arguments[key] = self._value(name, key, text, parameters[key])
        missing = [k for k, p in parameters.items() if p.default is p.empty and k not in arguments]
        if missing:
            raise BadInput(f"{self.kind} {name!r} needs {missing[0]!r}, as in {name}:{missing[0]}=...")
        return builder(**arguments)

    def _value(self, name: str, key: str, text: str, parameter: inspect.Parameter) -> Any:
        kind = parameter.annotation
        if kind not in (int, float):
            return text
        try:
            return kind(text)
        except ValueError:
            raise BadInput(f"{self.kind} {name!r}: {key}={text!r} is not a number") from None
