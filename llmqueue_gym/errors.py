"""The errors a user can cause, each with a message of one line.

The command line prints the message and exits with status 2; nothing else is caught there, so a bug still shows
its traceback.
"""

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class BadInput(ValueError):
    """A value that the user gave is wrong; the message names it and the nearest good one."""


class Unstable(BadInput):
    """The load is at least one: the queue has no steady state and no mean response time."""


class NotApplicable(BadInput):
    """A method was asked for a case outside its theorem."""


class TruthError(BadInput):
    """A policy tried to read the true size of a job."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return a hint, `did you mean 'x'?`, or the list of choices where nothing is close."""
    choices = list(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "choose from: " + ", ".join(choices)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Let a script end as the command line does where a value is wrong: with one line and exit status 2."""
    try:
        yield
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
