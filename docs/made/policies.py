"""A page for each policy, with its rule, its code, what theory knows and where it wins; and one for each kind."""

from functools import cache
from pathlib import Path
from typing import Any

from llmqueue_gym.cli.asked import kinds_of_systems
from llmqueue_gym.policies.control import CONTROLLERS
from llmqueue_gym.policies.expansion import EXPANSION_POLICIES
from llmqueue_gym.policies.learned import Trained
from llmqueue_gym.policies.learned.artefact import read_card
from made.asked import asked, documented, source_of
from made.ranks import places
from made.templates import render
from made.theory import known

# Titles of the kinds of policies, in the order in which they are shown.
TITLES = {
    "policy": "Orders of jobs",
    "sharing policy": "Sharing a server",
    "monitored policy": "Watching the predictions",
    "predicting policy": "Buying predictions",
    "dispatch policy": "Dispatching",
    "packing policy": "Packing jobs on servers",
    "moldable policy": "Servers for a job",
    "serving policy": "Orders of requests and calls",
    "router": "Routers",
    "controller": "Controllers of fleets",
    "retention policy": "Contexts while a tool works",
    "stopping rule": "When a program stops",
    "drafting rule": "Drafts",
    "choice of models": "Choosing a model",
    "expansion rule": "Growing a tree of calls",
}


@cache
def kinds() -> dict[str, dict[str, Any]]:
    """Return by kind: names with their tables, and the systems in which it plays."""
    found: dict[str, dict[str, Any]] = {kind: {"names": {}, "systems": []} for kind in TITLES}
    for system in kinds_of_systems():
        for part in system.policies.parts:
            here = found[part.made.kind]
            here["names"] = {**dict.fromkeys(part, part), **here["names"]}
            here["systems"].append(system)
    found["controller"]["names"] = dict.fromkeys(CONTROLLERS, CONTROLLERS)
    found["expansion rule"]["names"] = dict.fromkeys(EXPANSION_POLICIES, EXPANSION_POLICIES)
    return found


@cache
def listed() -> dict[str, dict[str, Any]]:
    """Return what `llmqueue policies` says, by kind and name."""
    lists = asked("policies")
    return {kind: {entry["name"]: entry for entry in lists[_list_of(kind)]} for kind in TITLES}


def _list_of(kind: str) -> str:
    return "controllers" if kind == "controller" else kind.replace("policy", "policies").replace(" ", "_")


def folder(kind: str) -> str:
    """Return the folder of the pages of a kind."""
    return TITLES[kind].lower().replace(" ", "-")


def pages() -> dict[str, str]:
    """Return the pages by file name."""
    made, tables = {}, []
    for kind, title in TITLES.items():
        here = f"policies/{folder(kind)}"
        rows = [listed()[kind][name] for name in kinds()[kind]["names"]]
        systems = kinds()[kind]["systems"]
        tables.append((folder(kind), title, len(rows), systems))
        told = {"title": title, "rows": rows, "systems": systems, "kind": kind, "known": known(kind)}
        made[f"{here}/index.md"] = render("kind.md.jinja", **told)
        made |= {f"{here}/{row['name']}.md": page(kind, row["name"]) for row in rows}
    return {"policies/index.md": render("policies.md.jinja", tables=tables), **made}


def page(kind: str, name: str) -> str:
    """Return the page of a policy."""
    registry, entry = kinds()[kind]["names"][name], listed()[kind][name]
    builder = registry.builder(name)
    made = None if None in entry["parameters"].values() else registry.make(name)
    card = read_card(builder.folder) if isinstance(builder, Trained) else None
    return render(
        "policy.md.jinja",
        kind=kind,
        title=TITLES[kind],
        entry=entry,
        card=card,
        words=card["description"] if card else documented(builder),
        systems=kinds()[kind]["systems"],
        codes=codes(builder, made),
        known=[(where, rows.get(name), words) for where, rows, words in known(kind)],
        places=places().get((kind, name), []),
    )


def codes(builder: Any, made: Any) -> list[tuple[str, str]]:
    """Return its functions, code and file of each; where it has none, what builds it."""
    functions = [getattr(made, field, None) for field in getattr(made, "functions", ())]
    found = dict.fromkeys(source_of(function) for function in functions if function is not None)
    if not found and not isinstance(builder, Trained):
        found = {source_of(getattr(builder, "func", builder)): None}
    return [(code, path) for code, path in found if Path(path).name != "base.py" or len(found) == 1]
