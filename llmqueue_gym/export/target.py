"""What an engine takes, and what is written for it: a module, a README and a card. An engine is one file beside this.

A target says which columns of a request and of the replica its engine can tell, and refuses what that cannot do.
"""

import builtins
import importlib
import json
import keyword
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import llmqueue_gym
from llmqueue_gym.errors import BadInput
from llmqueue_gym.export.chosen import Chosen
from llmqueue_gym.export.source import MODULES, Source, literal_of

CARD, README = "card.json", "README.md"
FROM_SENDER = {  # what a sender may state of a request, and what counts where it does not
    "predicted": "output tokens in all, as predicted; the `max_tokens` of the request",
    "lower": "least output tokens, as predicted; `predicted`",
    "upper": "most output tokens, as predicted; `predicted`",
    "klass": "number of the class; 0",
    "tenant": "number of the tenant; 0",
    "weight": "cost per second; 1",
    "deadline": "s from arrival by which it is wanted; none",
}
STATED = "stated.py.jinja"  # what the modules of all engines have in common
_TEMPLATES = Path(__file__).parent / "templates"


class Target:
    """An engine that a policy can be exported to.

    Attributes:
        name: of the engine, as in `--to`.
        module: file that the engine loads.
        template: of that file.
        more: templates of further files, by file.
        fields: functions of a policy that the engine runs.
        request: columns of a request that the engine can tell.
        system: likewise of the replica.
        versions: of the engine that the module is for.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    template: ClassVar[str]
    more: ClassVar[Mapping[str, str]] = {}
    fields: ClassVar[tuple[str, ...]] = ("rank", "victim")
    request: ClassVar[frozenset[str]]
    system: ClassVar[frozenset[str]]
    versions: ClassVar[tuple[str, ...]]

    def obstacles(self, chosen: Chosen) -> Iterator[str]:
        """Yield what the engine cannot do of a policy, each in words that follow its name."""
        policy = chosen.policy
        if policy.keeps_accounts:
            yield f"keeps accounts of each {policy.owners} (request.received), which no engine does for a scheduler"
        if policy.merged:
            yield "takes running and waiting requests as one queue, of which the first fill each batch"
        if policy.displaces:
            yield "displaces running requests, where memory alone preempts: who waits never takes the place of who runs"
        if policy.admission != "fits":
            yield f"admits by {policy.admission!r} of expected lengths; the engine admits whatever fits now"
        if policy.skips:
            yield "goes past a request that does not fit; the engine stops there"
        if policy.progress is not None:
            yield "keeps a number for each request that it changes after each iteration"
        if policy.preemption not in (None, "recompute"):
            yield f"preempts by {policy.preemption!r}; the engine computes again"
        for what, known in (("request", self.request), ("system", self.system)):
            unknown = sorted(chosen.reads(*self.fields, of=what) - known)
            if unknown:
                yield f"reads {what}.{unknown[0]}, which the engine does not tell"

    def files(self, chosen: Chosen, command: str) -> dict[str, str]:
        """Return the texts to write, by file name.

        Args:
            chosen: the policy.
            command: that asks for it.

        Raises:
            BadInput: the engine cannot do what the policy does, or a function cannot be written out.
        """
        for obstacle in self.obstacles(chosen):
            raise BadInput(f"{chosen.spec} cannot run in {self.name}: it {obstacle}")
        said = self.said(chosen, command)
        return {
            self.module: _rendered(self.template, said),
            **{name: _rendered(template, said) for name, template in self.more.items()},
            README: _rendered(f"{self.name}.md.jinja", said),
            CARD: json.dumps(self.card(chosen, said), indent=1) + "\n",
        }

    def said(self, chosen: Chosen, command: str) -> dict[str, Any]:
        """Return what the templates are filled with."""
        policy, taken = chosen.policy, names_in(self.template, STATED)
        named = class_name(policy.name)
        named += "Policy" if named in taken else ""
        source = Source({**taken, named: object(), f"{named}Sync": object()})
        reads = chosen.reads(*self.fields)
        stated = reads | ({"predicted"} if "first_predicted" in reads else set())
        functions = {field: getattr(policy, field) for field in self.fields}
        written = {field: function and source.add(function, field) for field, function in functions.items()}
        return {
            "chosen": chosen,
            "policy": policy,
            "class_name": named,
            "module_name": Path(self.module).stem,
            "imports": source.imports,
            "functions": source.text,
            "written": written,
            "params": literal_of(chosen.params),
            "predictions": chosen.predictions,
            "reads": reads,
            "from_sender": {name: words for name, words in FROM_SENDER.items() if name in stated},
            "version": llmqueue_gym.__version__,
            "versions": self.versions,
            "command": command,
        }

    def card(self, chosen: Chosen, said: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the export is, for machines.

        Args:
            chosen: the policy.
            said: what the templates are filled with; its `run` is what starts the engine.
        """
        return {
            "made_by": f"llmqueue-gym {llmqueue_gym.__version__}",
            "command": said["command"],
            "run": said["run"],
            "target": self.name,
            "versions": list(self.versions),
            "policy": chosen.policy.name,
            "spec": chosen.spec,
            "source": chosen.policy.source,
            "params": list(chosen.params),
            "profile": chosen.profile,
            "predictions": chosen.predictions,
            "stated": sorted(said["from_sender"]),
            "files": [self.module, *self.more, README, CARD],
        }


def class_name(policy: str) -> str:
    """Return a policy's name as that of a class: `tie` gives `Tie`, `hrrn-like` gives `HrrnLike`."""
    words = re.split(r"[^0-9a-zA-Z]+", policy)
    name = "".join(word[:1].upper() + word[1:] for word in words if word)
    name += "Order" if keyword.iskeyword(name) or hasattr(builtins, name) else ""  # None and True are Python's
    return name if name[:1].isalpha() else f"Policy{name}"


def names_in(*templates: str) -> dict[str, Any]:
    """Return the names that templates define themselves, and what they are as far as functions may use it."""
    lines = re.findall(
        r"^(?:def |class |import |from \S+ import )?(\w+)(?: =|\(|:)?.*$",
        "".join((_TEMPLATES / template).read_text(encoding="utf-8") for template in templates),
        re.MULTILINE,
    )
    return {name: importlib.import_module(name) if name in MODULES else object() for name in lines}


def in_quotes(text: object) -> str:
    """Return a text as it is written between quotes in Python and in TOML, so that none can end them or mean more."""
    return shown(text).replace("\\", "\\\\").replace('"', '\\"')


def shown(text: object) -> str:
    """Return a text on one line, of letters that can be written: what a name of a file may hold besides is marked."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(text))


def _rendered(template: str, said: dict[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Python and Markdown
    )
    environment.filters.update(in_quotes=in_quotes, shown=shown)
    return environment.get_template(template).render(said).strip() + "\n"
