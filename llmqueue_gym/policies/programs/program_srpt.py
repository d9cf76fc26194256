"""The program of which the fewest tokens are predicted to be left goes first, prompts and outputs of its calls to come.

It is SRPT of programs, taken to batches; which is best for one server and known sizes, and here a rule of thumb.

Source: Schrage, "A Proof of the Optimality of the Shortest Remaining Processing Time Discipline", 1968.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy

_SOURCE = "Schrage 1968, of programs"


def rank(request, system, params):
    return request.to_come - request.computed


def program_srpt() -> ServingPolicy:
    """Fewest tokens of the program to come first."""
    return ServingPolicy("program-srpt", rank, source=_SOURCE)


def program_srpt_preemptive() -> ServingPolicy:
    """The same, and a call of a program with fewer tokens to come preempts one of a program with more."""
    return ServingPolicy("program-srpt-preemptive", rank, displaces=True, source=_SOURCE)
