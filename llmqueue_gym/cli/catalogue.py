"""`llmqueue envs`, `policies`, `predictors`, `workloads`, `rules`: what there is, with parameters and defaults."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from llmqueue_gym.cli.options import as_json
from llmqueue_gym.cli.output import print_json, print_table
from llmqueue_gym.registry import Registry, text_of

Entry = dict[str, Any]  # name, parameters (name -> default, or None where it is required), description, ...


@click.command()
@as_json
def envs(as_json: bool) -> None:
    """List the environments, for `gymnasium.make` and `gymnasium.make_vec`."""
    import dataclasses

    import gymnasium

    from llmqueue_gym.envs import ENVIRONMENTS

    entries = []
    for name, environment in ENVIRONMENTS.items():
        config = gymnasium.make(name).unwrapped.config  # type: ignore[attr-defined]
        parameters = {field.name: _default(getattr(config, field.name)) for field in dataclasses.fields(config)}
        entries.append({"name": name, "parameters": parameters, "description": environment.description})
    _show({"envs": entries}, as_json)


@click.command()
@as_json
def policies(as_json: bool) -> None:
    """List the policies: orders of a queue, LLM serving, dispatch, packing, numbers of servers."""
    from llmqueue_gym.policies import IMPATIENT_POLICIES, POLICIES
    from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES
    from llmqueue_gym.policies.moldable import MOLDABLE
    from llmqueue_gym.policies.packing import PACKING
    from llmqueue_gym.policies.serving import SERVING_POLICIES

    kinds = {  # and what the JSON tells of each beside its parameters
        "policies": (POLICIES, ("preemptive", "predictor", "source")),
        "impatient_policies": (IMPATIENT_POLICIES, ("preemptive", "source")),
        "serving_policies": (SERVING_POLICIES, ("predictor", "source")),
        "dispatch_policies": (DISPATCH_POLICIES, ("looks", "predictive", "source")),
        "packing_policies": (PACKING, ("preemptive", "predictor", "source")),
        "moldable_policies": (MOLDABLE, ("source",)),
    }
    tables = {}
    for kind, (registry, traits) in kinds.items():
        entries = []
        for name in registry:
            made = registry.make(name)
            told = {trait: getattr(made, trait) for trait in traits}
            entries.append({**_entry(name, registry.builder(name)), **told})
        tables[kind] = entries
    _show(tables, as_json)


@click.command()
@as_json
def predictors(as_json: bool) -> None:
    """List the prediction models, of job sizes and of output lengths."""
    from llmqueue_gym.predictors import PREDICTORS
    from llmqueue_gym.predictors.lengths import LENGTH_PREDICTORS

    _show({"predictors": _entries(PREDICTORS), "length_predictors": _entries(LENGTH_PREDICTORS)}, as_json)


@click.command()
@as_json
def workloads(as_json: bool) -> None:
    """List size laws, arrival processes, trace formats, and laws of prompt and output lengths."""
    from llmqueue_gym.distributions import DISTRIBUTIONS
    from llmqueue_gym.workloads import ARRIVALS, TRACE_FORMATS
    from llmqueue_gym.workloads.requests import LENGTHS

    kinds = {"size_laws": DISTRIBUTIONS, "arrivals": ARRIVALS, "trace_formats": TRACE_FORMATS, "lengths": LENGTHS}
    _show({kind: _entries(registry) for kind, registry in kinds.items()}, as_json)


@click.command()
@as_json
def rules(as_json: bool) -> None:
    """List the rule sets, how real engines fill an iteration."""
    from llmqueue_gym.engines.batching.rules import RULE_SETS

    entries = _entries(RULE_SETS)
    usual = entries[0]["parameters"]
    if not as_json:  # the parameters are many, so people see the first set's and how the others differ
        for entry in entries[1:]:
            given = entry["parameters"].items()
            entry["parameters"] = {key: value for key, value in given if value != usual[key]}
    _show({"rules": entries}, as_json)
    if not as_json:
        click.echo(f"Parameters are those of {entries[0]['name']}, where nothing else is told.")


def _entries(registry: Registry) -> list[Entry]:
    return [_entry(name, registry.builder(name)) for name in registry]


def _entry(name: str, builder: Callable[..., Any]) -> Entry:
    """Describe what a builder makes: the first line of its own docstring, or of its file's where it has none."""
    words = inspect.getdoc(builder) or inspect.getdoc(inspect.getmodule(builder)) or ""
    parameters = {
        key: None if p.default is p.empty else _default(p.default)
        for key, p in inspect.signature(builder).parameters.items()
        if p.kind is not p.VAR_KEYWORD
    }
    return {"name": name, "parameters": parameters, "description": words.split("\n", 1)[0]}


def _default(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else str(value).lower()


def _show(tables: Mapping[str, Iterable[Entry]], as_json: bool) -> None:
    if as_json:
        print_json(tables)
        return
    for kind, entries in tables.items():
        rows = [(e["name"], _words(e["parameters"]), e["description"]) for e in entries]
        print_table(kind.replace("_", " "), ("name", "parameters", "what it is"), rows)


def _words(parameters: Mapping[str, Any]) -> str:
    return ", ".join(key if value is None else f"{key}={text_of(value)}" for key, value in parameters.items())
