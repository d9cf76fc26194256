"""What a command line asks for: a scenario of one system, and a policy in it."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from llmqueue_gym.errors import BadInput, Unstable, nearest
from llmqueue_gym.policies.file import names_in
from llmqueue_gym.registry import kinds_of


@dataclass(frozen=True)
class Asked:
    """What a command line says of the scenario.

    Attributes:
        kind: class of the system.
        told: what the options tell that were given, by field or argument.
        options: name of the option that tells a field or argument.
        renamed: `System.unnamed` where that holds.
        defaults: fields that are not told.
        others: names the other systems that take these options.
        takes: whether the system of a name takes them.
    """

    kind: Any
    told: dict[str, Any]
    options: dict[str, str]
    renamed: dict[str, str]
    defaults: dict[str, Any]
    others: Callable[[], list[str]]
    takes: Callable[[str], bool] = lambda name: True

    @property
    def trace(self) -> str | None:
        """The file of the trace, or None."""
        return self.told.get("trace")

    @property
    def warmup(self) -> float:
        """Share of the jobs that is left out, as they met a system which had just been empty; of a trace none is."""
        return 0.0 if self.trace else 0.1

    @property
    def objectives(self) -> dict[str, float | None]:
        """The limits within which a job is to be served, by name; None where there is none."""
        return {name: self.told.get(name) for name in self.kind.objectives}

    def policy(self, spec: str) -> Any:
        """Return the policy that `spec` names, a registered one or a function in a file.

        Raises:
            BadInput: there is none such, or the file does not run; where it is one of another system, the message says
                which option makes that.
        """
        function, name = function_in_file(spec), spec.partition(":")[0]
        if function is None and name not in self.kind.policies and self.others():
            _refuse_policy_of_another_system(spec, self.takes)
        return self.kind.policies(function or spec)

    def scenario(self, policy: Any = None) -> Any:
        """Return the scenario, with what a policy asks for if it is not told.

        Raises:
            BadInput: options that have no place beside one another, or a wrong value.
            Unstable: the load is 1 or more, and the jobs have no end.
        """
        from llmqueue_gym.systems.scenario import Scenario, scenario_fields

        given = {name: value for name, value in self.told.items() if name in scenario_fields(self.kind)}
        orders = [field.name for field in fields(self.kind) if "Policy" in kinds_of(field.type)]
        given |= {name: function_in_file(given[name]) or given[name] for name in orders if name in given}
        wanted = {} if policy is None else self.kind.asked(policy)
        made = Scenario(self.kind.name, **{**self.defaults, **self._recorded(given), **wanted, **given})
        if told := made.overload(policy):
            raise Unstable(told)
        return made

    def _recorded(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that a trace gives; none where there is no trace."""
        takes = recorded_arguments(self.kind)
        if self.trace is None:
            for name in (*takes, "trace_format", "trace_unit"):
                if name in self.told and name not in given:
                    value = self.told[name]
                    words = f"{value:g}" if isinstance(value, float) else value
                    raise BadInput(f"--{self.options[name]} {words} goes with --trace FILE; add it")
            return {}
        for name in ("size", "arrivals"):
            if name in given and name not in takes:
                option = f"--{self.options[name]} {given[name]}"
                raise BadInput(f"{option} has no place beside --trace {self.trace}; give one of them")
        how = {name: self.told[f"trace_{name}"] for name in ("format", "unit") if f"trace_{name}" in self.told}
        trace = self.kind.read(self.trace, **how)
        return self.kind.recorded(trace, **{name: self.told[name] for name in takes if name in self.told})

    def echo(self, scenario: Any, policy: Any = None) -> dict[str, Any]:
        """Return every option that says which scenario, as it was told or as it is where it was not.

        Args:
            scenario: where.
            policy: who plays, as it was told; the option that tells it may be one of the system's own.
        """
        known = {"trace_format": "auto", **{name: p.default for name, p in recorded_arguments(self.kind).items()}}
        known |= scenario.to_dict()
        values = {option: self.told.get(name, known.get(name)) for name, option in self.options.items()}
        player = next((option for option, what in self.renamed.items() if what == "policy"), "policy")
        values |= {} if policy is None else {player: policy}
        return {option: str(value) if callable(value) else value for option, value in values.items()}

    def words(self, scenario: Any, policy: Any = None) -> dict[str, Any]:
        """Return the scenario in words, as it was told."""
        words = {"size": "trace", "predictor": "", "load": None, **scenario.to_dict()}
        words |= {name: text for name, text in self.told.items() if isinstance(words.get(name), str)}
        words["predictor"] = (policy and policy.predictor) or words["predictor"]
        if self.trace is not None:
            words |= {"arrivals": "trace", "trace": self.trace}
        return {name: value for name, value in words.items() if name not in ("n_jobs", "workload")}

    def renamed_words(self, words: dict[str, Any]) -> dict[str, Any]:
        """Return the same under the names of options where these are not those of fields."""
        options = {what: option for option, what in self.renamed.items()}
        words = {options.get(name, name): value for name, value in words.items()}
        return {"policy": words["policy"], **words}

    def in_options(self, message: str) -> str:
        """Return a message about fields, as in `n_jobs=0 must be ...`, as one about options: `--jobs 0 must be ...`.

        What stands behind a name and a colon, as in `fixed: replicas=0 must be ...`, is of that thing and no field.
        """
        for name, option in self.options.items():
            message = re.sub(rf"(?<![\w:;,-])(?<!: ){name}=(?=\S)", f"--{option} ", message)
        return message


