"""The replicas of a fleet and the links between them: alike, or as a file in TOML says.

model = "Llama-3.1-8B"             # that requests ask for; may be left out, or a list of those that serve all alike

[[replica]]
name = "readers"                   # of the group, for links; may be left out
count = 2
role = "prefill"                   # both, prefill or decode
profile = "h100-llama3.1-8b"
rules = "vllm-v1:max_seqs=64"
price = 3.99                       # USD an hour, in place of the profile's

[[link]]
from = "readers"
to = "writers"
bandwidth = 50e9                   # bytes/s
latency = 1e-4                     # s
"""

import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import BOTH, DECODE, PREFILL
from llmqueue_gym.storage import read_text

ROLES = {"both": BOTH, "prefill": PREFILL, "decode": DECODE}
MOST_REPLICAS = 4096
LONGEST = 1e6  # s that a link takes at most
SLOWEST = 1.0  # bytes/s of one at least
DEAREST = 1e6  # USD an hour that a replica costs at most
EXAMPLE = Path(__file__).with_name("example_fleet.toml")
_KEYS = {
    "": ("model", "replica", "link"),
    "replica": ("name", "count", "role", "profile", "rules", "price"),
    "link": ("from", "to", "bandwidth", "latency"),
}


@dataclass(frozen=True, eq=False)
class Member:
    """One replica of a fleet.

    Attributes:
        profile: its cost profile.
        rules: its rule set, with the blocks and seats that it has there.
        role: BOTH, PREFILL or DECODE.
        group: name of those that the file describes together.
    """

    profile: Profile
    rules: Rules
    role: int = BOTH
    group: str = ""


@dataclass(frozen=True, eq=False)
class Plan:
    """Replicas, and links between them.

    Attributes:
        members: the replicas.
        latency: s from one to another `(R, R)`.
        byte_time: s/byte, likewise.
    """

    members: tuple[Member, ...]
    latency: np.ndarray
    byte_time: np.ndarray


def linked(members: Sequence[Member], bandwidth: float, latency: float) -> Plan:
    """Return the plan of replicas between which all links are alike, of so many bytes/s and s."""
    shape = (len(members), len(members))
    return Plan(tuple(members), np.full(shape, latency), np.full(shape, 1 / bandwidth))


def alike(profile: Profile, rules: Rules, replicas: int, prefill: int, bandwidth: float, latency: float) -> Plan:
    """Return the plan of replicas that differ in their roles alone; the first `prefill` of them only read prompts."""
    roles = [PREFILL] * prefill + [DECODE if prefill else BOTH] * (replicas - prefill)
    return linked([Member(profile, rules, role) for role in roles], bandwidth, latency)


def read_plan(path: str, profile: str | Profile, rules: str | Rules, bandwidth: float, latency: float) -> Plan:
    """Return the plan of a file.

    Args:
        path: of the file, or "example" for the one that is shipped.
        profile: of replicas for which the file names none.
        rules: likewise.
        bandwidth: of links that the file does not name, bytes/s.
        latency: of such links, s.

    Raises:
        BadInput: the file cannot be read, has an unknown key or a wrong value, or describes no fleet that could serve.
    """
    told = _read(str(EXAMPLE) if path == "example" else path)
    groups = [_group(path, k, row, profile, rules) for k, row in enumerate(told.get("replica", []))]
    members = tuple(member for group in groups for member in group)
    _check_names(path, [group[0].group for group in groups])
    if not 1 <= len(members) <= MOST_REPLICAS:
        raise BadInput(f"{path}: {len(members)} replicas; a fleet has 1 to {MOST_REPLICAS:,}, each under [[replica]]")
    check_roles(path, members)
    _check_model(path, told.get("model"), members)
    plan = linked(members, bandwidth, latency)
    for k, row in enumerate(told.get("link", [])):
        _link(path, k, row, plan)
    return plan


def check_roles(where: str, members: Sequence[Member]) -> None:
    """Refuse replicas that only read prompts where nobody decodes, and those that only decode where nobody reads."""
    roles = {member.role for member in members}
    for there, missing, words in ((PREFILL, DECODE, "decode what others read"), (DECODE, PREFILL, "read prompts")):
        if there in roles and not roles & {missing, BOTH}:
            role = {code: name for name, code in ROLES.items()}
            raise BadInput(
                f"{where}: role = '{role[there]}' leaves nobody to {words}; add a replica of role = '{role[missing]}'"
            )


