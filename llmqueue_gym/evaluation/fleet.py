"""What the groups of a fleet's replicas did: those of one profile, rule set and role together."""

from typing import Any

import numpy as np

from llmqueue_gym.evaluation.serving import Measured, most_kv_share
from llmqueue_gym.requests import ROLES
from llmqueue_gym.systems.members import ROLES as NAMES
from llmqueue_gym.systems.run import Run

_WORDS = {code: name for name, code in NAMES.items()}
assert set(_WORDS) == set(ROLES)


def replicas_on(run: Run) -> float:
    """Return how many replicas were there on average: those that started, served, or ended what they had."""
    whole = Measured(run)
    return whole.paid_time / whole.span


def groups(run: Run) -> list[dict[str, Any]]:
    """Return how many replicas each group has, the requests that ended there, and how busy they were.

    Shares are of the time for which replicas were there, as those of the whole fleet are; NaN where none ever was.
    """
    whole = Measured(run)
    found: dict[tuple[str, ...], list[int]] = {}
    for q, member in enumerate(run.system.members):
        key = (member.group, member.profile.name, str(member.rules), _WORDS[member.role])
        found.setdefault(key, []).append(q)
    told = []
    for (group, profile, rules, role), rows in found.items():
        parts, members = [run.parts[q] for q in rows], [run.system.members[q] for q in rows]
        busy = sum(part["prefill_time"] + part["decode_time"] for part in parts)
        times = [whole.time_there(part) for part in parts]
        there, room = sum(times), sum(m.rules.held * time for m, time in zip(members, times, strict=True))
        most = [most_kv_share(m, part) for m, part in zip(members, parts, strict=True)]
        told.append(
            {
                "group": group,
                "profile": profile,
                "rules": rules,
                "role": role,
                "replicas": len(rows),
                "replicas_on": there / whole.span,
                "requests": int(np.isin(run.jobs["site"][run.done], rows).sum()),
                "busy_share": busy / there if there else np.nan,
                "kv_share": sum(part["token_time"] for part in parts) / room if there else np.nan,
                "most_kv_share": float(np.fmax.reduce(most)),
            }
        )
    return told
