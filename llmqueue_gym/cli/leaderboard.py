"""`llmqueue leaderboard`: play what is registered, add an entry, check what is stored, show and draw it.

What is stored lies in one folder, `experiments/leaderboard` of a checkout unless told otherwise.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from llmqueue_gym.cli.options import Whole, as_json
from llmqueue_gym.cli.output import print_json
from llmqueue_gym.errors import BadInput, nearest

FOLDER = "experiments/leaderboard"
_TOLD = {"nothing": "-", "prediction": "pred.", "truth": "truth"}
folder = click.option(
    "--folder", metavar="FOLDER", default=FOLDER, show_default=True, help="Where entries and results lie."
)
workers = click.option("--workers", type=Whole(1, 1000), help="Processes; the results do not depend on it.")
one_board = click.option("--board", "name", metavar="NAME", help="One board alone.  [default: all]")


@click.group()
def leaderboard() -> None:
    """Rank policies on frozen scenarios; add and check your own."""


@leaderboard.command()
@folder
@one_board
@click.option("--policy", metavar="NAME", help="One policy alone.")
@click.option("--again", is_flag=True, help="Play also what is stored already.")
@workers
def run(folder: str, name: str | None, policy: str | None, again: bool, workers: int | None) -> None:
    """Play all registered policies and added entries whose results are missing."""
    from llmqueue_gym.leaderboard import run as play

    played, chosen = 0, _players(Path(folder), name, policy)
    with _crew(workers) as (crew, bar):
        for on, players in chosen:
            kept = {} if again else play.stored(Path(folder), on)
            if play.BOUND not in kept:
                play.store(Path(folder), play.bounds(on, crew, bar))
            for player in players:  # one after another, so that what is done is kept when somebody interrupts
                if player.name not in kept:
                    play.store(Path(folder), play.play_entry(player, crew, bar))
                    played += 1
    click.echo(f"played {played} and stored them in {Path(folder, 'results')}; see: llmqueue leaderboard show")


@leaderboard.command()
@click.argument("entry", metavar="ENTRY", type=click.Path(exists=True, file_okay=False))
@folder
@workers
def add(entry: str, folder: str, workers: int | None) -> None:
    """Check the entry in a folder, play it and keep it with its result.

    ENTRY holds card.json (name, board, description, command) and policy.npz, a learned policy, or policy.py, which
    defines `policy`. It is refused if it reads true sizes, if its numbers change with the order of runs, or if its card
    does not say what command made it.
    """
    from llmqueue_gym.leaderboard import entries
    from llmqueue_gym.leaderboard import run as play

    entries.read(entry)  # refused before anything is shown
    with _crew(workers) as (crew, bar):
        path = play.add(Path(folder), Path(entry), crew, bar)
    click.echo(f"added: {path}")


@leaderboard.command()
@folder
@one_board
@click.option("--policy", metavar="NAME", help="One policy alone.")
@workers
@as_json
def verify(folder: str, name: str | None, policy: str | None, workers: int | None, as_json: bool) -> None:
    """Play what is stored again and compare; exit status 1 where it differs."""
    from llmqueue_gym.leaderboard import run as play

    found: dict[str, list[str]] = {}
    chosen = [(on, players, play.stored(Path(folder), on)) for on, players in _players(Path(folder), name, policy)]
    if not any(kept for _, _, kept in chosen):
        raise BadInput(f"{folder}: no stored result to check; play some with: llmqueue leaderboard run")
    with _crew(workers, quiet=as_json) as (crew, bar):
        for on, players, kept in chosen:
            for player in players:
                if player.name in kept:
                    again = play.play_entry(player, crew, bar)
                    found[f"{on.name}/{player.name}"] = play.differences(kept[player.name], again)
            if play.BOUND in kept and policy is None:
                found[f"{on.name}/bound"] = play.differences(kept[play.BOUND], play.bounds(on, crew, bar))
    wrong = {key: told for key, told in found.items() if told}
    if as_json:
        print_json({"checked": len(found), "differences": wrong})
    else:
        for key, told in wrong.items():
            click.echo(f"{key}: {'; '.join(told)}")
        click.echo(f"{len(found) - len(wrong)} of {len(found)} stored results come out again")
    if wrong:
        raise click.exceptions.Exit(1)


@leaderboard.command()
@folder
@one_board
@click.option("--markdown", is_flag=True, help="As the tables of the README.")
@as_json
def show(folder: str, name: str | None, markdown: bool, as_json: bool) -> None:
    """Print the rankings of the stored results."""
    from llmqueue_gym.leaderboard import run as play
    from llmqueue_gym.leaderboard.table import markdown as as_markdown
    from llmqueue_gym.leaderboard.table import table

    tables = {on.name: (on, table(on, play.stored(Path(folder), on))) for on in _boards(name)}
    if as_json:
        print_json({name: rows for name, (_, rows) in tables.items()})
        return
    if markdown:
        click.echo("\n\n".join(as_markdown(on, rows) for on, rows in tables.values()))
        return
    for on, rows in tables.values():
        _print(on, rows)
    click.echo(
        "Score: 0 is the base, 1 what cannot be beaten; who is trained has a star, who is told the truth no place."
    )


@leaderboard.command()
@folder
@click.option("--out", metavar="FOLDER", default="site", show_default=True, help="Where index.html is written.")
@click.option("--readme", metavar="FILE", help="Put the tables between <!-- leaderboard --> and <!-- /leaderboard -->.")
def render(folder: str, out: str, readme: str | None) -> None:
    """Draw the stored results as one web page that needs no network."""
    from llmqueue_gym.leaderboard import site

    found, notes = site.gather(Path(folder))
    if not found:
        raise BadInput(f"{folder}: no results to draw; play some with: llmqueue leaderboard run")
    if readme is not None:
        site.put_tables(Path(readme), found)
    for note in notes:
        click.echo(note, err=True)
    click.echo(draw(found, notes, Path(out)))


def draw(found: Any, notes: list[str], out: Path) -> str:
    """Write the page of gathered results and return in words where it is."""
    from llmqueue_gym.leaderboard import site

    text, path = site.page(found, notes), out / "index.html"
    site.write(path, text)
    return f"{path}: {len(found)} boards, {len(text.encode()) / 1e6:.2f} MB"


def _print(on: Any, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console

    from llmqueue_gym.evaluation.bench.terminal import new_table

    shown = new_table(f"{on.title} (board {on.name})")
    for column in ("", "policy", "told", "score", "95 %", "p99", "better"):
        shown.add_column(column, justify="left" if column in ("policy", "told", "95 %") else "right", no_wrap=True)
    for place, row in enumerate(rows, 1):
        score, oracle = row["score"], row["sees"] == "truth"
        name = row["policy"] + (" *" if row["learned"] else "")
        interval = f"{score['low']:.3f} {score['high']:.3f}"
        better = "" if row["policy"] == row["best_by_hand"] else f"{row['better']:.2f}"
        numbers = (f"{score['mean']:.3f}", interval, f"{row['p99_ratio']:.2f}", better)
        shown.add_row("" if oracle else str(place), name, _TOLD[row["sees"]], *numbers)
    Console().print(shown)
    click.echo(f"p99: over that of {on.base}. Better: how often it has less cost than {rows[0]['best_by_hand']}.\n")


def _boards(name: str | None) -> list[Any]:
    from llmqueue_gym.leaderboard.boards import BOARDS, board

    return list(BOARDS.values()) if name is None else [board(name)]


def _players(folder: Path, name: str | None, policy: str | None) -> list[tuple[Any, list[Any]]]:
    """Return the boards, each with its registered policies and added entries, or with the one that is asked for."""
    from llmqueue_gym.leaderboard import registered
    from llmqueue_gym.leaderboard.run import folders

    everybody = [(on, [*registered(on), *folders(folder, on)]) for on in _boards(name)]
    if policy is None:
        return everybody
    chosen = [(on, [player for player in players if player.name == policy]) for on, players in everybody]
    if not any(players for _, players in chosen):
        names = {player.name for _, players in everybody for player in players}
        where = "on any board" if name is None else f"on board {name!r}"
        raise BadInput(f"no policy {policy!r} {where}; {nearest(policy, sorted(names))}")
    return [(on, players) for on, players in chosen if players]


@contextmanager
def _crew(workers: int | None, quiet: bool = False) -> Iterator[tuple[Any, Any]]:
    """Give what does the work, and the bar that shows on stderr how far it is."""
    from rich.console import Console

    from llmqueue_gym.evaluation.bench.crew import gathered, progress

    count = workers or min(os.cpu_count() or 1, 8)
    with gathered(count) as crew, progress(None if quiet else Console(stderr=True)) as bar:
        yield crew, bar
