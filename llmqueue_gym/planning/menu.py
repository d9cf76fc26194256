"""What can be bought, and how it may be run: kinds of replicas with prices, routers and orders, from a file in TOML.

routers = ["least-outstanding"]    # each is tried
orders = ["fcfs"]                  # likewise, in each replica
split = true                       # also fleets in which some replicas only read prompts
mixed = true                       # also fleets of two kinds that do the same

[[gpu]]
name = "H100"                      # as shown
profile = "h100-llama3.1-8b"
rules = "vllm-v1"
price = 3.99                       # USD an hour of a replica, in place of the profile's
most = 8                           # that can be had
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies.routing import ROUTING_POLICIES
from llmqueue_gym.policies.serving import SERVING_POLICIES
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.storage import read_text
from llmqueue_gym.systems.members import DEAREST, MOST_REPLICAS, SLOWEST

EXAMPLE = Path(__file__).with_name("example_menu.toml")


@dataclass(frozen=True)
class Kind:
    """A kind of replica.

    Attributes:
        name: as shown.
        profile: cost profile, or its spec.
        rules: rule set, or its spec.
        price: USD an hour; that of the profile unless told otherwise.
        most: that can be had.

    Raises:
        BadInput: the name cannot be shown, there is no price, or a number is out of range.
    """

    name: str
    profile: str | Profile
    rules: str = "vllm-v1"
    price: float | None = None
    most: int = 64

    def __post_init__(self) -> None:
        where = f"gpu {self.name!r}"
        if not self.name.strip() or not self.name.isprintable():
            raise BadInput(f"{where}: a name must have letters, and nothing that cannot be shown, such as 'H100'")
        made, price = cost_profile(self.profile), self.price
        if price is None:
            price = made.price_per_hour
            if price != price:
                raise BadInput(f"{where}: profile {made.name!r} has no price; add price = ..., in USD an hour")
        if not _number(price) or not 0 < price <= DEAREST:
            raise BadInput(f"{where}: price = {price!r} must be a number above 0 and at most {DEAREST:g}, USD an hour")
        if not isinstance(self.most, int) or isinstance(self.most, bool) or not 1 <= self.most <= MOST_REPLICAS:
            raise BadInput(f"{where}: most = {self.most!r} must be a whole number from 1 to {MOST_REPLICAS:,}")
        object.__setattr__(self, "profile", made)
        object.__setattr__(self, "price", float(price))
        _ = self.bound_rules

    @cached_property
    def bound_rules(self) -> Rules:
        """The rule set with what it has on the profile's GPU."""
        made: Any = self.profile
        return rule_set(self.rules).on(made.kv_tokens, made.gpu)


@dataclass(frozen=True)
class Menu:
    """Kinds of replicas, and ways of running them.

    Attributes:
        gpus: the kinds; the file has a [[gpu]] for each.
        routers: each is tried.
        orders: in which replicas serve; each is tried.
        split: whether replicas may be of two roles, some to read prompts and the others to decode.
        mixed: whether replicas of two kinds may do the same, where they serve the same model.
        hold: whether requests wait at the router until a replica has a seat free.
        handover: router that chooses who decodes what another one has read.
        bandwidth: of a link between two replicas, bytes/s.
        latency: of such a link, s.

    Raises:
        BadInput: a name is unknown or twice there, or there is nothing to choose from.
    """

    gpus: tuple[Kind, ...]
    routers: tuple[str, ...] = ("least-outstanding",)
    orders: tuple[str, ...] = ("fcfs",)
    split: bool = False
    mixed: bool = False
    hold: bool = False
    handover: str = "least-kv"
    bandwidth: float = 50e9
    latency: float = 1e-4

    def __post_init__(self) -> None:
        if not self.gpus:
            raise BadInput("the menu has no [[gpu]]; add one for each kind of replica")
        names = [kind.name for kind in self.gpus]
        for name in names:
            if names.count(name) > 1:
                raise BadInput(f"gpu {name!r} is there twice; choose another name")
        for what, known in (("routers", ROUTING_POLICIES), ("orders", SERVING_POLICIES)):
            told = getattr(self, what)
            if not isinstance(told, (tuple, list)) or not told or not all(isinstance(one, str) for one in told):
                raise BadInput(f"{what} = {told!r} must be a list of names, such as [{next(iter(known))!r}]")
            for one in told:
                known(one)
            object.__setattr__(self, what, tuple(dict.fromkeys(told)))
        for what in ("split", "mixed", "hold"):
            if not isinstance(getattr(self, what), bool):
                raise BadInput(f"{what} = {getattr(self, what)!r} must be true or false")
        ROUTING_POLICIES(self.handover)
        for what, least in (("bandwidth", SLOWEST), ("latency", 0.0)):
            if not _number(getattr(self, what)) or not getattr(self, what) >= least:
                raise BadInput(f"{what} = {getattr(self, what)!r} must be a number from {least:g} on")

    @property
    def ways(self) -> tuple[tuple[str, str], ...]:
        """Router and order of each way to run a fleet."""
        return tuple((router, order) for router in self.routers for order in self.orders)


_TOP = ("gpu", *(field.name for field in fields(Menu) if field.name != "gpus"))
_GPU = tuple(field.name for field in fields(Kind))


def read_menu(path: str | os.PathLike[str]) -> Menu:
    """Return the menu of a file.

    Args:
        path: of the file, or "example" for the one that is shipped.

    Raises:
        BadInput: the file cannot be read, has an unknown key or a wrong value; the message names file and place.
    """
    try:
        text = read_text(EXAMPLE if path == "example" else path)
        told = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # the last of tables in tables
        raise BadInput(f"{path}: no TOML: {error}") from None
    except (OSError, ValueError) as error:
        raise BadInput(
            f"menu {os.fspath(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    _check_keys(f"{path}: the menu", told, _TOP)
    rows = told.pop("gpu", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"{path}: gpu must be written as [[gpu]], one for each kind of replica")
    kinds = []
    try:
        for k, row in enumerate(rows):
            _check_keys(f"[[gpu]] {k + 1}", row, _GPU)
            for key in ("name", "profile", "rules"):
                if not isinstance(row.get(key, ""), str):
                    raise BadInput(f"[[gpu]] {k + 1}: {key} = {row[key]!r} must be a text")
            if "profile" not in row:
                raise BadInput(f"[[gpu]] {k + 1}: profile is missing; see `llmqueue profile list`")
            name = row.get("name", row["profile"])
            kinds.append(Kind(**{**row, "name": name, "profile": _beside(path, row["profile"])}))
        return Menu(tuple(kinds), **told)
    except BadInput as error:
        words = str(error)
        raise BadInput(words if words.startswith(f"{path}: ") else f"{path}: {words}") from None


def _beside(path: str | os.PathLike[str], spec: str) -> str:
    """Return the spec of a profile whose file stands beside the menu, where it is not found from here."""
    head, colon, rest = spec.partition(":")
    file, comma, more = rest.partition(",")
    near = Path(path).parent / file
    if head == "file" and colon and not Path(file).exists() and near.exists():
        return f"{head}:{near}{comma}{more}"
    return spec


def _check_keys(where: str, row: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in row:
        if key not in known:
            raise BadInput(f"{where} has no key {key!r}; {nearest(key, known)}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
