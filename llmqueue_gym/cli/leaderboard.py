"""`llmqueue leaderboard`: the boards and their stored results.

What is stored lies in one folder, `experiments/leaderboard` of a checkout unless told otherwise. Progress is shown on
stderr; stdout stays the result's.
"""

import json
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
folder = click.option(
    "--folder", metavar="FOLDER", default=FOLDER, show_default=True, help="Where entries and results lie."
)
workers = click.option("--workers", type=Whole(1, 1000), help="Processes; the results do not depend on it.")
one_board = click.option(
    "--board", "name", metavar="NAME", help="One board alone, or FILE.toml for boards of your own.  [default: all]"
)
one_policy = click.option("--policy", metavar="NAME", help="One policy alone.")


@click.group()
def leaderboard() -> None:
    """Rank policies on frozen scenarios; add and check your own."""


@leaderboard.command()
@folder
@one_board
@one_policy
@click.option("--again", is_flag=True, help="Play also what is stored already.")
@click.option("--agent", metavar="FILE", help="Play a trained agent instead and show where it would stand.")
@click.option("--view", metavar="LIST", help="What the agent sees beside what the board says, as in slots=32.")
@workers
@as_json
def run(
    folder: str,
    name: str | None,
    policy: str | None,
    again: bool,
    agent: str | None,
    view: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Play all registered policies and added entries whose results are missing; or an agent.

    An agent is a zip of Stable-Baselines3, a checkpoint folder of RLlib, a Python file that defines `agent`, or the
    folder of a trained policy.
    """
    from llmqueue_gym.boards import play, stored

    if agent is not None:
        _run_agent(Path(folder), name, agent, view, workers, as_json)
        return
    played, chosen = 0, _players(Path(folder), name, policy)
    with _working(workers, name, as_json) as (work, bar):
        for on, players in chosen:
            kept = {} if again else stored.stored(Path(folder), on)
            if play.BOUND not in kept:
                stored.store(Path(folder), play.bounds(on, work, bar))
            for player in players:  # one after another, so that what is done is kept when somebody interrupts
                if player.name not in kept:
                    stored.store(Path(folder), stored.played(on, player, kept, work, bar))
                    played += 1
    if as_json:
        print_json({"played": played, "folder": str(Path(folder, "results"))})
        return
    click.echo(f"played {played} and stored them in {Path(folder, 'results')}; see: llmqueue leaderboard show")


@leaderboard.command()
@click.argument("entry", metavar="ENTRY", type=click.Path(exists=True, file_okay=False))
@folder
@one_board
@workers
def add(entry: str, folder: str, name: str | None, workers: int | None) -> None:
    """Check the entry in a folder, play it and keep it with its result.

    ENTRY holds card.json (name, board, description, command) and policy.npz, a learned policy, or policy.py, which
    defines `policy` in a small language and is never run as Python. It is refused if it says anything else, if it reads
    true sizes, if it does better on the reporting seeds than on fresh ones, or if its numbers change with the order of
    runs.
    """
    from llmqueue_gym.boards import outside, stored

    among = _at_hand(name)
    outside.read(Path(entry), among)  # refused before anything is shown
    with _working(workers, name) as (work, bar):
        path = stored.add(Path(folder), Path(entry), work, bar, among)
    click.echo(f"added: {path}")


@leaderboard.command()
@folder
@one_board
@one_policy
@workers
@as_json
def verify(folder: str, name: str | None, policy: str | None, workers: int | None, as_json: bool) -> None:
    """Play what is stored again and compare; exit status 1 where it differs."""
    from llmqueue_gym.boards import play, stored

    found: dict[str, list[str]] = {}
    chosen = [(on, players, stored.stored(Path(folder), on)) for on, players in _players(Path(folder), name, policy)]
    if not any(kept for _, _, kept in chosen):
        raise BadInput(f"{folder}: no stored result to check; play some with: llmqueue leaderboard run")
    with _working(workers, name, quiet=as_json) as (work, bar):
        for on, players, kept in chosen:
            for player in players:
                if player.name in kept:
                    found[f"{on.name}/{player.name}"] = stored.replayed(on, player, kept, work, bar)
            if play.BOUND in kept and policy is None:
                found[f"{on.name}/bound"] = play.differences(kept[play.BOUND], play.bounds(on, work, bar))
    wrong = {key: words for key, words in found.items() if words}
    if as_json:
        print_json({"checked": len(found), "differences": wrong})
    else:
        for key, words in wrong.items():
            click.echo(f"{key}: {'; '.join(words)}")
        click.echo(f"{len(found) - len(wrong)} of {len(found)} stored results come out again")
    if wrong:
        raise click.exceptions.Exit(1)


@leaderboard.command()
@folder
@one_board
@click.option("--markdown", is_flag=True, help="As tables in Markdown.")
@as_json
def show(folder: str, name: str | None, markdown: bool, as_json: bool) -> None:
    """Print the rankings of the stored results."""
    from rich.console import Console

    from llmqueue_gym.boards import words
    from llmqueue_gym.boards.board import chosen
    from llmqueue_gym.boards.standings import ranking
    from llmqueue_gym.boards.stored import stored
    from llmqueue_gym.boards.terminal import show_ranking

    among = chosen(name)
    _refuse_none(folder)
    rankings = [(on, ranking(on, stored(Path(folder), on))) for on in among.values()]
    if as_json:
        print_json({on.name: rows for on, rows in rankings})
    elif markdown:
        click.echo("\n\n".join(words.markdown(on, rows) for on, rows in rankings))
    else:
        for on, rows in rankings:
            show_ranking(on, rows, Console())
        click.echo(_LEGEND)


@leaderboard.command()
@folder
@one_board
@click.option("--out", metavar="FOLDER", default="site", show_default=True, help="Where index.html is written.")
@click.option("--readme", metavar="FILE", help="Put the tables between <!-- leaderboard --> and <!-- /leaderboard -->.")
def render(folder: str, name: str | None, out: str, readme: str | None) -> None:
    """Draw the stored results as one web page that needs no network."""
    from llmqueue_gym.boards.board import chosen
    from llmqueue_gym.boards.page import put_tables
    from llmqueue_gym.boards.site import gather, written

    found, notes = gather(Path(folder), chosen(name))
    if not found:
        raise BadInput(f"{folder}: no results to draw; play some with: llmqueue leaderboard run")
    if readme is not None:
        put_tables(Path(readme), found)
    for note in notes:
        click.echo(note, err=True)
    click.echo(written(found, notes, Path(out)))


_LEGEND = "Score: 0 is the base, 1 what cannot be beaten; who is trained has a star, who is told the truth no place."


def _run_agent(
    folder: Path, name: str | None, agent: str, view: str | None, workers: int | None, as_json: bool
) -> None:
    """Play an agent on the boards that are asked for, and show where it would stand; nothing is stored."""
    from rich.console import Console

    from llmqueue_gym.boards import entry as entries
    from llmqueue_gym.boards import play, stored
    from llmqueue_gym.boards.standings import ranking
    from llmqueue_gym.boards.terminal import show_ranking
    from llmqueue_gym.integrations.load import load_agent

    _refuse_none(str(folder))
    among = _at_hand(name)
    player = entries.agent_entry(load_agent, agent, _view(view))
    fits = {board: entries.plays(player, on) for board, on in among.items()}
    fitting = {board: on for board, on in among.items() if fits[board] or (fits[board] is None and name is not None)}
    if not fitting:
        hint = "name one with --board" if None in fits.values() else "see --view, as in slots=32"
        raise BadInput(f"{agent}: it is not known to play on any of the boards {', '.join(among)}; {hint}")
    rankings = []
    with _working(workers, name, quiet=as_json) as (work, bar):
        for on in fitting.values():
            kept = stored.stored(folder, on)
            rankings.append((on, ranking(on, {**kept, player.name: play.play_entry(on, player, work, bar)})))
    if as_json:
        print_json({on.name: rows for on, rows in rankings})
        return
    for on, rows in rankings:
        show_ranking(on, rows, Console(), mark=player.name)
    click.echo(f"{_LEGEND} {player.name} is not stored; add it with: llmqueue leaderboard add")


def _refuse_none(folder: str) -> None:
    """Refuse a folder without results to rank among; those that are stored come with a checkout, not with a wheel."""
    if not Path(folder, "results").is_dir():
        raise BadInput(
            f"{folder}: no stored results there; give --folder the {FOLDER} of a checkout, or play the boards into "
            "that folder with: llmqueue leaderboard run"
        )


def _view(given: str | None) -> dict[str, Any]:
    """Return the fields of a view from `slots=32,quantum=0.5`."""
    fields: dict[str, Any] = {}
    for part in [] if given is None else given.split(","):
        key, equals, text = part.partition("=")
        if not equals:
            raise BadInput(f"--view {part!r} must be fields of the view, as in slots=32")
        try:
            fields[key] = json.loads(text)
        except ValueError:
            fields[key] = text
    return fields


def _players(folder: Path, name: str | None, policy: str | None) -> list[tuple[Any, list[Any]]]:
    """Return the boards, each with its registered policies and added entries, or with the one that is asked for."""
    from llmqueue_gym.boards.entry import registered
    from llmqueue_gym.boards.stored import added

    everybody = [(on, [*registered(on), *added(folder, on)]) for on in _at_hand(name).values()]
    if policy is None:
        return everybody
    asked = [(on, [player for player in players if player.name == policy]) for on, players in everybody]
    if not any(players for _, players in asked):
        names = {player.name for _, players in everybody for player in players}
        where = "on any board" if name is None else f"on board {name!r}"
        raise BadInput(f"no policy {policy!r} {where}; {nearest(policy, sorted(names))}")
    return [(on, players) for on, players in asked if players]


def _at_hand(name: str | None) -> dict[str, Any]:
    """Return the boards that are asked for and can be played, as what stands in for a recording gives other results.

    Raises:
        BadInput: the one that is asked for plays recorded work that is not at hand.
    """
    from llmqueue_gym.boards.board import chosen

    among = chosen(name)
    away = _away(among)
    if away and name is not None:
        raise BadInput(away[name])
    return {key: on for key, on in among.items() if key not in away}


def _away(among: dict[str, Any]) -> dict[str, str]:
    """Return why some boards cannot be played here."""
    from llmqueue_gym.boards.recorded import FOLDER_VARIABLE

    why = "board {!r} plays {}: say in ${} which folder that is in"
    return {key: why.format(key, ", ".join(on.missing), FOLDER_VARIABLE) for key, on in among.items() if on.missing}


@contextmanager
def _working(count: int | None, name: str | None, quiet: bool = False) -> Iterator[tuple[Any, Any]]:
    """Say on stderr which boards are left out; give what does the work, and the bar that shows there how far it is."""
    from rich.console import Console

    from llmqueue_gym.boards.board import chosen
    from llmqueue_gym.boards.workers import progress, workers

    for words in _away(chosen(name)).values():
        click.echo(f"left out: {words}", err=True)
    with (
        workers(count or min(os.cpu_count() or 1, 8)) as work,
        progress(None if quiet else Console(stderr=True)) as bar,
    ):
        yield work, bar
