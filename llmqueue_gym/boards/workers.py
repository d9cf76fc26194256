"""Work spread over processes, here or by Ray: the same pieces whatever their number, so the results are the same."""

import logging
import multiprocessing
import multiprocessing.context
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from llmqueue_gym.errors import BadInput, nearest

Task = tuple[Callable[..., Any], tuple[Any, ...]]
Work = Callable[[list[Task], Progress, str], list[Any]]  # does tasks, returns their results in order
PROCESSES, RAY = "processes", "ray"
BACKENDS = (PROCESSES, RAY)
SAFE = "PYTHONSAFEPATH"


@contextmanager
def workers(count: int, backend: str = PROCESSES) -> Iterator[Work]:
    """Give a function that does tasks, in this process or in several, and returns their results in order.

    Args:
        count: processes; Ray has as many as its cluster has CPUs, whatever stands here.
        backend: "processes" of this machine, or "ray": the cluster that this one belongs to or that RAY_ADDRESS names,
            else one of this machine alone. Every machine of it needs this package in the same version.

    Raises:
        BadInput: there is no such backend, or Ray is not installed.
    """
    if backend not in BACKENDS:
        raise BadInput(f"unknown backend {backend!r}; {nearest(backend, BACKENDS)}")
    if backend == RAY:
        with _ray_cluster() as remote:
            yield remote
        return
    if count == 1:
        yield lambda tasks, bar, what: [call(*given) for call, given in bar.track(tasks, description=what)]
        return
    with pool(count) as run:

        def work(tasks: list[Task], bar: Progress, what: str) -> list[Any]:
            futures = [run.submit(call, *given) for call, given in tasks]
            for future in bar.track(as_completed(futures), total=len(futures), description=what):
                future.result()  # a failure ends the whole run now
            return [future.result() for future in futures]

        yield work


@contextmanager
def _apart() -> Iterator[None]:
    """For the processes started here alone: they import nothing from the folder where they begin."""
    before = os.environ.get(SAFE)
    os.environ[SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE]
        else:
            os.environ[SAFE] = before


class _ProcessApart(multiprocessing.context.SpawnProcess):
    def start(self) -> None:
        with _apart():
            super().start()


class _Apart(multiprocessing.context.SpawnContext):
    Process = _ProcessApart


@contextmanager
def pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Give so many processes of our own, which end with this one, and at once where something is raised.

    Nothing is imported in them from the folder where this one was called, which may be that of an entry.
    """
    before = set(multiprocessing.active_children())
    with _apart():  # its queues start a process, too
        made = ProcessPoolExecutor(count, _Apart(), begin)
    try:
        yield made
    except BaseException:
        made.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        raise
    made.shutdown()


@contextmanager
def _ray_cluster() -> Iterator[Work]:
    try:
        import ray
    except ImportError:
        raise BadInput(f"backend={RAY!r} needs Ray: pip install ray") from None
    joined = ray.is_initialized()
    if not joined:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    # Ray would leave a task one thread of BLAS, and sums in another order differ in their last digits.
    threads = os.environ.get("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    remote = ray.remote(_do).options(runtime_env={"env_vars": {"OMP_NUM_THREADS": threads}})
    waiting: list[Any] = []

    def work(tasks: list[Task], bar: Progress, what: str) -> list[Any]:
        refs = [remote.remote(call, given) for call, given in tasks]
        waiting[:] = refs
        try:
            for _ in bar.track(range(len(refs)), description=what):
                done, waiting[:] = ray.wait(waiting)
                ray.get(done)  # a failure ends the whole run now
            return ray.get(refs)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None

    try:
        yield work
    finally:
        for ref in waiting:
            ray.cancel(ref)
        if not joined:
            ray.shutdown()


def _do(call: Callable[..., Any], given: tuple[Any, ...]) -> Any:
    return call(*given)


def progress(console: Console | None) -> Progress:
    """Return the bar that shows on a console how far the work is; None shows none."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console or Console(quiet=True), disable=console is None)


def begin() -> None:
    """Leave Ctrl-C to the parent, which ends its children; and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """Let this process end as soon as its parent does, however that ends: what it works for is gone."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
