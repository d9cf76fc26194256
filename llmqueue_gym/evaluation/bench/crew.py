"""Work spread over processes: the same pieces whatever their number, so that the results are the same, too."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Task = tuple[Callable[..., Any], tuple[Any, ...]]
Crew = Callable[[list[Task], Progress, str], list[Any]]  # does tasks, returns their results in order


@contextmanager
def gathered(workers: int) -> Iterator[Crew]:
    """Give a function that does tasks, in this process or in several, and returns their results in order."""
    if workers == 1:
        yield lambda tasks, bar, what: [call(*given) for call, given in bar.track(tasks, description=what)]
        return
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _ignore_interrupt)

    def work(tasks: list[Task], bar: Progress, what: str) -> list[Any]:
        futures = [pool.submit(call, *given) for call, given in tasks]
        for future in bar.track(as_completed(futures), total=len(futures), description=what):
            future.result()  # a failure ends the whole run now
        return [future.result() for future in futures]

    try:
        yield work
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    pool.shutdown()


def progress(console: Console | None) -> Progress:
    """Return the bar that shows on a console how far a crew is; None shows none."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console or Console(quiet=True), disable=console is None)


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent, which ends its children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
