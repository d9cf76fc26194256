"""Options that say which scenario: each system has those that it declares, so there is no list of them here.

An option stands for a field of the system or of the scenario, an argument of `System.recorded`, or an objective; its
help is what their docstrings say. Where the system is not named, it is the first that takes all options.
"""

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import click

from llmqueue_gym.cli.asked import Asked, kinds_of_systems, recorded_arguments
from llmqueue_gym.columns import UNITS
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.registry import kinds_of, text_of


class Whole(click.IntRange):
    """A whole number in a range, under a name that makes sense in click's messages."""

    name = "whole number"


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
POSITIVE = click.FloatRange(0, min_open=True)
POLICY = click.Option(["--policy"], required=True, metavar="SPEC", help="Of `llmqueue policies`, or FILE.py:NAME.")
SEED = click.Option(["--seed"], type=Whole(0), default=0, show_default=True, help="Seed of all randomness.")
JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object and nothing else.")


_DEFAULT = "  [default: "


class _OfSystem(click.Command):
    """The command of one system; `hint` says what to do about an option that it does not have."""

    def __init__(self, name: str, hint: Callable[[str], str], **more: Any):
        super().__init__(name, **more)
        self.hint = hint

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options; BadInput for one that there is not."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise BadInput(self.hint(error.option_name)) from None


