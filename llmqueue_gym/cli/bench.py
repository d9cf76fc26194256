"""`llmqueue bench`: all boards at few seeds, recorded work where it lies beside, and one page of what was found."""

from pathlib import Path
from typing import Any

import click

from llmqueue_gym.cli.leaderboard import FOLDER, workers
from llmqueue_gym.cli.options import Whole, as_json
from llmqueue_gym.cli.output import print_json


@click.command()
@click.option("--out", metavar="FOLDER", default="results", show_default=True, help="Where the files go.")
@click.option(
    "--track",
    type=click.Choice(["mg1", "servers", "llm", "fleet", "prefix", "classes", "models", "programs", "all"]),
    default="all",
    show_default=True,
    help="Which kind of system.",
)
@click.option("--board", "name", metavar="NAME", help="One board alone, or FILE.toml for boards of your own.")
@click.option("--seeds", type=Whole(2, 10**4), help="Runs of each policy in each scenario.  [default: 4, quick: 3]")
@click.option("--jobs", type=Whole(100, 10**8), help="Jobs in a board's longest run.  [default: its own, quick: 4000]")
@click.option("--requests", type=Whole(100, 10**7), help="The same of requests.  [default: 2000, quick: 200]")
@click.option("--quick", is_flag=True, help="A short run, whose numbers are rough.")
@click.option("--data", metavar="FOLDER", help="Where the recorded work lies.")
@workers
@click.option(
    "--backend",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="Who does the work: this machine, or a Ray cluster; the results do not depend on it.",
)
@as_json
def bench(out: str, name: str | None, workers: int | None, as_json: bool, **rest: Any) -> None:
    """Rank the policies on every board at few seeds; writes bench.json, bench.html and site/."""
    from rich.console import Console

    from llmqueue_gym.boards.bench import bench as run
    from llmqueue_gym.boards.bench import show
    from llmqueue_gym.boards.board import chosen
    from llmqueue_gym.boards.site import gather, written

    console = None if as_json else Console(stderr=True)
    found, ranked = run(out, console=console, count=workers, given=name, **rest)
    kept, notes = gather(Path(FOLDER), chosen())  # of a checkout; elsewhere there is none, and no site
    drawn = written(kept, notes, Path(out, "site")) if kept else ""
    if as_json:
        print_json(found)
        return
    show(ranked, Console())
    click.echo(f"\nThe page is {Path(out, 'bench.html')}, the numbers are {Path(out, 'bench.json')}.")
    if drawn:
        click.echo(f"The leaderboard's site is {drawn}.")
