"""What the studies that play many cells have in common: options, processes, and a stored result with its figure."""

import argparse
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rich.console import Console
from rich.progress import track

from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.evaluation.results import plain, result, write_json


def study(
    description: str,
    out: Path,
    tasks: Callable[[argparse.Namespace], list[Any]],
    play: Callable[[Any], Any],
    tell: Callable[[list[Any], argparse.Namespace], dict[str, Any]],
    draw: Callable[[dict[str, Any]], Any],
    report: Callable[[dict[str, Any], Console], None],
    first_seed: int = 0,
    work: str = "jobs",
    width: int | None = None,
    arguments: Iterable[str] | None = None,
    recordings: bool = False,
    **usual: int,
) -> None:
    """Play, store, draw and print.

    Args:
        description: of the study.
        out: where its result is stored, without ending.
        tasks: makes of the options what is played, each by a process.
        play: plays one; a function of a module.
        tell: makes the result of what came of all.
        draw: makes the figure of it.
        report: prints it.
        first_seed: of the runs.
        work: name of the option that says how long a run is.
        width: of what is printed, in letters.
        arguments: of the command line.
        recordings: whether there is an option `--data`, the folder of recorded requests.
        usual: the length of a run under its name, and `seeds`, where nothing is told.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(f"--{work}", type=int, default=usual[work], help="of a run")
    parser.add_argument("--seeds", type=int, default=usual["seeds"], help="two or more")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=out, help="where results are stored, without ending")
    if recordings:
        parser.add_argument("--data", help="folder of the recordings, if not found near here")
    options = parser.parse_args(arguments)
    asked = tasks(options)
    with ProcessPoolExecutor(options.processes, initializer=end_with_parent) as pool:
        played = list(track(pool.map(play, asked), "playing", len(asked), console=Console(stderr=True)))
    found = result(tell(played, options), None, range(first_seed, first_seed + options.seeds))
    options.out.parent.mkdir(exist_ok=True)
    write_json(options.out.with_suffix(".json"), found)
    figure = draw(found)
    figure.savefig(options.out.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(options.out.with_suffix(".png"), dpi=130)
    plt.close(figure)
    print(json.dumps(plain(found))) if options.json else report(found, Console(width=width))
