"""`llmqueue reproduce`: the survey's tables again. It shows on stderr how far it is; stdout stays the result's."""

import click

from llmqueue_gym.cli.options import Whole, as_json
from llmqueue_gym.cli.output import print_json, progress_bar


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

    from llmqueue_gym.evaluation.reproduce import JOBS
    from llmqueue_gym.evaluation.reproduce import reproduce as compute
    from llmqueue_gym.evaluation.reproduce import table as shown

    with progress_bar(table, as_json) as step:
        found = compute(table, jobs or JOBS, seed, step)
    if as_json:
        print_json(found)
    else:
        Console().print(shown(found))
