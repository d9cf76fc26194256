"""A purchase: how many replicas of which kind in which role; a line: purchases that differ in one number alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmqueue_gym.planning.menu import Kind, Menu
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.members import ROLES, Member, linked

BOTH, PREFILL, DECODE = "both", "prefill", "decode"
_WORDS = {BOTH: "", PREFILL: " read", DECODE: " decode"}


@dataclass(frozen=True)
class Part:
    """Replicas of one kind in one role."""

    kind: Kind
    role: str
    count: int


@dataclass(frozen=True)
class Purchase:
    """What is bought.

    Attributes:
        parts: at least one; either all are of role `BOTH`, or there are some to read prompts and some to decode.
    """

    parts: tuple[Part, ...]

    @property
    def price(self) -> float:
        """USD an hour."""
        return round(sum(part.count * float(part.kind.price or 0.0) for part in self.parts), 9)

    @property
    def replicas(self) -> int:
        """How many there are."""
        return sum(part.count for part in self.parts)

    @property
    def splits(self) -> bool:
        """Whether some only read prompts."""
        return any(part.role != BOTH for part in self.parts)

    def __str__(self) -> str:
        return ", ".join(f"{part.count} x {part.kind.name}{_WORDS[part.role]}" for part in self.parts)

    def told(self) -> list[dict[str, Any]]:
        """Return the parts as plain data."""
        return [
            {"gpu": part.kind.name, "role": part.role, "count": part.count, "price": part.kind.price}
            for part in self.parts
        ]

    def fleet(self, menu: Menu, order: str) -> Fleet:
        """Return the fleet, in which replicas serve in an order."""
        given: dict[str, Any] = {"order": order, "hold": menu.hold, "handover": menu.handover}
        given |= {"bandwidth": menu.bandwidth, "latency": menu.latency}
        first = self.parts[0]
        if all(part.kind is first.kind for part in self.parts):
            reads = sum(part.count for part in self.parts if part.role == PREFILL)
            return Fleet(first.kind.profile, first.kind.rules, replicas=self.replicas, prefill=reads, **given)
        return Fleet(fleet=linked(list(self._members()), menu.bandwidth, menu.latency), **given)

    def _members(self) -> Iterator[Member]:
        """Yield the replicas, where they differ."""
        for k, part in enumerate(self.parts):
            profile: Any = part.kind.profile
            yield from [Member(profile, part.kind.bound_rules, ROLES[part.role], str(k))] * part.count


@dataclass(frozen=True)
class Line:
    """Purchases that differ in the number of one kind.

    Attributes:
        fixed: what all of them have.
        kind: of which there is any number from 1 on.
        role: of these.
        least: of these that a bound asks for.
    """

    fixed: tuple[Part, ...]
    kind: Kind
    role: str
    least: int = 1

    def at(self, count: int) -> Purchase:
        """Return the purchase with so many."""
        return Purchase((*self.fixed, Part(self.kind, self.role, count)))

    @property
    def most(self) -> int:
        """The most that can be had, less those among what is fixed."""
        return self.kind.most - sum(part.count for part in self.fixed if part.kind is self.kind)

    def below(self, price: float) -> int:
        """Return the greatest number whose purchase is cheaper than a price, USD an hour; `most` at most."""
        count = self.most
        if price < float("inf"):
            count = min(
                count, int((price - sum(p.count * float(p.kind.price or 0.0) for p in self.fixed)) / self._each) + 1
            )
        while count > 0 and self.at(count).price >= price:
            count -= 1
        return count

    @property
    def _each(self) -> float:
        return float(self.kind.price or 1.0)


def pooled(menu: Menu) -> list[Line]:
    """Return a line for each kind by itself, the cheapest kind first."""
    return [Line((), kind, BOTH) for kind in sorted(menu.gpus, key=lambda kind: float(kind.price or 0.0))]


def split_lines(menu: Menu, reads: dict[str, int], price: float) -> Iterator[Line]:
    """Yield lines in which a number of replicas reads prompts and any number decodes, cheaper than a price.

    Args:
        menu: the kinds, and whether there are such fleets.
        reads: the least number of replicas of each kind that keep up with reading alone; a kind that is not there
            cannot read.
        price: USD an hour.
    """
    if not menu.split:
        return
    for reader in (kind for kind in menu.gpus if kind.name in reads):
        for writer in menu.gpus:
            if not _serve_one_model(reader, writer):
                continue
            for count in range(reads[reader.name], reader.most + 1):
                line = Line((Part(reader, PREFILL, count),), writer, DECODE)
                if line.most < 1 or line.at(1).price >= price:
                    break
                yield line


def mixed_lines(menu: Menu, price: float) -> Iterator[Line]:
    """Yield lines of two kinds side by side: a number of the dearer one and any number of the other."""
    if not menu.mixed:
        return
    kinds = sorted(menu.gpus, key=lambda kind: -float(kind.price or 0.0))
    for k, dear in enumerate(kinds):
        for other in kinds[k + 1 :]:
            if not _serve_one_model(dear, other):
                continue
            for count in range(1, dear.most + 1):
                line = Line((Part(dear, BOTH, count),), other, BOTH)
                if line.at(1).price >= price:
                    break
                yield line


def _serve_one_model(a: Kind, b: Kind) -> bool:
    first: Any = a.profile
    second: Any = b.profile
    return a is b or (first.model == second.model and first.model != "")
