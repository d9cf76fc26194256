"""The tracks of the benchmark: one kind of system each, with cases, contestants and a ranking of its own.

A track is a folder of this one with files of the same names: `cases` (what is played), `contestants` (who plays),
`play` (one of them in one case), `standing` (where that puts each), `report` (in words and on a terminal), `page` (as
HTML) and `track`, which holds the `Track`. To add one: write the folder and add its line to `TRACKS`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import Progress

from llmqueue_gym.evaluation.bench.crew import Crew
from llmqueue_gym.registry import Registry

Row = Mapping[str, Any]

_HERE = "llmqueue_gym.evaluation.bench"
TRACKS = Registry(
    "track",
    {
        "mg1": f"{_HERE}.mg1.track:mg1",
        "servers": f"{_HERE}.servers.track:servers",
        "llm": f"{_HERE}.llm.track:llm",
    },
)


@dataclass(frozen=True)
class Settings:
    """How much is played.

    Attributes:
        seeds: runs of each contestant in each case.
        jobs: of a run in the track `mg1`, at load 0.8, and in the track `servers`.
        requests: of a run in the track `llm`.
        data: folder of the measured data; see `data.data_folder`.
        only: which cases to play; all unless told otherwise.
    """

    seeds: int
    jobs: int
    requests: int
    data: str | os.PathLike[str] | None = None
    only: Callable[[Any], bool] | None = None


@dataclass(frozen=True)
class Track:
    """One part of the benchmark.

    Attributes:
        name: in the registry.
        title: on the page.
        run: plays it; returns `ranking` (by block, where blocks are not to be compared), `cases`, `data`, `sentences`
            and more, as they are stored.
        headline: what came out, in a line.
        section: the HTML of its part of the page.
        show: prints it on a terminal.
        blocks: names of the parts whose data the notes under `data` are about.
    """

    name: str
    title: str
    run: Callable[[Settings, Crew, Progress], dict[str, Any]]
    headline: Callable[[Row], str]
    section: Callable[[Row], str]
    show: Callable[[Row, Console], None]
    blocks: Mapping[str, str]
