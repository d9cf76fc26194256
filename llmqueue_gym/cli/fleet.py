"""What `llmqueue simulate` tells of a fleet: what it tells of a replica, and what each group of replicas did."""

from collections.abc import Iterable
from typing import Any

import click

from llmqueue_gym.cli import serving
from llmqueue_gym.cli.asked import Asked
from llmqueue_gym.cli.output import print_table
from llmqueue_gym.cli.serving import notes

__all__ = ["found", "notes", "show", "told"]

SHARES = ("busy_share", "kv_share", "most_kv_share")


def told(asked: Asked, scenario: Any, seed: int, quiet: bool, policy: Any = None) -> dict[str, Any]:
    """Return what is served, in words, and the fleet."""
    words, system = serving.told(asked, scenario, seed, quiet, policy), scenario.system
    if system.discipline.uses_predictions:
        words["predictor"] = str(system.predictor(scenario, policy))
    words |= {**replicas(system), "order": system.discipline.name, "staleness": system.staleness}
    words["pooled_capacity"] = system.splits or bool(policy and policy.paired)
    return words | ({"handover": system.taker.name} if system.splits else {})


def replicas(system: Any) -> dict[str, Any]:
    """Return how many replicas there are, and of a file also what they are, in words."""
    words: dict[str, Any] = {"replicas": len(system.members)}
    if system.fleet is None:
        return words
    profiles = [member.profile for member in system.members]
    for word, name in (("profile", "name"), ("model", "model"), ("gpu", "gpu"), ("profile_error", "error")):
        words[word] = _each(getattr(profile, name) for profile in profiles)
    return {**words, "rules": _each(member.rules.name for member in system.members), "fleet": str(system.fleet)}


def _each(texts: Iterable[str]) -> str:
    """Return different texts in one, in their order."""
    return ", ".join(dict.fromkeys(texts))


def found(asked: Asked, scenario: Any, policy: Any, seed: int, run: Any) -> dict[str, Any]:
    """Return what came of a run, and of each group of replicas."""
    from llmqueue_gym.evaluation.fleet import groups, replicas_on

    told = serving.found(asked, scenario, policy, seed, run)
    told |= {name: run.totals[name] for name in ("transfers", "transfer_bytes", "lost") if run.totals[name]}
    told |= {name: run.totals[name] for name in ("switched_on", "switched_off") if name in run.totals}
    return {**told, "replicas_on": replicas_on(run), "groups": groups(run)}


def show(found: dict[str, Any]) -> None:
    """Print what was served, and by whom."""
    shown = found if "policy" in found else {**found, "policy": found["order"]}
    if "router" in found:
        shown = {
            **shown,
            "policy": f"{found['policy']} at each of {found['replicas']} replicas, router {found['router']}",
        }
    serving.show(shown, "fleet")
    changes = "switched_on" in found or "lost" in found or round(found["replicas_on"], 3) < found["replicas"]
    rows = [
        [
            f"{group['replicas']} x {group['profile']}",
            group["role"],
            *([f"{group['replicas_on']:.3g}"] if changes else []),
            f"{group['requests']:,}",
            *("" if share != share else f"{share:.1%}" for share in (group[name] for name in SHARES)),
        ]
        for group in found["groups"]
    ]
    counts = ("on, mean", "requests") if changes else ("requests",)
    columns = ("replicas", "role", *counts, "busy", "KV read by decodes, mean", "KV in use, most")
    print_table("replicas", columns, rows)
    if "switched_on" in found:
        click.echo(
            f"replicas on, mean: {found['replicas_on']:.3g} of {found['replicas']}; switched on "
            f"{found['switched_on']:,} times, off {found['switched_off']:,} times"
        )
    if found.get("transfers"):
        click.echo(
            f"moved between replicas: {found['transfers']:,} times, {found['transfer_bytes'] / 1e9:,.3g} GB in all"
        )
    if found.get("lost"):
        click.echo(f"begun anew, as their replica vanished: {found['lost']:,} requests")
