"""What the groups of a fleet's replicas did: those of one profile, rule set and role together."""

from typing import Any

import numpy as np

from llmqueue_gym.requests import ROLES
from llmqueue_gym.systems.members import ROLES as NAMES
from llmqueue_gym.systems.run import Run

_WORDS = {code: name for name, code in NAMES.items()}
assert set(_WORDS) == set(ROLES)


def groups(run: Run) -> list[dict[str, Any]]:
    """Return how many replicas each group has, the requests that ended there, and how busy they were."""
    span = run.totals["clock"] - float(run.jobs["arrival"][0])
    found: dict[tuple[str, ...], list[int]] = {}
    for q, member in enumerate(run.system.members):
        key = (member.group, member.profile.name, str(member.rules), _WORDS[member.role])
        found.setdefault(key, []).append(q)
    told = []
    for (group, profile, rules, role), rows in found.items():
        parts, members = [run.parts[q] for q in rows], [run.system.members[q] for q in rows]
        busy = sum(part["prefill_time"] + part["decode_time"] for part in parts)
        memory = sum(m.rules.held for m in members)
        most = [part["most_blocks"] / (m.rules.blocks or 1) for part, m in zip(parts, members, strict=True)]
        told.append(
            {
                "group": group,
                "profile": profile,
                "rules": rules,
                "role": role,
                "replicas": len(rows),
                "requests": int(np.isin(run.jobs["site"][run.done], rows).sum()),
                "busy_share": busy / (len(rows) * span),
                "kv_share": sum(part["token_time"] for part in parts) / (memory * span),
                "most_kv_share": max(most),
            }
        )
    return told
