"""`llmqueue plan`: the cheapest fleet of a menu that keeps an objective."""

from pathlib import Path
from typing import Any

import click

from llmqueue_gym.cli.options import POSITIVE, Whole, as_json
from llmqueue_gym.cli.output import check_picture, print_json, print_table, progress_bar
from llmqueue_gym.errors import BadInput


@click.command()
@click.option("--slo", required=True, metavar="LIMITS", help="As in ttft=1,tpot=0.05,share=0.95; see above.")
@click.option("--menu", required=True, metavar="FILE.toml", help="Kinds of replicas and prices, or `example`.")
@click.option("--trace", metavar="FILE", help="Recorded requests; planned for is their busiest quarter of an hour.")
@click.option("--format", "trace_format", metavar="NAME", help="Of the trace; see `llmqueue workloads`.")
@click.option("--trace-unit", metavar="UNIT", help="Of its times; of its format's unless told.")
@click.option("--lengths", metavar="SPEC", help="Law of the requests in place of a trace, with --rate.")
@click.option("--rate", type=POSITIVE, help="Requests/s; with a trace in place of the busiest quarter's.")
@click.option("--arrivals", metavar="SPEC", help="Arrival process of a law.  [default: poisson]")
@click.option("--headroom", type=POSITIVE, default=1.0, show_default=True, help="Factor on the rate.")
@click.option("--predictor", metavar="SPEC", default="lognormal:sigma=0.5", show_default=True, help="Of lengths.")
@click.option("--max-tokens", type=Whole(2), help="Longer requests, prompt and output, are left out.")
@click.option(
    "--requests", type=Whole(100, 10**6), help="In a window.  [default: of a quarter of an hour, at most 20000]"
)
@click.option("--plot", metavar="FILE.png", help="Draw cost against objective; .png, .svg or .pdf.")
@click.option("--page", metavar="FILE.html", help="Write a page with the picture, tables and reasons.")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Seed of the windows.")
@as_json
def plan(as_json: bool, plot: str | None, page: str | None, seed: int, **told: Any) -> None:
    """Find the cheapest fleet that keeps an objective.

    --slo has limits in s, `wait`, `ttft`, `tpot`, `gap` and `e2e`, the `share` of the requests that are to be within
    all of them, and `windows`: the share of quarter hours in which that is to be so (.95 with a trace), or `mean` for
    the long run (with --lengths). The fleet is found by simulations of the same requests; see docs/plan.md.
    """
    from llmqueue_gym.evaluation.results import result
    from llmqueue_gym.planning import objective, read_menu
    from llmqueue_gym.planning import plan as find
    from llmqueue_gym.planning.objective import WINDOWS
    from llmqueue_gym.planning.page import write_page
    from llmqueue_gym.planning.plot import plot_plan
    from llmqueue_gym.storage import check_place, whole

    if plot:
        check_picture(plot)
    if page:
        if Path(page).suffix not in (".html", ".htm"):
            raise BadInput(f"--page {page}: end the name in .html")
        check_place(page, f"--page {page}")
    wanted = objective(told["slo"], WINDOWS if told["trace"] else None)
    menu, windows = read_menu(told["menu"]), _windows(told)
    with progress_bar("compiling, then looking for the cheapest fleet", as_json) as step:
        found = find(windows, wanted, menu, told["predictor"], seed, step)
    found = {"workload": windows.words, "slo": str(wanted), "menu": told["menu"], **found}
    if plot:
        with whole(plot) as picture:
            plot_plan(found, str(picture))
    if page:
        write_page(page, found)
    if as_json:
        options = {**{name.replace("trace_format", "format"): value for name, value in told.items()}, "seed": seed}
        print_json(result({**found, "options": {**options, "plot": plot, "page": page}}, seeds=[seed]))
        return
    _print(found)
    for path, word in ((plot, "drawn"), (page, "written")):
        if path:
            click.echo(f"{word}: {path}")


def _windows(told: dict[str, Any]) -> Any:
    from llmqueue_gym.planning import windows_of_law, windows_of_trace
    from llmqueue_gym.workloads.requests import TraceRequests
    from llmqueue_gym.workloads.traces import load_trace

    given = {"headroom": told["headroom"], "count": told["requests"]}
    if told["trace"] is None:
        for name in ("trace_format", "trace_unit"):
            if told[name] is not None:
                raise BadInput(f"--{name.replace('trace_format', 'format').replace('_', '-')} goes with --trace FILE")
        if told["lengths"] is None or told["rate"] is None:
            raise BadInput(
                "what comes? give --trace FILE, or --lengths SPEC and --rate R; for example azure-conv and 5"
            )
        arrivals = told["arrivals"] or "poisson"
        return windows_of_law(told["lengths"], told["rate"], arrivals, max_tokens=told["max_tokens"], **given)
    for name in ("lengths", "arrivals"):
        if told[name] is not None:
            raise BadInput(f"--{name} {told[name]} has no place beside --trace {told['trace']}; give one of them")
    how = {} if told["trace_unit"] is None else {"unit": told["trace_unit"]}
    trace = load_trace(told["trace"], told["trace_format"] or "auto", **how)
    recorded = TraceRequests.from_trace(trace, max_tokens=told["max_tokens"])
    return windows_of_trace(recorded, Path(told["trace"]).name, rate=told["rate"], **given)


def _print(found: dict[str, Any]) -> None:
    from llmqueue_gym.planning.words import COLUMNS, cells, conclusion, how, reasons

    shown = [k for k, name in enumerate(COLUMNS) if name not in ("worst window", "95 %")]  # a screen is 80 wide
    rows = [[cells(row, found)[k] for k in shown] for row in found["front"]]
    print_table(f"{found['workload']}: {found['slo']}", [COLUMNS[k] for k in shown], rows)
    click.echo(conclusion(found))
    for line in (*reasons(found), *how(found)):
        click.echo(line)
