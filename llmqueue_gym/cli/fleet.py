"""What `llmqueue simulate` tells of a fleet: what it tells of a replica, and what each group of replicas did."""

from collections.abc import Iterable
from typing import Any

from llmqueue_gym.cli import serving
from llmqueue_gym.cli.asked import Asked
from llmqueue_gym.cli.output import print_table
from llmqueue_gym.cli.serving import notes

__all__ = ["found", "notes", "show", "told"]


def told(asked: Asked, scenario: Any, seed: int, quiet: bool, policy: Any = None) -> dict[str, Any]:
    """Return what is served, in words, and the fleet."""
    words, system = serving.told(asked, scenario, seed, quiet, policy), scenario.system
    if system.discipline.uses_predictions:
        words["predictor"] = str(system.predictor(scenario, policy))
    if system.fleet is not None:  # its replicas are those of the file
        profiles = [member.profile for member in system.members]
        for word, name in (("profile", "name"), ("model", "model"), ("gpu", "gpu"), ("profile_error", "error")):
            words[word] = _each(getattr(profile, name) for profile in profiles)
        words["rules"] = _each(member.rules.name for member in system.members)
    words |= {"order": system.discipline.name, "replicas": len(system.members), "staleness": system.staleness}
    return words | ({"handover": system.taker.name} if system.splits else {})


def _each(texts: Iterable[str]) -> str:
    """Return different texts in one, in their order."""
    return ", ".join(dict.fromkeys(texts))


def found(asked: Asked, scenario: Any, policy: Any, seed: int, run: Any) -> dict[str, Any]:
    """Return what came of a run, and of each group of replicas."""
    from llmqueue_gym.evaluation.fleet import groups

    told = serving.found(asked, scenario, policy, seed, run)
    names = ("transfers", "transfer_bytes", "lost")
    return {**told, **{name: run.totals[name] for name in names if run.totals[name]}, "groups": groups(run)}


def show(found: dict[str, Any]) -> None:
    """Print what was served, and by whom."""
    shown = found if "policy" in found else {**found, "policy": found["order"]}
    if "router" in found:
        shown = {
            **shown,
            "policy": f"{found['policy']} at each of {found['replicas']} replicas, router {found['router']}",
        }
    serving.show(shown)
    rows = [
        [
            f"{group['replicas']} x {group['profile']}",
            group["role"],
            f"{group['requests']:,}",
            f"{group['busy_share']:.1%}",
            f"{group['kv_share']:.1%}",
            f"{group['most_kv_share']:.1%}",
        ]
        for group in found["groups"]
    ]
    columns = ("replicas", "role", "requests", "busy", "KV read by decodes, mean", "KV in use, most")
    print_table("fleet", columns, rows)
