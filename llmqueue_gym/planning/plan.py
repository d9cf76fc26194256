"""`plan`: the cheapest fleet that keeps an objective, the front of cost and objective, and why the next one fails."""

from collections.abc import Callable
from typing import Any

from llmqueue_gym.planning.judge import Judge, Played
from llmqueue_gym.planning.menu import Menu
from llmqueue_gym.planning.objective import Objective
from llmqueue_gym.planning.purchase import Purchase
from llmqueue_gym.planning.search import Search, check_possible
from llmqueue_gym.planning.verdict import DOUBT, LOOKS, check_can_be_shown
from llmqueue_gym.planning.why import why
from llmqueue_gym.planning.windows import Windows
from llmqueue_gym.systems.capacity import GROWTH

SHOWN = 20  # windows of the plan and of the next cheaper one that are shown
FINE = 0.02  # to which the rate is found that the plan bears
MOST_ROOM = 8.0  # times the rate, beyond which nobody looks
Progress = Callable[[int, int], None]


def plan(
    windows: Windows,
    objective: Objective,
    menu: Menu,
    predictor: Any = "lognormal:sigma=0.5",
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Find the cheapest fleet of a menu that keeps an objective.

    Args:
        windows: of requests, of which every fleet meets the same ones.
        objective: what is to be kept.
        menu: what can be bought, and how it may be run.
        predictor: of output lengths, for routers and orders that want one.
        seed: of the windows.
        progress: called with (lines of the search done, all).

    Returns:
        `plan`, the fleet as `front` has it; `front`, those played that nothing cheaper beats, the cheapest first;
        `played`, all that were played; `next_cheaper` with what it fails by, None where nothing is cheaper; `room`, how
        many times the rate the plan is likely to bear, `MOST_ROOM` for more; `out`, what cannot do it in any number;
        and how all was judged.

    Raises:
        BadInput: no fleet of the menu keeps the objective, no windows could show it, or they are too short.
    """
    check_can_be_shown(objective)
    judge = Judge(windows, objective, menu, predictor, seed)
    search = Search(judge)
    search.run(progress)
    check_possible(search)
    best: Any = search.best
    chosen, told = judge.shown(best, SHOWN), None
    cheaper = [_settled(judge, purchase) for purchase in search.next_cheaper()]
    if cheaper:
        near = max(cheaper, key=lambda played: judge.verdict(played).share)
        told = {**_row(judge, near), **why(judge, near)}
    rows = sorted((_row(judge, one) for one in judge.found.values()), key=lambda row: (row["price"], -row["share"]))
    front: list[dict[str, Any]] = []
    for row in rows:
        if not front or _serves(row) > _serves(front[-1]):
            front.append(row)
    return {
        "plan": _row(judge, chosen),
        "front": front,
        "played": rows,
        "next_cheaper": told,
        "room": room(judge, best),
        "out": search.out,
        "objective": {"limits": dict(objective.limits), "share": objective.share, "windows": objective.windows},
        "judged": {
            "windows": list(LOOKS),
            "doubt": DOUBT,
            "requests": windows.count,
            "lead": windows.lead,
            "seconds": windows.seconds,
            "rate": windows.rate,
            "mean_rate": windows.mean_rate,
            "busiest": windows.begins,
            "simulations": judge.simulations,
            "fleets": len(judge.found),
            "lines": search.lines,
            "bounded": search.bounded,
        },
    }


def room(judge: Judge, purchase: Purchase) -> float:
    """Return how many times the rate a purchase is likely to bear, to `FINE`; `MOST_ROOM` is that or more.

    It is judged by the first look alone.
    """
    low, high = 1.0, 1.0 + 4 * FINE
    while judge.bears(purchase, high):
        if high == MOST_ROOM:
            return MOST_ROOM
        low, high = high, min(1 + 2 * (high - 1), MOST_ROOM)
    while high / low > 1 + FINE:
        middle = (low + high) / 2
        low, high = (middle, high) if judge.bears(purchase, middle) else (low, middle)
    return low


def _serves(row: dict[str, Any]) -> tuple[bool, float]:
    """Return whether a fleet keeps up as far as is known, then its share of requests within the limits."""
    return (row["growth"] or 0.0) <= GROWTH, row["share"]


def _settled(judge: Judge, purchase: Purchase) -> Played:
    judge.settle(purchase)
    return judge.shown(purchase, SHOWN)


def _row(judge: Judge, played: Played) -> dict[str, Any]:
    told = judge.verdict(played)
    return {
        "fleet": str(played.purchase),
        "parts": played.purchase.told(),
        "price": played.purchase.price,
        "router": played.way[0],
        "order": played.way[1],
        "word": told.word,
        "windows": told.windows,
        "held": told.held,
        "low": told.low,
        "high": told.high,
        "share": told.share,
        "worst": told.worst,
        "growth": played.growth,
        "shares": [round(share, 6) for share in played.shares[:SHOWN]],
    }
