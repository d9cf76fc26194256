"""A run as a table, a row for each job or request: what was known of it, what it was, and what came of it."""

import csv
import gzip
import importlib
import importlib.util
import os
from pathlib import Path

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import REQUEST
from llmqueue_gym.storage import check_place, whole
from llmqueue_gym.systems import Run

KINDS = (".csv", ".csv.gz", ".parquet")
_KNOWN = ("arrival", "prompt", "predicted", "weight", "deadline", "need", "klass", "priority", "tenant", "preemptions")
_AT_ONCE = 10_000  # rows that are turned into text


def rows(run: Run) -> dict[str, np.ndarray]:
    """Return the columns `(n,)` by name; times are in s, and NaN where there is no such time.

    They are what a policy was told on arrival, the true `size` (s) or `output` (tokens), the columns of the run's
    outcome, and the latencies of its system.
    """
    known = run.jobs.dtype.names or ()
    found = {name.replace("klass", "class"): run.jobs[name] for name in _KNOWN if name in known}
    if run.jobs.dtype == REQUEST:
        found |= {"predicted": run.jobs["first_predicted"], "output": run.sizes}
    else:
        found["size"] = run.sizes
    found |= {name: run.outcome[name] for name in run.outcome.dtype.names or ()}
    with np.errstate(invalid="ignore", divide="ignore"):
        latencies = importlib.import_module(run.system.metrics).LATENCIES
        return found | {name: np.where(run.done, latency(run), np.nan) for name, latency in latencies.items()}


def check_rows(path: str | os.PathLike[str]) -> None:
    """Refuse a file that `write_columns` could not write, before the run and not after it."""
    name = Path(path).name
    if not name.endswith(KINDS):
        raise BadInput(f"{path}: end the name in one of {', '.join(KINDS)}")
    check_place(path)
    if name.endswith(".parquet") and importlib.util.find_spec("pyarrow") is None:
        raise BadInput(f"{path} needs pyarrow; pip install pyarrow, or write .csv")


def write_rows(path: str | os.PathLike[str], run: Run) -> None:
    """Write the table of a run, whole or not at all; the name says the format, an empty cell of csv is NaN.

    Raises:
        BadInput: the name says no known format.
        OSError: it cannot be written.
    """
    write_columns(path, rows(run))


def write_columns(path: str | os.PathLike[str], columns: dict[str, np.ndarray]) -> None:
    """Write a table of columns `(n,)`, at least one, as `write_rows` does."""
    check_rows(path)
    n = len(next(iter(columns.values())))
    with whole(path) as temporary:
        if str(path).endswith(".parquet"):
            from pyarrow import parquet, table

            parquet.write_table(table(columns), temporary)
            return
        with (gzip.open if str(path).endswith(".gz") else open)(
            temporary, "wt", encoding="utf-8", newline=""
        ) as stream:
            writer = csv.writer(stream)
            writer.writerow(columns)
            for start in range(0, n, _AT_ONCE):
                part = [column[start : start + _AT_ONCE].tolist() for column in columns.values()]
                writer.writerows([["" if cell != cell else cell for cell in row] for row in zip(*part, strict=True)])