def kinds_of_systems(*names: str) -> list[Any]:
    """Return the classes of these systems, or of all."""
    from llmqueue_gym.systems import SYSTEMS

    return [SYSTEMS.builder(name) for name in names or SYSTEMS]


def recorded_arguments(kind: Any) -> dict[str, inspect.Parameter]:
    """Return what a system takes beside a recorded trace; nothing where it takes none."""
    if kind.recorded is None:
        return {}
    return {name: p for name, p in inspect.signature(kind.recorded).parameters.items() if name != "trace"}


def function_in_file(spec: str) -> Any:
    """Return the function in a file that `spec` names, or None where it names no file."""
    file, colon, name = spec.rpartition(":")
    if not colon or not file.endswith(".py"):
        if spec.endswith(".py"):
            raise BadInput(f"policy {spec!r} names no function; write {spec}:rank")
        return None
    module = names_in(file)
    functions = [key for key, value in module.items() if callable(value)]
    if name not in functions:
        raise BadInput(f"{file} has no function {name!r}; {nearest(name, functions) if functions else 'it has none'}")
    return module[name]


def _refuse_policy_of_another_system(spec: str, takes: Callable[[str], bool]) -> None:
    """Refuse a policy of another system that takes what else is told, and name an option that makes it that."""
    from llmqueue_gym.systems.scenario import scenario_fields

    kinds, name = kinds_of_systems(), spec.partition(":")[0]
    kind = next((kind for kind in kinds if name in kind.policies), None)
    if kind is None:
        return
    others = set().union(*(scenario_fields(other) for other in kinds if not issubclass(other, kind)))
    ways = [f"write --{option} {spec} --policy fcfs" for option, what in kind.unnamed.items() if what == "policy"]
    others |= {option for other in kinds for option in other.unnamed}
    for field, value in scenario_fields(kind).items():
        if isinstance(value, str) and field not in others:
            ways.append(f"add --{kind.options.get(field, field).replace('_', '-')} {value}")
    if not ways and not takes(kind.name):
        return
    ways.append(f"name the system {kind.name} first, and leave out what it does not take")
    table = next(table for table in kind.policies.parts if name in table)
    raise BadInput(f"policy {name!r} is a {table.made.kind}: {ways[0]}")
