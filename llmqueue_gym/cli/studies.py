"""`llmqueue reproduce` and `llmqueue bench`: the survey's tables again, and the policies ranked.

Both show on stderr how far they are; stdout stays the result's.
"""

from pathlib import Path
from typing import Any

import click

from llmqueue_gym.cli.options import Whole, as_json
from llmqueue_gym.cli.output import print_json


@click.command()
@click.argument("table", metavar="TABLE", type=click.Choice(["table1", "table2", "table3", "closed-forms", "all"]))
@click.option("--jobs", type=Whole(1, 10**10), help="Jobs behind each simulated number.  [default: 8000000]")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Seed of the simulations.")
@as_json
def reproduce(table: str, jobs: int | None, seed: int, as_json: bool) -> None:
    """Compute a table of the survey again and set it against the print.

    TABLE is table1, table2, table3, closed-forms or all.
    """
    from rich.console import Console
    from rich.progress import Progress

    from llmqueue_gym.evaluation.reproduce import JOBS
    from llmqueue_gym.evaluation.reproduce import reproduce as compute
    from llmqueue_gym.evaluation.reproduce import table as shown

    with Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task(table)
        found = compute(table, jobs or JOBS, seed, lambda done, total: bar.update(task, completed=done, total=total))
    if as_json:
        print_json(found)
    else:
        Console().print(shown(found))


class TrackName(click.ParamType):
    """A track of the benchmark, or all; which there are is only looked up when somebody asks, as that takes a while."""

    name = "track"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; an unknown one ends with a list of those there are."""
        return str(click.Choice(_tracks()).convert(value, param, ctx))  # type: ignore[arg-type]

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the names as help shows them."""
        return f"[{'|'.join(_tracks())}]"


def _tracks() -> list[str]:
    from llmqueue_gym.evaluation.bench import TRACKS
    from llmqueue_gym.evaluation.bench.runner import ALL

    return [ALL, *TRACKS]


@click.command()
@click.option("--out", metavar="FOLDER", default="results", show_default=True, help="Where the two files go.")
@click.option("--track", type=TrackName(), default="all", show_default=True, help="Which kind of system, or all.")
@click.option("--seeds", type=Whole(2, 10**4), help="Runs of each policy in each case.  [default: 8, quick: 4]")
@click.option("--jobs", type=Whole(100, 10**8), help="mg1, servers: jobs of a run.  [default: 40000, quick: 4000]")
@click.option("--requests", type=Whole(100, 10**7), help="llm: requests of a run.  [default: 1000, quick: 100]")
@click.option("--quick", is_flag=True, help="A short run, whose numbers are rough.")
@click.option("--data", metavar="FOLDER", help="Where the measured data lie.")
@click.option("--workers", type=Whole(1, 1000), help="Processes; the results do not depend on it.")
@click.option(
    "--backend",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="Who does the work: this machine, or a Ray cluster; the results do not depend on it.",
)
@as_json
def bench(
    out: str,
    track: str,
    seeds: int | None,
    jobs: int | None,
    requests: int | None,
    quick: bool,
    data: str | None,
    workers: int | None,
    backend: str,
    as_json: bool,
) -> None:
    """Rank the policies of each kind of system, track by track; writes bench.json, bench.html and site/."""
    from rich.console import Console

    from llmqueue_gym.cli.leaderboard import FOLDER, draw
    from llmqueue_gym.evaluation.bench import bench as run
    from llmqueue_gym.evaluation.bench.runner import conclusion, show
    from llmqueue_gym.leaderboard import site

    progress = None if as_json else Console(stderr=True)
    found = run(out, track, seeds, jobs, requests, quick, progress, data, workers, backend=backend)
    board, notes = site.gather(Path(FOLDER))  # of a checkout; elsewhere there is none, and no site
    drawn = draw(board, notes, Path(out, "site")) if board else ""
    if as_json:
        print_json(found)
        return
    show(found, Console())
    click.echo("\n" + "\n".join(conclusion(found)))
    click.echo(f"\nThe page is {Path(out, 'bench.html')}, the numbers are {Path(out, 'bench.json')}.")
    if drawn:
        click.echo(f"The leaderboard's site is {drawn}.")
