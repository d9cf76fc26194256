"""Classes of requests, told in one line: their shares, and when those of each want to be done.

`interactive:0.72:10,batch:0.28:3600` are two classes, numbered from 0: 72 % of the requests want their last token 10 s
after they come, and 28 % an hour after. With `interactive:0.72:1:ttft` it is the first token that counts. Deadlines may
be left out, and shares, as in `interactive::10,batch::3600`, where the requests have their classes already.
"""

import math
import re
from typing import NamedTuple

import numpy as np

from llmqueue_gym.columns import MOST_SECONDS
from llmqueue_gym.errors import BadInput, nearest

TOKENS = ("e2e", "ttft")  # the last token has to be there by the deadline, or the first
MOST = 1000
_FORM = "a class is name:share:seconds or name:share:seconds:ttft, as in interactive:0.72:10,batch:0.28:3600"


class RequestClass(NamedTuple):
    """A class of requests.

    Attributes:
        name: for people.
        share: of all requests; NaN where the requests have their classes already.
        deadline: s after arrival; infinity where there is none.
        token: "e2e" where the last token has to be there then, "ttft" where it is the first.
    """

    name: str
    share: float = math.nan
    deadline: float = math.inf
    token: str = "e2e"


def request_classes(text: str) -> tuple[RequestClass, ...]:
    """Return the classes that a text tells, with a comma or a `;` between.

    Raises:
        BadInput: a class that makes no sense, or shares that do not add up to 1.
    """
    made = tuple(_class(part.strip(), text) for part in re.split("[,;]", text))
    if len(made) > MOST:
        raise BadInput(f"classes={text[:60]!r}: {len(made)} classes are too many; at most {MOST}")
    names, shares = [one.name for one in made], [one.share for one in made]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"classes={text!r}: {twice!r} is there twice")
    told = [share for share in shares if not math.isnan(share)]
    if told and len(told) < len(made):
        raise BadInput(f"classes={text!r}: give every class a share, or none")
    if told and abs(sum(told) - 1) > 1e-6:
        raise BadInput(f"classes={text!r}: the shares add up to {sum(told):g}, not to 1")
    return made


def _class(part: str, text: str) -> RequestClass:
    name, share, deadline, token, *more = [*part.split(":"), *[""] * 4][: max(4, part.count(":") + 1)]
    if not name or more:
        raise BadInput(f"classes={text!r}: {part!r} is none; {_FORM}")
    if token and token not in TOKENS:
        raise BadInput(f"classes={text!r}: {token!r}; {nearest(token, TOKENS)}")
    try:
        numbers = float(share or math.nan), float(deadline or math.inf)
    except ValueError:
        raise BadInput(f"classes={text!r}: {part!r} has a number that is none; {_FORM}") from None
    if share and not 0 < numbers[0] <= 1:
        raise BadInput(f"classes={text!r}: the share {share} of {name!r} must be above 0, and 1 at most")
    if deadline and not 0 < numbers[1] <= MOST_SECONDS:
        raise BadInput(f"classes={text!r}: the deadline {deadline} of {name!r} must be positive, in s")
    return RequestClass(name, *numbers, token or TOKENS[0])


def put_in_classes(requests: np.ndarray, classes: tuple[RequestClass, ...], rng: np.random.Generator) -> None:
    """Give requests `(n,)` their class, one uniform number of `rng` each where shares are told, and their deadline.

    Raises:
        BadInput: no shares are told, and a request has a class that is not there.
    """
    if not math.isnan(classes[0].share):
        up_to = np.cumsum([one.share for one in classes])
        requests["klass"] = np.searchsorted(up_to / up_to[-1], rng.random(len(requests)), side="right")
    most = int(requests["klass"].max())
    if most >= len(classes):
        raise BadInput(f"{len(classes)} classes are told, but there are requests of class {most}; tell all from 0 on")
    requests["deadline"] = requests["arrival"] + np.array([one.deadline for one in classes])[requests["klass"]]
