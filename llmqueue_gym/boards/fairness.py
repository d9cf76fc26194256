"""What an entry from outside has to stand beside its result: other seeds, and other orders of runs.

Whoever sends an entry knows the reporting seeds, so a table of their jobs could be in it. Each entry is therefore also
played on fresh seeds, which follow from a hash of its own files: another file, other seeds, so that no file can hold
the answers to its own. Its lead over policies that know nothing of seeds has to be there, too.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from rich.progress import Progress
from scipy import stats

from llmqueue_gym.boards.board import Board
from llmqueue_gym.boards.entry import Entry, find
from llmqueue_gym.boards.play import BOUND, TOLERANCE, Numbers, Row, play_scenarios
from llmqueue_gym.boards.workers import Work
from llmqueue_gym.errors import BadInput

FEWEST = 12  # fresh seeds
DOUBT = 0.01  # probability that a board refuses an entry that knows nothing


def play_fairly(on: Board, entry: Entry, kept: Mapping[str, Row], work: Work, bar: Progress) -> list[Numbers]:
    """Return the numbers of an entry on the reporting seeds, once it has stood the rest.

    Args:
        on: the board.
        entry: from outside.
        kept: stored results of the board; the base stands in where there are none.
        work: does the work.
        bar: shows how far it is.

    Raises:
        BadInput: its numbers depend on what was played before, it leaves jobs undone, undercuts the bound, or does
            better on the reporting seeds than on fresh ones.
    """
    reporting, fresh = list(on.seeds), fresh_seeds(on, entry)
    seeds = [*reporting, *fresh, reporting[0]]
    played = play_scenarios(on, entry, seeds, work, bar, entry.name)
    for name, one in zip(on.fields, played, strict=True):
        check_order(name, entry, one)
    n = len(reporting)
    found, elsewhere = ([{key: row[key][part] for key in row} for row in played] for part in (slice(n), slice(n, -1)))
    check_costs(on, entry, played, kept)
    for peer in (nearest_peer(on, found, kept), find(on, on.base)):
        if peer is not None:
            there, usual = (
                play_scenarios(on, peer, some, work, bar, f"{peer.name} beside it") for some in (reporting, fresh)
            )
            leads = _leads(on, found, there), _leads(on, elsewhere, usual)
            if all(np.isfinite(lead).all() for lead in leads):
                check_seeds(on, entry, peer, *leads)
                return found
    raise BadInput(f"board {on.name!r}: {on.base} leaves jobs unserved, so that nobody can be compared")


def fresh_seeds(on: Board, entry: Entry) -> list[int]:
    """Return seeds beyond guessing, which follow from the files of an entry: two for each that is reported, or more."""
    if entry.files is None:
        raise BadInput(f"{entry.name!r} is not from outside")
    return [
        int.from_bytes(entry.files.digest(on.name, on.version, k)[:16]) + 2**64  # far from all that are chosen
        for k in range(max(2 * len(on.seeds), FEWEST))
    ]


def check_order(scenario: str, entry: Entry, played: Numbers) -> None:
    """Refuse an entry whose first run, played again after the others, has other numbers."""
    again = {key: values[-1] for key, values in played.items()}
    first = {key: values[0] for key, values in played.items()}
    if first != again:
        raise BadInput(
            f"entry {entry.name!r} changes with the order of runs: on {scenario!r} its first run gives "
            f"{first['cost']:.6g}, and {again['cost']:.6g} after others were played"
        )


def check_costs(on: Board, entry: Entry, played: Sequence[Numbers], kept: Mapping[str, Row]) -> None:
    """Refuse costs that are not finite and positive, or less than the bound."""
    for name, one in zip(on.fields, played, strict=True):
        cost = np.array(one["cost"])
        if not np.isfinite(cost).all():
            raise BadInput(f"entry {entry.name!r} leaves jobs unserved on {name!r}")
        least = np.array(kept[BOUND]["scenarios"][name]["cost"]) if BOUND in kept else np.zeros(len(on.seeds))
        if (cost <= 0).any() or (cost[: len(least)] < least * (1 - TOLERANCE)).any():
            raise BadInput(f"entry {entry.name!r} has a cost on {name!r} that no policy can have, {cost.min():g}")


def nearest_peer(on: Board, found: Sequence[Numbers], kept: Mapping[str, Row]) -> Entry | None:
    """Return the policy of the library whose stored costs go up and down with those of an entry most closely."""
    spread = {}
    for name in on.kind.policies:
        if name in kept and np.isfinite([one["cost"] for one in kept[name]["scenarios"].values()]).all():
            rows = [kept[name]["scenarios"][scenario] for scenario in on.fields]
            spread[name] = float(_leads(on, found, rows).var(axis=1).mean())
    return find(on, min(spread, key=lambda name: spread[name])) if spread else None


def check_seeds(on: Board, entry: Entry, peer: Entry, reported: np.ndarray, fresh: np.ndarray) -> None:
    """Refuse an entry whose lead on the reporting seeds is larger than on fresh ones, by more than chance makes it.

    Student's t in each scenario and over all of them together, each with its share of `DOUBT`. How leads scatter is
    taken from the fresh seeds: on those that it knows an entry may make them scatter as it likes.

    Args:
        on: the board.
        entry: who leads.
        peer: whom.
        reported: log of the peer's cost over the entry's `(scenarios, seeds)`.
        fresh: the same on fresh seeds `(scenarios, fresh seeds)`.

    Raises:
        BadInput: its lead is larger.
    """
    (count, n), m = reported.shape, fresh.shape[1]
    gaps, variances = reported.mean(1) - fresh.mean(1), fresh.var(1, ddof=1) * (1 / n + 1 / m) + TOLERANCE**2
    freedom = variances.sum() ** 2 / (variances**2).sum() * (m - 1)  # Welch and Satterthwaite
    rows = [("all scenarios together", gaps.mean(), variances.sum() / count**2, freedom)]
    rows += [(name, gap, variance, m - 1) for name, gap, variance in zip(on.fields, gaps, variances, strict=True)]
    for name, gap, variance, degrees in rows:
        if gap > stats.t.isf(DOUBT / (1 + count), degrees) * np.sqrt(variance):
            raise BadInput(
                f"entry {entry.name!r} knows the reporting seeds: on {name} its cost, over that of {peer.name}, is "
                f"{-np.expm1(-gap):.2%} less there than on fresh seeds, which is not by chance"
            )


def _leads(on: Board, found: Sequence[Numbers], others: Sequence[Numbers]) -> np.ndarray:
    return np.log([np.divide(other["cost"], one["cost"]) for one, other in zip(found, others, strict=True)])