def _read(path: str) -> dict[str, Any]:
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"fleet {path!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        told = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and tables in tables
        raise BadInput(f"{path}: no TOML: {error}") from None
    _check_keys(path, "", told)
    for table in ("replica", "link"):
        rows = told.get(table, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise BadInput(f"{path}: {table} must be written as [[{table}]], one for each")
        for row in rows:
            _check_keys(path, table, row)
    return told


def _check_keys(path: str, table: str, row: Mapping[str, Any]) -> None:
    for key in row:
        if key not in _KEYS[table]:
            where = f"[[{table}]]" if table else "the file"
            raise BadInput(f"{path}: {where} has no key {key!r}; {nearest(key, _KEYS[table])}")


def _group(path: str, k: int, row: Mapping[str, Any], profile: Any, rules: Any) -> list[Member]:
    """Return the replicas of a [[replica]]."""
    where = f"{path}: [[replica]] {k + 1}"
    count, role = row.get("count", 1), row.get("role", "both")
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_REPLICAS:
        raise BadInput(f"{where}: count = {count!r} must be a whole number from 1 to {MOST_REPLICAS:,}")
    if not isinstance(role, str) or role not in ROLES:
        raise BadInput(f"{where}: role = {role!r}; {nearest(str(role), ROLES)}")
    for key in ("profile", "rules", "name"):
        if not isinstance(row.get(key, ""), str):
            raise BadInput(f"{where}: {key} = {row[key]!r} must be a text")
    try:
        made = cost_profile(row.get("profile", profile))
        bound = rule_set(row.get("rules", rules)).on(made.kv_tokens, made.gpu)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None
    if "price" in row:
        made = replace(made, price_per_hour=_number(where, row, "price", 0, DEAREST), price_source=path)
    return [Member(made, bound, ROLES[role], str(row.get("name", k + 1)))] * count


def _check_names(path: str, names: Sequence[str]) -> None:
    for k, name in enumerate(names):
        if name in names[:k]:
            first = names.index(name) + 1
            raise BadInput(f"{path}: [[replica]] {k + 1}: name = {name!r} is that of number {first}; choose another")


def _check_model(path: str, told: Any, members: Sequence[Member]) -> None:
    """Refuse replicas of a model that requests do not ask for: of several where nothing is told."""
    served = sorted({member.profile.model for member in members if member.profile.model})
    if told is None:
        if len(served) > 1 and all(member.role == BOTH for member in members):  # where roles split none is good at all
            raise BadInput(
                f"{path}: replicas of {served[0]!r} and of {served[1]!r} would serve the same requests; leave one out, "
                f"or write model = {served!r} if any will do"
            )
        return
    models = told if isinstance(told, list) else [told]
    if not models:
        raise BadInput(f"{path}: model = [] names none; leave it out, or choose from {', '.join(served)}")
    for model in models:
        if model not in served:
            raise BadInput(f"{path}: model = {model!r} is on no replica; they serve {', '.join(served)}")
    other = next((name for name in served if name not in models), None)
    if other is not None:
        asked = " or ".join(map(repr, models))
        raise BadInput(f"{path}: requests ask for {asked}, and there are replicas of {other!r}; leave them out")


def _link(path: str, k: int, row: Mapping[str, Any], plan: Plan) -> None:
    """Write a [[link]] to the plan, in its direction."""
    where, names = f"{path}: [[link]] {k + 1}", [member.group for member in plan.members]
    ends = []
    for key in ("from", "to"):
        name = row.get(key)
        if name not in names:
            said = f"{key} = {name!r} is no replica" if key in row else f"{key} is missing"
            raise BadInput(f"{where}: {said}; {nearest(str(name), dict.fromkeys(names))}")
        ends.append([q for q, group in enumerate(names) if group == name])
    if "bandwidth" in row:
        plan.byte_time[np.ix_(*ends)] = 1 / _number(where, row, "bandwidth", SLOWEST, np.inf)
    if "latency" in row:
        plan.latency[np.ix_(*ends)] = _number(where, row, "latency", 0, LONGEST)


def _number(where: str, row: Mapping[str, Any], key: str, least: float, most: float) -> float:
    value = row[key]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise BadInput(f"{where}: {key} = {value!r} must be a number from {least:g} to {most:g}")
    return float(min(value, sys.float_info.max)) if isinstance(value, int) else value
