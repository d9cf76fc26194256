"""What was planned, in words: the same in a terminal and on a page."""

from typing import Any

from llmqueue_gym.planning.plan import MOST_ROOM

COLUMNS = ("fleet", "USD/h", "within limits", "worst window", "held", "95 %", "objective")
_WORDS = {"keeps": "kept", "fails": "not kept", "open": "not shown"}


def cells(row: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return a row of the table of the front."""
    if found["objective"]["windows"] is None:
        holds = f"of {row['windows']}"
    else:
        holds = f"{row['held']} of {row['windows']}"
    return [
        row["fleet"],
        f"{row['price']:.2f}",
        _percent(row["share"]),
        _percent(row["worst"]),
        holds,
        f"{100 * row['low']:.4g} to {_percent(row['high'])}",
        _WORDS[row["word"]],
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def conclusion(found: dict[str, Any]) -> str:
    """Return the plan in a sentence."""
    row, judged = found["plan"], found["judged"]
    least = "at least " if found["room"] >= MOST_ROOM else ""
    return (
        f"Cheapest: {row['fleet']} at {row['price']:.2f} USD/h, router {row['router']}, order {row['order']}; it is "
        f"likely to bear {least}{found['room']:.3g} times the {judged['rate']:.3g} requests/s that it is planned for."
    )


def reasons(found: dict[str, Any]) -> list[str]:
    """Return why the next cheaper fleet fails, and what cannot do it at all."""
    told, cheaper = [], found["next_cheaper"]
    if cheaper is None:
        told.append("Nothing on the menu is cheaper.")
    else:
        word = "does not keep it" if cheaper["word"] == "fails" else "is not shown to keep it"
        told.append(
            f"The next cheaper one, {cheaper['fleet']} at {cheaper['price']:.2f} USD/h, {word}: in the worst of "
            f"{cheaper['windows']} windows {_percent(cheaper['share_of_worst'])} of the requests are within the limits."
        )
        told += [f"  {sentence}." for sentence in cheaper["sentences"]]
    return told + [f"{why}." for why in found["out"].values()]


def how(found: dict[str, Any]) -> list[str]:
    """Return how fleets were judged."""
    judged, wanted = found["judged"], found["objective"]
    planned = f"{judged['rate']:.4g} requests/s"
    if judged["busiest"] is not None:
        planned += f", the busiest quarter of an hour (from {judged['busiest']:,.0f} s on), "
        planned += f"{judged['rate'] / judged['mean_rate']:.3g} times the mean"
    often = (
        "the interval is of the share of requests in the long run"
        if wanted["windows"] is None
        else "the interval is of the share of windows that hold"
    )
    return [
        f"Planned for {planned}; windows of {judged['requests']:,} requests, {judged['seconds']:.3g} s, the same for "
        f"all fleets; {often}, and a fleet keeps the objective only where its lower end does.",
        f"{judged['fleets']} fleets played in {judged['simulations']} simulations along {judged['lines']} lines of the "
        f"menu; {judged['bounded']} more are below a bound. More replicas of a kind are taken to do no worse.",
    ]
