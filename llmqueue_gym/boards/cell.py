"""Where entries from outside are played: a process of its own, with little memory, some time, and no files.

A cell first plays a harmless policy of the same traits, so that all that is needed is imported and compiled. Then it
gives up the right to open files, to write to any, and to more memory and time than is set here; only then is a function
of the entry compiled and played. Nobody gets such rights back, so a cell plays one entry and ends.
"""

from collections.abc import Callable
from concurrent.futures import TimeoutError as TooLate
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from rich.progress import Progress

from llmqueue_gym.boards.entry import Entry
from llmqueue_gym.boards.source import read_source
from llmqueue_gym.boards.workers import Task, pool
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import BasePolicy
from llmqueue_gym.policies.learned.artefact import NUMBERS


@dataclass(frozen=True)
class Limits:
    """What an entry may use.

    Attributes:
        seconds: of a processor.
        patience: s on the clock.
        memory: bytes, beyond what the library has taken by then.
        preparation: s, of a processor and on the clock, for the harmless policy of the same traits.
    """

    seconds: int = 900
    patience: int = 3600
    memory: int = 2**31
    preparation: int = 100


LIMITS = Limits()


def confined(entry: Entry, tasks: list[Task], bar: Progress, what: str) -> list[Any]:
    """Do the tasks of an entry in a cell and return their results in order.

    Args:
        entry: from outside.
        tasks: functions, each with a scenario, the entry and seeds as its first arguments, and more.
        bar: shows how far it is.
        what: in words.

    Raises:
        BadInput: the entry needs more than the limits, or a task raises it.
    """
    limits, found = LIMITS, []
    try:
        with pool(1) as cell:
            cell.submit(_close, entry, tasks, limits).result(limits.preparation)
            until = monotonic() + limits.patience
            futures = [cell.submit(_done, call, given) for call, given in tasks]
            for future in bar.track(futures, description=what):
                found.append(future.result(max(0.0, until - monotonic())))
    except (TooLate, BrokenProcessPool, MemoryError):
        raise BadInput(
            f"entry {entry.name!r} does not end within its limits: {limits.preparation} s for a harmless policy "
            f"under its rules, and {limits.seconds} s of a processor, "
            f"{limits.patience} s on the clock and {limits.memory / 2**30:g} GiB"
        ) from None
    return found


def _close(entry: Entry, tasks: list[Task], limits: Limits) -> None:
    """Do what has to be done with files, and give up what an entry has no right to."""
    taken = Path("/proc/self/statm")
    try:
        import resource
    except ImportError:
        taken = Path()
    if not taken.is_file():
        raise BadInput("entries from outside are played on Linux alone, whose limits hold them")
    resource.setrlimit(resource.RLIMIT_CPU, (_used(resource) + limits.preparation, resource.RLIM_INFINITY))
    for call, (scenario, _, seeds, *more) in tasks:
        call(scenario, replace(entry, player=_shell(entry.player), made_by=None), seeds[:1], *more)
    if entry.files is not None and NUMBERS in entry.files.content:
        entry.player.compiled()  # functions of the library, which are kept on disk
    for right, most in (
        (resource.RLIMIT_CPU, _used(resource) + limits.seconds),
        (
            resource.RLIMIT_AS,
            int(taken.read_text(encoding="ascii").split()[0]) * resource.getpagesize() + limits.memory,
        ),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 1),  # which is taken; what is open stays so
    ):
        resource.setrlimit(right, (most, most))


def _used(resource: Any) -> int:
    """Return the s of a processor that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return round(used.ru_utime + used.ru_stime)


def _done(call: Callable[..., Any], given: tuple[Any, ...]) -> Any:
    """Do a task; whatever an entry brings about is told in a line."""
    try:
        return call(*given)
    except (BadInput, MemoryError):
        raise
    except Exception as error:
        raise BadInput(f"it cannot be played ({type(error).__name__}: {str(error).partition(chr(10))[0]})") from None


def _shell(policy: Any) -> BasePolicy:
    """Return a policy with the traits of another that reads the same columns and thinks nothing of them.

    It takes every path that the other takes through the library, up to the compiler. All its functions return one
    number, so that it serves in order of arrival; in tokens it is a length that hardly any output has.
    """
    read = [f"{shown.name}.{column}" for k, shown in enumerate(policy.shown) for column in sorted(policy.reads(k))]
    shown = ", ".join([*(one.name for one in policy.shown), "params"])
    text = f"import numpy as np\ndef policy({shown}):\n    return 1e3 + 0 * (np.floor({' + '.join(read) or 0}) > 0)\n"
    made = read_source(text, "", type(policy), policy.name)[0]
    function = getattr(made, policy.functions[0])
    has = [name for name in policy.functions if getattr(policy, name) is not None]
    return replace(policy, **dict.fromkeys(has, function))  # type: ignore[no-any-return]