class BySystem(click.Group):
    """A command that each system has with options of its own: `llmqueue NAME SYSTEM OPTIONS`, or without SYSTEM.

    Args:
        name: of the command.
        run: does it; gets an `Asked` and the values of `own`.
        words: help.
        own: options that it has whatever the system is.
        first: system that is tried first where none is named.
        left_out: fields that have no option here.
        simulates: whether it plays runs, which may be of recorded traces and have objectives.
        rows: whether what came of each job can be written.
        brief: names of those of `own` that the help of all systems leaves to that of one.
    """

    def __init__(
        self,
        name: str,
        run: Callable[..., None],
        words: str,
        own: Sequence[click.Option],
        first: str = "mg1",
        left_out: Sequence[str] = (),
        simulates: bool = True,
        rows: bool = False,
        brief: Sequence[str] = (),
    ):
        super().__init__(name, help=words, subcommand_metavar="[SYSTEM] OPTIONS", options_metavar="")
        self.run, self.own, self.first, self.simulates, self.rows = run, own, first, simulates, rows
        self.left_out, self.brief = {"workload", *left_out}, set(brief)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the systems."""
        from llmqueue_gym.systems import SYSTEMS

        return [self.first, *(name for name in SYSTEMS if name != self.first)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name of the system first where it is missing."""
        if (args and not args[0].startswith("-")) or "--help" in args:
            return super().parse_args(ctx, args)
        given = [arg.partition("=")[0] for arg in args if arg.startswith("--")]
        ctx.meta["given"] = given
        chosen = next((name for name in self.list_commands(ctx) if self._takes(name, given)), None)
        if chosen is None:
            raise BadInput(self._why_none(ctx, list(dict.fromkeys(given))))
        return super().parse_args(ctx, [chosen, *args])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Return the command of a system; BadInput where there is none such."""
        from llmqueue_gym.systems.scenario import scenario_fields

        (kind,), given = kinds_of_systems(cmd_name), ctx.meta.get("given")
        mine, params = {str(option.name) for option in self.own}, self._options(kind, given is None)
        renamed = {} if given is None else self._renamed(kind)

        def others() -> list[str]:
            names = self.list_commands(ctx)
            others = [name for name in names if given is not None and name != cmd_name and self._takes(name, given)]
            return [name for name in others if self._needs(name) <= set(given or ())]

        def takes(name: str) -> bool:
            return given is None or self._takes(name, given)

        def play(**values: Any) -> None:
            own = {name: values.pop(name) for name in mine}
            texts = {option: values.pop(option, own.get(option)) for option in renamed}
            told = {name: value for name, value in values.items() if value is not None}
            for option, what in renamed.items():
                (own if what in own else told)[what] = texts[option]
            options = {str(option.name): option.opts[0].lstrip("-") for option in params}
            options |= {what: option for option, what in renamed.items() if what in scenario_fields(kind)}
            asked = Asked(kind, told, options, renamed, self._defaults(kind), others, takes)
            try:
                self.run(asked, **own)
            except BadInput as error:
                raise type(error)(asked.in_options(str(error))) from None

        words = re.split(r"\n\s*Attributes:", inspect.getdoc(kind) or "")[0]
        hint = functools.partial(self._hint, ctx, kind)
        return _OfSystem(cmd_name, hint, params=[*self.own, *params], callback=play, help=words)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the systems, and the options that all of them have."""
        kinds = kinds_of_systems()
        with formatter.section("Systems"):
            formatter.write_dl([(kind.name, kind.title) for kind in kinds])
        names = [{option.opts[0] for option in self._options(kind)} for kind in kinds]
        common = [option for option in self._options(kinds[0]) if all(option.opts[0] in one for one in names)]
        shown = [option for option in self.own if option.name not in self.brief]
        records = [record for option in (*shown, *common) if (record := option.get_help_record(ctx)) is not None]
        formatter.write_paragraph()
        told = ", ".join(name for name, _ in records)
        formatter.write_text(f"Options of all: {told}. `llmqueue {self.name} SYSTEM --help` explains those of one.")

    def _takes(self, name: str, given: Sequence[str]) -> bool:
        """Return whether a system that is not named takes these options."""
        return set(given) <= self._names(name)

    def _needs(self, name: str) -> set[str]:
        """Return the options that a system which is not named must have."""
        (kind,) = kinds_of_systems(name)
        return {option.opts[0] for option in self._options(kind, named=False) if option.required}

    def _names(self, name: str) -> set[str]:
        (kind,) = kinds_of_systems(name)
        params = (*self.own, *self._options(kind, named=False))
        return {one for option in params for one in (*option.opts, *option.secondary_opts)}

    def _why_none(self, ctx: click.Context, given: Sequence[str]) -> str:
        """Say which options do not go together, and which system takes which."""
        takes = {name: self._names(name) for name in self.list_commands(ctx)}
        of = {option: [name for name, names in takes.items() if option in names] for option in given}
        unknown = next((option for option in given if not of[option]), None)
        if unknown is not None:
            return self._hint(ctx, None, unknown)
        pairs = ((a, b) for i, a in enumerate(given) for b in given[i + 1 :])
        apart = next(((a, b) for a, b in pairs if not set(of[a]) & set(of[b])), given)
        where = "; ".join(f"{option} is an option of {', '.join(of[option])}" for option in apart)
        return f"{' and '.join(apart)} exclude one another: {where}"

    def _hint(self, ctx: click.Context, kind: Any, option: str) -> str:
        """Say what to do about an option that a system, or where it is None every system, does not have."""
        from llmqueue_gym.engines.batching.rules import Rules
        from llmqueue_gym.systems.scenario import scenario_fields

        takes = {name: self._names(name) for name in self.list_commands(ctx)}
        mine = takes[kind.name] if kind else set().union(*takes.values())
        word, field = f"unknown option {option!r}", option.lstrip("-").replace("-", "_")
        if kind and field in kind.settled:
            return f"{word} of system {kind.name!r}: {kind.settled[field]}"
        if kind:
            own = {name: kind.options.get(name, name) for name in scenario_fields(kind)}
            others = [other.options for other in kinds_of_systems()]
            same = [f"--{its}" for name, its in own.items() if any(of.get(name, name) == field for of in others)]
            elsewhere = [name for name, names in takes.items() if option in names]
            if same:
                return f"{word}; did you mean {same[0]!r}, as system {kind.name!r} has it?"
            if elsewhere:
                return f"{word} of system {kind.name!r}; it is one of {', '.join(elsewhere)}"
        if "--rules" in mine and field in (one.name for one in fields(Rules)):
            return f"{word}; it is a rule of the engine: --rules {Rules.name}:{field}=..."
        return f"{word}; {nearest(option, [*mine, '--help'])}"

    def _renamed(self, kind: Any) -> dict[str, str]:
        return dict(kind.unnamed) if any(option.name == "policy" for option in self.own) else {}

    def _defaults(self, kind: Any) -> dict[str, Any]:
        return {"n_jobs": kind.run_length} if self.simulates and kind.run_length else {}

    def _options(self, kind: Any, named: bool = True) -> list[click.Option]:
        """Return the options of a system."""
        from llmqueue_gym.systems.scenario import Scenario, scenario_fields

        types = {field.name: field.type for field in (*fields(Scenario), *fields(kind))}
        words: dict[str, str] = {}
        for one in (Scenario, *reversed(kind.__mro__)):
            words |= documented(one, "Attributes")
        defaults, renamed = {**scenario_fields(kind), **self._defaults(kind)}, {} if named else self._renamed(kind)
        made = []
        hidden = {*self.left_out, *kind.settled, *renamed.values()}
        for name in (name for name in defaults if name not in hidden):
            option = kind.options.get(name, name)
            limits = {"type": Whole(1, 10**9)} if name == "n_jobs" else {}
            made.append(_option(option, name, types[name], words.get(name, ""), defaults[name], **limits))
        for option in renamed:
            if option != "policy":
                text = f"a {kind.policies.made.kind}; --policy is then the {renamed['policy']} in each"
                made.append(_option(option, option, str, text, required=True))
        if self.simulates:
            made += [_option(n, n, float, text, type=POSITIVE) for n, text in kind.objectives.items()]
            made += _trace_options(kind)
        if self.rows:
            what = kind.options["n_jobs"]
            text = f"write a row for each of the {what}: what was known and what came of it; .csv, .csv.gz or .parquet"
            made.append(_option(f"{what}_out", "rows_out", str, text, metavar="FILE"))
            if kind.timed:
                text = f"write what each of the {what} did, where and when, for ui.perfetto.dev; .json"
                made.append(_option("timeline", "timeline", str, text, metavar="FILE"))
        return made


