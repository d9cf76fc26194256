"""A page for each environment id, and the one that lists them."""

import inspect
from typing import Any

from llmqueue_gym.cli.asked import kinds_of_systems
from llmqueue_gym.cli.options import documented
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.envs.opened import opened
from llmqueue_gym.systems import SYSTEMS, Scenario
from made.asked import as_markdown, asked
from made.learnt import learnt
from made.templates import render

PAY = ("per_job", "price", "wrong")  # arguments that say what else is paid for


def short(name: str) -> str:
    """Return an id without what all have: `MG1` of `llmqueue/MG1-v0`."""
    return name.removeprefix("llmqueue/").removesuffix("-v0")


def pages() -> dict[str, str]:
    """Return the pages by file name."""
    made = {f"environments/{short(name)}.md": page(name) for name in ENVIRONMENTS}
    rows = [{"short": short(name), "name": name, "words": one.description} for name, one in ENVIRONMENTS.items()]
    return {"environments/index.md": render("environments.md.jinja", rows=rows), **made}


def page(name: str) -> str:
    """Return the page of an id."""
    one, told = ENVIRONMENTS[name], asked("envs", name)
    kind: Any = SYSTEMS.builder(one.system)
    scenario, view = opened(one.system, one.kwargs)
    space, actions = view.spaces(scenario)
    words: dict[str, str] = {}
    for part in (Scenario, *reversed(kind.__mro__), *reversed(view.__class__.__mro__)):
        words |= documented(part, "Attributes")
    words |= {alias: words[field] for alias, field in kind.spelled.items() if field in words}
    return render(
        "environment.md.jinja",
        name=name,
        short=short(name),
        one=one,
        told=told,
        words=words,
        shapes={key: box.shape for key, box in space.items()},
        n_actions=int(actions.n),
        system=as_markdown(inspect.getdoc(kind) or ""),
        title=next(system.title for system in kinds_of_systems(one.system)),
        learnt=learnt(name),
        pay=[key for key in PAY if told["parameters"].get(key)],
        columns=[(part, zip(told[part].items(), told["units"][part], strict=True)) for part in ("jobs", "system")],
    )
