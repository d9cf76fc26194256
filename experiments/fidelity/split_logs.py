"""What the comparisons with splitwise-sim and with DistServe's simulator have in common: reading, errors, verdicts."""

import argparse
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import Requests, never_refreshed, request_table
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.fleet import Fleet
from llmqueue_gym.systems.run import Run

NAMES = ("mean TTFT", "p99 TTFT", "mean E2E", "p99 E2E")
CLOSE, NEAR = 0.01, 0.05  # largest error of light and medium runs, and of others

Log = tuple[dict[str, Any], list[list[Any]], list[list[Any]]]  # header, requests, and what came of them by id
Replay = Callable[[Log], tuple[np.ndarray, np.ndarray]]


def main(doc: str, source: str, replay: Replay, columns: tuple[int, int]) -> int:
    """Compare every run of a directory, a line each, the worst errors last.

    Args:
        doc: of the experiment.
        source: simulator that the runs have to be of, as `runs.json` names it.
        replay: gives times to first token and end-to-end times, in the unit of the log, NaN where a request never ends.
        columns: of these in the rows "done" of a log.

    Returns:
        the exit status: 1 where an error is larger than it may be, 2 where the directory is not what it has to be.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("directory", type=Path, help="folder with runs.json and the logs that it names")
    try:
        runs = listed(parser.parse_args().directory, source)
        logs = [(run, read(run["log"])) for run in runs]
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("error of ours, %:", *(f"{name:>9}" for name in NAMES))
    worst, good = np.zeros(4), True
    for run, log in logs:
        errors, words = compare(log, replay, columns)
        limit = CLOSE if run["name"].endswith(("light", "medium")) else NEAR
        counts = not run.get("equal_arrival_times", False)
        held = bool(np.all(np.abs(errors) <= limit))
        good = good and (held or not counts)
        if counts:
            worst = np.fmax(worst, np.where(np.isnan(errors), np.inf, np.abs(errors)))
        verdict = "" if held else f", more than {limit:.0%}" + ("" if counts else ", not counted: equal arrival times")
        print(f"{run['name']}: {row(errors)}  {words}{verdict}", flush=True)
    print(f"worst of {len(logs)} runs: {row(worst)}")
    return 0 if good else 1


def row(errors: np.ndarray) -> str:
    """Return the four errors in words, %."""
    return " ".join(f"{100 * error:9.4f}" for error in errors)


def listed(folder: Path, source: str) -> list[dict[str, Any]]:
    """Return the runs that a directory lists, each with the path of its log.

    Raises:
        BadInput: there is no such list, it is of another simulator, or a log is missing.
    """
    path = folder / "runs.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        runs = [{**run, "log": folder / run["file"]} for run in told["runs"]]
        origin = str(told["source"])
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError):
        raise BadInput(f"{path} is no list of runs with their files") from None
    if source not in origin:
        raise BadInput(f"{path} is of {origin!r}, not of {source}")
    if not runs:
        raise BadInput(f"{path} lists no run")
    for run in runs:
        if "name" not in run or not run["log"].is_file():
            raise BadInput(f"{path} lists {run['log'].name}, which is not there")
    return runs


def read(path: Path) -> Log:
    """Return header, requests and results of a log, each by id.

    Raises:
        BadInput: it is no such log.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as text:
            lines = [json.loads(line) for line in text]
        header = lines[0]
        rows = [line for line in lines if isinstance(line, list)]
        requests, done = (sorted((r for r in rows if r[0] == kind), key=lambda r: r[1]) for kind in ("req", "done"))
    except (OSError, EOFError, ValueError, IndexError, TypeError) as error:
        raise BadInput(f"{path} is no log of a run: {error}") from None
    if not isinstance(header, dict) or header.get("type") != "header" or not requests or not done:
        raise BadInput(f"{path} is no log of a run: header, requests or results are missing")
    return header, requests, done


def compare(log: Log, replay: Replay, columns: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Return the relative errors of mean and 99th percentile of both times `(4,)`, and how many requests are the same.

    Of requests that the log says were done; one that is not done here is an error without limit.
    """
    _, requests, done = log
    rows = [place for place, request in enumerate(requests) if request[1] in {result[1] for result in done}]
    theirs = [np.array([result[column] for result in done]) for column in columns]
    ours = [times[rows] for times in replay(log)]
    errors = np.array([measure(a) / measure(b) - 1 for a, b in zip(ours, theirs, strict=True) for measure in MEASURES])
    same = np.logical_and(*(np.abs(a - b) <= 1e-8 * np.maximum(b, 1.0) for a, b in zip(ours, theirs, strict=True)))
    return errors, f"{same.sum()} of {len(rows)} requests identical"


MEASURES = (np.mean, lambda times: np.percentile(times, 99))


def serve(fleet: Fleet, router: str, arrivals: np.ndarray, prompts: np.ndarray, outputs: np.ndarray) -> Run:
    """Serve requests whose lengths are known; of equal replicas the first is taken."""
    n, policy = len(arrivals), Fleet.policies(router)
    order = np.argsort(arrivals, kind="stable")
    given = Requests(request_table(arrivals[order], prompts[order]), outputs[order], never_refreshed(n))
    for column in ("predicted", "first_predicted", "lower", "upper"):
        given.requests[column] = given.outputs
    choices = policy.choices(n, len(fleet.members), np.random.default_rng(0))
    truth = {"sizes": given.outputs, "refreshed": given.refreshed, "choices": choices, "ties": np.zeros(n)}
    return fleet.simulate(Drawn(given.requests, truth), policy)


def times_of(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return times to first token and end-to-end times `(n,)`, s."""
    first, last = run.outcome["first_token"], run.outcome["completion"]
    return first - run.jobs["arrival"], last - run.jobs["arrival"]