def _trace_options(kind: Any) -> list[click.Option]:
    """Return the options of recorded traces, none where a system takes none."""
    from llmqueue_gym.systems.scenario import scenario_fields

    if kind.recorded is None:
        return []
    words, known = documented(kind.recorded, "Args"), scenario_fields(kind)
    made = [
        _option("trace", "trace", str, words["trace"], metavar="FILE"),
        _option("format", "trace_format", str, "format of the trace; see `llmqueue workloads`", "auto", metavar="NAME"),
    ]
    if "unit" in inspect.signature(kind.read).parameters:
        text = f"unit of its times, {', '.join(UNITS)}; of its format's unless told"
        made.append(_option("trace_unit", "trace_unit", str, text))
    own = {name: p for name, p in recorded_arguments(kind).items() if name not in known}
    return made + [_option(name, name, float, words[name], p.default, type=POSITIVE) for name, p in own.items()]


def _option(option: str, name: str, annotation: Any, words: str, default: Any = None, **more: Any) -> click.Option:
    """Return an option; where it is not given its value is None, and help shows the default.

    Args:
        option: its name, with or without underscores.
        name: of the value.
        annotation: type of the field.
        words: help.
        default: where it is not given.
        more: arguments of `click.Option`.
    """
    if default not in (None, False, ""):
        words += f"{_DEFAULT}{text_of(default) if not isinstance(default, str) else default}]"
    kinds = [kind for kind in kinds_of(annotation) if kind != "None"]
    if kinds == ["bool"]:
        more = {"is_flag": True, "default": None, **more}
    elif kinds in (["int"], ["float"]):
        more = {"type": click.INT if kinds == ["int"] else click.FLOAT, **more}
    else:
        more = {"metavar": "SPEC", **more}
    return click.Option([f"--{option.replace('_', '-')}", name], help=words[:1].upper() + words[1:], **more)


def documented(thing: Any, heading: str) -> dict[str, str]:
    """Return what a docstring in Google's style says of each name under a heading."""
    text = inspect.cleandoc(thing.__doc__ or "")
    section = re.search(rf"^{heading}:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    entries = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section[1], re.MULTILINE) if section else []
    return {name: " ".join(words.split()) for name, words in entries}
