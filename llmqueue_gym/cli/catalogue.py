"""`llmqueue systems`, `envs`, `policies`, `predictors`, `workloads`, `rules`: what there is, with parameters."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from llmqueue_gym.cli.asked import kinds_of_systems
from llmqueue_gym.cli.options import as_json, documented
from llmqueue_gym.cli.output import print_json, print_table
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.registry import Registry, text_of

Entry = dict[str, Any]  # name, parameters (name -> default, or None where it is required), description, ...
TRAITS = ("told", "preemptive", "looks", "predictor", "source")  # of policies, those that a kind has


@click.command()
@as_json
def systems(as_json: bool) -> None:
    """List the systems, what serves: for `simulate`, `theory`, `compare` and environments."""
    from llmqueue_gym.systems.scenario import scenario_fields

    entries = []
    for kind in kinds_of_systems():
        parameters = {name: _default(value) for name, value in scenario_fields(kind).items()}
        told = {"policies": ", ".join(map(_of_kind, kind.policies.parts)), "cost": kind().cost, "base": kind.base}
        entries.append({"name": kind.name, "parameters": parameters, "description": kind.title, **told})
    if as_json:
        print_json({"systems": entries})
        return
    rows = [(e["name"], e["description"], e["policies"].replace("_", " "), e["base"]) for e in entries]
    print_table("systems", ("name", "what it is", "who plays", "base"), rows)
    click.echo("Options, defaults and what they mean: llmqueue simulate SYSTEM --help")


@click.command()
@click.argument("name", metavar="[ID]", required=False)
@as_json
def envs(name: str | None, as_json: bool) -> None:
    """List the environments, for `gymnasium.make` and `make_vec`, or show what an agent sees and does in one."""
    from llmqueue_gym.envs import ENVIRONMENTS

    if name is not None:
        _show_environment(name, as_json)
        return
    entries = []
    for one, environment in ENVIRONMENTS.items():
        parameters = {key: _default(value) for key, value in _arguments(environment).items()}
        entries.append({"name": one, "parameters": parameters, "description": environment.description})
    if as_json:
        print_json({"envs": entries})
        return
    rows = [(one, environment.system, environment.description) for one, environment in ENVIRONMENTS.items()]
    print_table("envs", ("name", "system", "what it is"), rows)
    click.echo("Observation, actions, parameters and defaults of one: llmqueue envs ID")


def _show_environment(name: str, as_json: bool) -> None:
    """Print the columns of the observation, the actions and the arguments of an environment."""
    from llmqueue_gym.envs import ENVIRONMENTS
    from llmqueue_gym.envs.opened import opened
    from llmqueue_gym.systems.scenario import Scenario

    ids = {one.removeprefix("llmqueue/"): one for one in ENVIRONMENTS}
    name = ids.get(name, name)
    if name not in ENVIRONMENTS:
        raise BadInput(f"unknown environment {name!r}; {nearest(name, ENVIRONMENTS)}")
    environment = ENVIRONMENTS[name]
    kind, arguments = kinds_of_systems(environment.system)[0], _arguments(environment)
    view, words = kind.view, dict[str, str]()
    for one in (Scenario, *reversed(kind.__mro__), *reversed(view.__mro__)):
        words |= documented(one, "Attributes")
    words |= {alias: words[field] for alias, field in kind.spelled.items() if field in words}
    scenario, shown = opened(environment.system, environment.kwargs)
    units = {part: [float(unit) for unit in row] for part, row in shown.units(scenario).items()}
    found = {
        "name": name,
        "description": environment.description,
        "actions": view.actions,
        "rewards": list(view.rewards),
        "jobs": {column: what.words for column, what in shown.jobs.items()},
        "system": {column: what.words for column, what in shown.system.items()},
        "units": units,
        "reward_unit": shown.reward_unit(scenario),
        "order": environment.order,
        "discount_time": environment.discount_time,
        "parameters": {key: _default(value) for key, value in arguments.items()},
    }
    if as_json:
        print_json(found)
        return
    click.echo(f"{name}: {found['description']}\nAction: {view.actions}.")
    click.echo(
        f"A reward of one is {found['reward_unit']:g} in raw numbers; what matters there matters within "
        f"{environment.discount_time:g} s; a standard learner departs from {environment.order}.\n"
    )
    for part in ("jobs", "system"):
        rows = [(*row, f"{unit:g}") for row, unit in zip(found[part].items(), units[part], strict=True)]
        title = f"observation[{part!r}], in this order; raw is times unit"
        print_table(title, ("column", "what it is", "unit"), rows)
    rows = [(key, _default(value), words.get(key, "")) for key, value in arguments.items()]
    print_table("arguments of gymnasium.make", ("argument", "default", "what it is"), rows)


def _arguments(environment: Any) -> dict[str, Any]:
    """Return the arguments of an environment with their defaults."""
    from llmqueue_gym.systems.scenario import scenario_fields

    kind = kinds_of_systems(environment.system)[0]
    view = {field.name: field.default for field in dataclasses.fields(kind.view)}
    given = {kind.spelled.get(key, key): value for key, value in environment.kwargs.items()}
    size = {} if environment.n_jobs is None else {"n_jobs": environment.n_jobs}
    return {**scenario_fields(kind), **({"load": None} if "rate" in given else {}), **size, **view, **given}


@click.command()
@as_json
def policies(as_json: bool) -> None:
    """List the policies of all systems, each with what it is told, the controllers of fleets and rules of programs."""
    from llmqueue_gym.policies.control import CONTROLLERS
    from llmqueue_gym.policies.expansion import EXPANSION_POLICIES
    from llmqueue_gym.policies.retention import RETENTION_POLICIES
    from llmqueue_gym.policies.stopping import STOPPING_POLICIES

    tables: dict[str, dict[str, Entry]] = {}
    parts = [part for kind in kinds_of_systems() for part in kind.policies.parts]
    for registry in (*parts, RETENTION_POLICIES, STOPPING_POLICIES, EXPANSION_POLICIES):
        entries = tables.setdefault(_of_kind(registry), {})
        entries |= {name: _policy(name, registry) for name in registry if name not in entries}
    listed = {kind: list(entries.values()) for kind, entries in tables.items()}
    _show({**listed, "controllers": _entries(CONTROLLERS)}, as_json)


def _policy(name: str, registry: Registry) -> Entry:
    """Describe a policy: what it is, and its traits, unless something has to be told to make it."""
    entry = _entry(name, registry.builder(name))
    if None in entry["parameters"].values():
        return {**entry, "told": ""}
    made = registry.make(name)
    return {**entry, **{trait: getattr(made, trait) for trait in TRAITS if hasattr(made, trait)}}


def _of_kind(registry: Any) -> str:
    """Return the name of the list of the policies of one kind, such as `serving_policies`."""
    return str(registry.made.kind).replace("policy", "policies").replace(" ", "_")


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def predictors(ctx: click.Context, as_json: bool) -> None:
    """List the prediction models, of job sizes, output lengths and programs; or fit some to measured pairs."""
    from llmqueue_gym.predictors import PREDICTORS
    from llmqueue_gym.predictors.lengths import LENGTH_PREDICTORS
    from llmqueue_gym.predictors.programs import FORESIGHTS

    if ctx.invoked_subcommand is None:
        kinds = {"predictors": PREDICTORS, "length_predictors": LENGTH_PREDICTORS, "foresights": FORESIGHTS}
        _show({kind: _entries(registry) for kind, registry in kinds.items()}, as_json)


@predictors.command("fit")
@click.argument("file")
@click.option("--true", default="", metavar="COLUMN", help="Column of the true sizes; found if it has a usual name.")
@click.option("--predicted", default="", metavar="COLUMN", help="Column of the predictions, or of classes; likewise.")
@as_json
def fit_predictors(file: str, true: str, predicted: str, as_json: bool) -> None:
    """Fit error models to the pairs of true and predicted size in a CSV FILE, the best on held-out pairs first.

    Each model is a spec for --predictor, for sizes in units of their mean.
    """
    from llmqueue_gym.predictors.fit import cells, compare

    pairs = cells(file, true, predicted)
    fits = compare(pairs)
    if as_json:
        print_json({"pairs": len(pairs.sizes), "fits": [dataclasses.asdict(fit) for fit in fits]})
        return
    rows = [
        (fit.family, f"{fit.log_likelihood:.4f}", f"{fit.behind:.4f}", "{:.4f} to {:.4f}".format(*fit.behind_ci95))
        for fit in fits
    ]
    columns = ("model", "log likelihood", "behind the best", "95 %")
    print_table(f"{len(pairs.sizes):,} pairs; nats a pair, held out", columns, rows)
    click.echo(f"The best, fitted to all pairs: --predictor '{fits[0].spec}'")
    if len(pairs.edges):
        click.echo("Predictions are classes: the model is of the number that the class is made from.")


@click.command()
@as_json
def workloads(as_json: bool) -> None:
    """List size laws, arrival processes, trace formats, laws of prompt and output lengths, and laws of programs."""
    from llmqueue_gym.distributions import DISTRIBUTIONS
    from llmqueue_gym.workloads import ARRIVALS, TRACE_FORMATS
    from llmqueue_gym.workloads.programs import PROGRAMS
    from llmqueue_gym.workloads.requests import LENGTHS
    from llmqueue_gym.workloads.traces.programs import PROGRAM_FORMATS

    kinds = {"size_laws": DISTRIBUTIONS, "arrivals": ARRIVALS, "trace_formats": TRACE_FORMATS, "lengths": LENGTHS}
    kinds |= {"programs": PROGRAMS, "program_formats": PROGRAM_FORMATS}
    _show({kind: _entries(registry) for kind, registry in kinds.items()}, as_json)


@click.command()
@as_json
def rules(as_json: bool) -> None:
    """List the rule sets, how real engines fill an iteration."""
    from llmqueue_gym.engines.batching.rule_sets import RULE_SETS

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


def _show(tables: Mapping[str, Sequence[Entry]], as_json: bool) -> None:
    if as_json:
        print_json(tables)
        return
    for kind, entries in tables.items():
        told = "told" in entries[0]
        rows = [(e["name"], *([e["told"]] if told else []), _words(e["parameters"]), e["description"]) for e in entries]
        columns = ("name", *(["told"] if told else []), "parameters", "what it is")
        print_table(kind.replace("_", " "), columns, rows)


def _words(parameters: Mapping[str, Any]) -> str:
    return ", ".join(key if value is None else f"{key}={text_of(value)}" for key, value in parameters.items())
