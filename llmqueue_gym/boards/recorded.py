"""Recorded work on boards: what a file holds, and what stands in for it where the file is not at hand.

The files are looked for in a folder. Where one is not found, tables that come with the library stand in for it, and the
note that goes with the result says so.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.predictors.pairs import Pairs
from llmqueue_gym.systems import Scenario
from llmqueue_gym.workloads import TraceWorkload, load_trace
from llmqueue_gym.workloads.answered import RecordedCalls
from llmqueue_gym.workloads.arrivals import Renewal
from llmqueue_gym.workloads.quantiles import azure_conv_gaps, azure_conv_sizes, ssjf_pairs
from llmqueue_gym.workloads.requests import TracePrograms, TraceRequests
from llmqueue_gym.workloads.traces import Trace
from llmqueue_gym.workloads.traces.programs import load_programs
from llmqueue_gym.workloads.traces.routing import load_answers

Fields = dict[str, Any]
Recording = Mapping[str, Any]
FOLDER_VARIABLE = "LLMQUEUE_DATA"
_FOLDERS = ("../shared/traces/data", "shared/traces/data")
_PAIRS = 20_000  # as many as SSJF's file has
_REQUESTS = 20_000  # by which a capacity is found where they are drawn; a recording is taken whole
_OF_WORK = ("load", "rate", "n_jobs", "classes", "scored")  # fields that do not change what replicas can hold
_KEYS = ("kind", "file", "options", "used", "instead", "embedded", "source", "licence", "longest")


def data_folder(data: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder of the recorded work: the given one, else that of $LLMQUEUE_DATA, else a place near here.

    Raises:
        BadInput: the one that is given is none; where nothing is given there may be none.
    """
    given = os.environ.get(FOLDER_VARIABLE) if data is None else data
    if given is None:
        return next((Path(folder) for folder in _FOLDERS if Path(folder).is_dir()), None)
    if not given or not Path(given).is_dir():
        raise BadInput(f"{str(given)!r}: no such folder of recorded work")
    return Path(given)


def read_recordings(rows: Any, data: str | os.PathLike[str] | None = None) -> dict[str, Recording]:
    """Return recordings by name, each with the `path` of its file or None.

    Raises:
        BadInput: a key does not exist, or one is missing.
    """
    folder = data_folder(data)
    found: dict[str, Recording] = {}
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise BadInput("recordings must be tables [recordings.NAME]")
    for name, row in rows.items():
        for key in row:
            if key not in _KEYS:
                raise BadInput(f"recording {name!r} has no key {key!r}; {nearest(key, _KEYS)}")
        kind = str(row.get("kind"))
        if kind not in KINDS:
            raise BadInput(f"recording {name!r}: unknown kind {kind!r}; {nearest(kind, KINDS)}")
        if type(row.get("file")) is not str:
            raise BadInput(f"recording {name!r} has no file")
        path = folder / row["file"] if folder is not None and (folder / row["file"]).is_file() else None
        found[name] = {**row, "path": path}
    return found


def played(system: str, fields: Fields, recordings: Mapping[str, Recording]) -> Fields:
    """Return the fields of a scenario of a system, with what it plays in place of the name of a recording."""
    name = fields.pop("recording", None)
    if name is None:
        return fields
    if name not in recordings:
        raise BadInput(f"unknown recording {name!r}; {nearest(str(name), recordings)}")
    return KINDS[recordings[name]["kind"]](system, recordings[name], fields)


def told(recording: Recording) -> str:
    """Return where the work of a recording comes from, in a sentence."""
    source = f"{recording.get('source', recording['file'])}. Licence: {recording.get('licence', 'see there')}."
    if recording["path"] is None:
        return f"{recording['file']} was not found; in its place: {recording.get('instead', 'other work')}. {source}"
    return f"{recording['file']}: {recording.get('used', 'its rows')}. {source}"


def _jobs(system: str, recording: Recording, fields: Fields) -> Fields:
    """Output lengths as sizes of mean 1, with their arrival times, stretched to the load."""
    if recording["path"] is None:
        return {"size": azure_conv_sizes(), "arrivals": Renewal(law=azure_conv_gaps()), **fields}
    trace, load = load_trace(recording["path"]), fields.pop("load")
    return {**fields, "workload": TraceWorkload.from_trace(trace, 1 / float(trace.output_tokens.mean()), load)}


