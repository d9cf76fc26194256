"""`llmqueue theory`: the exact mean response time of a policy, or what is known of it."""

from dataclasses import replace
from typing import Any

import click

from llmqueue_gym.cli.asked import Asked
from llmqueue_gym.cli.compare import read_policies
from llmqueue_gym.cli.options import JSON, BySystem
from llmqueue_gym.cli.output import check_picture, print_json, print_result, print_table, progress_bar
from llmqueue_gym.errors import BadInput

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)  # of the size law, at which E[T | size] is told
POLICY = click.Option(["--policy"], metavar="SPEC", help="Of `llmqueue policies`, or FILE.py:NAME.")
COMPARE = click.Option(["--compare"], is_flag=True, help="All policies, in place of one.")
POLICIES = click.Option(
    ["--policies"], metavar="LIST", help="With --compare: names, separated by commas.  [default: all]"
)
PLOT = click.Option(["--plot"], metavar="FILE.png", help="With --compare: draw the table; .png, .svg or .pdf.")
TAIL = click.Option(
    ["--tail"], is_flag=True, help="On one server: the median, p99 and p99.9, too, where they are known."
)
METHOD = click.Option(
    ["--method"],
    type=click.Choice(["auto", "formula", "soap"]),
    default="auto",
    show_default=True,
    help="On one server: closed form, or the general calculator.",
)


def _theory(
    asked: Asked,
    policy: str | None,
    compare: bool,
    policies: str | None,
    plot: str | None,
    method: Any,
    tail: bool,
    as_json: bool,
) -> None:
    if compare:
        if policy is not None:
            option = next((name for name, what in asked.renamed.items() if what == "policy"), "policy")
            raise BadInput(
                f"--{option} {policy} has no place beside --compare: write llmqueue theory {asked.kind.name} --compare "
                f"--policies {policy},..."
            )
        if method != "auto":
            raise BadInput(f"--method {method} has no place beside --compare; leave it out")
        if tail:
            raise BadInput("--tail has no place beside --compare; leave it out")
        _compare(asked, policies, plot, as_json)
        return
    for option, value in (("--policies", policies), ("--plot", plot)):
        if value is not None:
            raise BadInput(f"{option} {value} goes with --compare; add it")
    if policy is None:
        raise BadInput("--policy is missing; for example --policy sprpt, or --compare for all")
    player = asked.policy(policy)
    scenario = asked.scenario(player)
    words = asked.renamed_words({"policy": policy, **asked.words(scenario, player)})
    del words["arrivals"]
    if asked.kind.name == "mg1":
        found = {**words, **_exact(scenario, player, method), **(_tail(scenario, player) if tail else {})}
    elif tail:
        raise BadInput("--tail belongs to a single server; leave it out")
    elif method != "auto":
        raise BadInput(f"--method {method} belongs to a single server; leave it out")
    else:
        found = {**words, **_known(scenario, player, policy)}
    if as_json:
        print_json(found)
        return
    rows = [{"size": x, "mean response time": t, "slowdown": t / x} for x, t in found.pop("response_time_by_size", ())]
    found |= {"response time by size": rows} if rows else {}
    print_result("known", {key: value for key, value in found.items() if value is not None and value is not False})


theory = BySystem(
    "theory",
    _theory,
    "Analyse a policy exactly on one server, or tell what is known of it. Without SYSTEM it is the first that takes "
    "all options.",
    (POLICY, COMPARE, POLICIES, PLOT, METHOD, TAIL, JSON),
    left_out=("n_jobs", "arrivals"),
    simulates=False,
    brief=("policies", "plot", "method", "tail", "as_json"),
)


def _compare(asked: Asked, policies: str | None, plot: str | None, as_json: bool) -> None:
    """Tell what is known of all policies, or of some."""
    from llmqueue_gym.evaluation.exact import exact, plot_exact
    from llmqueue_gym.storage import whole

    if plot:
        check_picture(plot)
    scenario, chosen = asked.scenario(), read_policies(asked, policies or "all")
    words = asked.words(scenario)
    with progress_bar("analysing the policies", as_json) as step:
        found = exact(scenario, chosen, step)
    pace = f"load {scenario.load:g}" if scenario.load is not None else f"{scenario.rate:g} /s"
    title = f"{asked.kind.title}: size {words['size']}, predictor {words['predictor']}, {pace}"
    if plot:
        with whole(plot) as picture:
            plot_exact(found, title, str(picture))
    if as_json:
        print_json({**words, **found})
        return
    best, kinds = found["best"], {row["kind"] for row in found["policies"]}
    columns = [
        "policy",
        "told",
        "mean response",
        *([f"over {best}"] if best else []),
        *(["kind"] if len(kinds) > 1 else []),
    ]
    print_table(title, columns, [_row(row, found)[: len(columns)] for row in found["policies"]])
    if len(kinds) == 1:
        click.echo(f"Mean response times are {' '.join(kinds)}, s.")
    if found["unknown"]:
        click.echo(f"theory knows nothing here of {', '.join(found['unknown'])}")
    if plot:
        click.echo(f"drawn: {plot}")


def _row(row: dict[str, Any], found: dict[str, Any]) -> list[Any]:
    """Return the cells of a policy."""
    mean: Any = row.get("mean_response_time")
    over = f"{row['over_best']:.4f}" if mean is not None and found["best"] else ""
    if mean is None:
        low, high = ("?" if row[end] is None else f"{row[end]:.5g}" for end in ("low", "high"))
        mean = f"{low} to {high}"
    return [row["policy"], row["told"], mean, *([over] if found["best"] else []), row["kind"]]


def _exact(scenario: Any, policy: Any, method: Any) -> dict[str, Any]:
    """Return the exact results of a policy on one server."""
    import numpy as np

    from llmqueue_gym.systems.known import load_of
    from llmqueue_gym.theory import analyse

    law = scenario.law
    analysis = analyse(policy, law, scenario.system.predictor(scenario, policy), load_of(scenario), method)
    sizes = np.unique(law.ppf(np.array(QUANTILES)))
    # A formula may stand where SOAP does not apply; then nothing is known by size.
    times = np.interp(sizes, analysis.sizes, analysis.response_time_by_size) if len(analysis.sizes) else []
    return {
        "mean_response_time": analysis.mean_response_time,
        "mean_slowdown": analysis.mean_slowdown,
        "method": analysis.method,
        "uncertain_by": analysis.grid_gap if analysis.rough else None,  # relative
        "response_time_by_size": [[float(x), float(t)] for x, t in zip(sizes, times, strict=False)],
    }


def _tail(scenario: Any, policy: Any) -> dict[str, float]:
    """Return exact quantiles of the response time of a policy on one server."""
    from llmqueue_gym.systems.known import load_of
    from llmqueue_gym.theory.tails import Tail

    tail = Tail(policy, scenario.law, scenario.system.predictor(scenario, policy), load_of(scenario))
    return {name: tail.quantile(q) for name, q in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}


def _known(scenario: Any, policy: Any, spec: str) -> dict[str, Any]:
    """Return what is known of a policy.

    Raises:
        BadInput: nothing is; the message names the floor of every policy, and what is known.
    """
    from llmqueue_gym.systems.known import best_known, unknown

    rows = scenario.known(policy)
    if rows:  # what cannot be played is refused, as a theorem may not look at all that is wrong
        replace(scenario, n_jobs=1).draw(0, policy)
        policy.params_for(**scenario.facts(policy))
    best = best_known(rows)
    if best is None:
        raise BadInput(unknown(spec, scenario, rows))
    return {**best, "theory": rows}
