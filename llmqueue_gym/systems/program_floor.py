"""A mean time of programs that no policy undercuts: what they take alone, every prompt in a cache."""

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
from llmqueue_gym.engines.batching.tables import BATCH
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.programs import earliest_ends
from llmqueue_gym.systems.base import Drawn


def program_floor(drawn: Drawn, shortest: float, stops: bool, wrong: float) -> float:
    """Return the floor, s.

    Of a path of calls it is the gaps, and for each token of output the shortest iteration that there is. Where a
    program may be stopped it is the earliest that any of its answers can be there. Who has answers, but no right
    one, ends with a wrong one.

    Args:
        drawn: the programs.
        shortest: the shortest iteration, s.
        stops: whether programs may be stopped.
        wrong: what a wrong answer costs, s.
    """
    programs, answers = drawn.truth["programs"], drawn.truth.get("answers")
    ends = earliest_ends(programs, drawn.work["arrival"], drawn.sizes * shortest)
    count = int(programs.program.max()) + 1
    over, began, first = np.full(count, -np.inf), np.full(count, np.inf), np.full(count, np.inf)
    np.maximum.at(over, programs.program, ends)
    np.minimum.at(began, programs.program, drawn.work["arrival"])
    if answers is None:
        return float((over - began).mean())
    gives = answers.cluster >= 0
    if stops:
        np.minimum.at(first, programs.program[gives], ends[gives])
        over = np.minimum(over, first)
    can, tries = (np.bincount(programs.program, gives & which, count) for which in (answers.right, True))
    return float((over - began + wrong * ((can == 0) & (tries > 0))).mean())


def shortest_iteration(profile: Profile) -> float:
    """Return the shortest iteration in which a replica computes a token, s."""
    times = []
    for alone in ({"decodes": 1, "context": 1.0}, {"prefills": 1, "prefill_tokens": 1, "prompt_tokens": 1}):
        batch = np.zeros(1, BATCH)
        batch["tokens"] = 1
        for name, value in alone.items():
            batch[name] = value
        times.append(iteration_time(FORMS.index(profile.form), profile.numbers, records(batch)[0]))
    return float(min(times))