def _pairs(system: str, recording: Recording, fields: Fields) -> Fields:
    """True lengths as the law of sizes, and for each a length that was predicted."""
    pairs = _drawn_pairs() if recording["path"] is None else Pairs(str(recording["path"]))
    return {**fields, "size": pairs.size_law(), "predictor": pairs}


@cache
def _drawn_pairs() -> Pairs:
    true, predicted = ssjf_pairs(_PAIRS, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pairs.csv")
        np.savetxt(file, np.c_[true, predicted], "%.12g", ",", header="output_tokens,predicted_tokens", comments="")
        return Pairs(str(file))


def _requests(system: str, recording: Recording, fields: Fields) -> Fields:
    """Requests with their own arrival times, windows of which have the load, or the rate, over the whole recording."""
    if recording["path"] is None:
        return _lengths(system, recording, fields)
    given = {**fields, "rate": _rate(system, recording, fields, "first")}
    return {**given, "load": None, "workload": _trace(system, recording, fields, "window")}


def _rows(system: str, recording: Recording, fields: Fields) -> Fields:
    """Requests in the recorded order, so that it stays who shares with whom, with Poisson arrivals."""
    return _lengths(system, recording, fields, "window")


def _lengths(system: str, recording: Recording, fields: Fields, order: str = "bootstrap") -> Fields:
    """Lengths of a recording, or of its embedded law, with Poisson arrivals."""
    rate = _rate(system, recording, fields, order)
    if recording["path"] is None:
        return {**recording["embedded"], **fields, "load": None, "rate": rate}
    given = {key: value for key, value in fields.items() if key != "rate"}
    return {**given, "load": None, "workload": _trace(system, recording, fields, order, rate)}


def _answers(system: str, recording: Recording, fields: Fields) -> Fields:
    """Questions drawn from those of a data set, with the recorded answers of each model."""
    if recording["path"] is None:
        return {**recording["embedded"], **fields}
    answers, dataset = load_answers(recording["path"]), recording.get("options", {}).get("dataset")
    return {**fields, "workload": RecordedCalls(answers if dataset is None else answers.of(dataset))}


def _programs(system: str, recording: Recording, fields: Fields) -> Fields:
    """Programs drawn from a recording, at a rate of their own, or of its embedded law."""
    if recording["path"] is None:
        return {**recording["embedded"], **fields}
    trace = load_programs(recording["path"], **recording.get("options", {}))
    rest = {key: value for key, value in fields.items() if key != "rate"}
    longest = recording.get("longest")
    return {**rest, "workload": TracePrograms(trace, rate=float(fields["rate"]), order="bootstrap", max_tokens=longest)}


def _trace(system: str, recording: Recording, fields: Fields, order: str, rate: float | None = None) -> TraceRequests:
    own = {key: value for key, value in fields.items() if key not in _OF_WORK}
    there: Any = Scenario(system, rate=1.0, **own).system
    longest = fields.get("max_tokens") or min(one.rules.longest for one in there.members)
    options = tuple(recording.get("options", {}).items())
    return TraceRequests.from_trace(_read(recording["path"], options), rate=rate, order=order, max_tokens=longest)


@cache
def _read(path: Path, options: tuple[tuple[str, Any], ...]) -> Trace:
    """Return a trace, whose names of clients may be numbered without a word."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*are numbered")
        return load_trace(path, **dict(options))


def _rate(system: str, recording: Recording, fields: Fields, order: str) -> float:
    """Return the requests/s: those that are told, or a share of what first come first served keeps up with."""
    if "rate" in fields:
        return float(fields["rate"])
    rest = {key: value for key, value in fields.items() if key not in ("load", "cut_off", "n_jobs")}
    if recording["path"] is None:
        there = Scenario(system, **{**recording["embedded"], **rest, "n_jobs": _REQUESTS})
    else:
        trace = _trace(system, recording, fields, order, None if order == "first" else 1.0)
        n = _REQUESTS if order == "bootstrap" else len(trace)
        there = Scenario(system, workload=trace, **{**rest, "n_jobs": n})
    serving: Any = there.system
    return float(fields["load"] * serving.sustains(there).rate)


# How a recording becomes the fields of a scenario.
KINDS: dict[str, Callable[[str, Recording, Fields], Fields]] = {
    "jobs": _jobs,
    "pairs": _pairs,
    "requests": _requests,
    "rows": _rows,
    "lengths": _lengths,
    "programs": _programs,
    "answers": _answers,
}
