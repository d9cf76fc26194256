"""Programs at a rate as a workload of their calls; and one run of any workload of programs from one seed."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from llmqueue_gym.columns import MOST_TOKENS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.lengths import LengthPredictor
from llmqueue_gym.predictors.programs import Foreseen, Foresight, foresee
from llmqueue_gym.programs import Answers
from llmqueue_gym.requests import Programs, Requests, request_table
from llmqueue_gym.workloads import arrival_process
from llmqueue_gym.workloads.arrivals import ArrivalProcess
from llmqueue_gym.workloads.programs import Laid, ProgramLaw, laid_out, program_law
from llmqueue_gym.workloads.requests.workload import SAMPLE, ProgramRows, Rows, check_count, draw_requests
from llmqueue_gym.workloads.streams import stream, streams


class ProgramSamples(Protocol):
    """Whatever can draw programs: `ProgramWorkload`, `TracePrograms`, or a class of your own."""

    @property
    def calls(self) -> float:
        """Mean number of calls of a program."""

    def sample(self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator) -> ProgramRows:
        """Return n programs, at least 1, or fewer where the workload has fewer."""

    def output_sample(self) -> np.ndarray:
        """Return output lengths `(m,)` of the workload, the same at each call, for predictors to be fitted to."""

    def answers(
        self, requests: np.ndarray, outputs: np.ndarray, programs: Programs, rng: np.random.Generator
    ) -> Answers | None:
        """Return what is true of the answers of a sample's calls, from a stream that belongs to answers alone."""


class ProgramRun(NamedTuple):
    """One sampled run of programs.

    Attributes:
        requests: calls, with `programs` and `contexts`; what may be known of them, and the truth.
        answers: more of the truth; None where the workload says nothing of answers.
        foreseen: what is predicted of programs.
    """

    requests: Requests
    answers: Answers | None
    foreseen: Foreseen


def draw_programs(
    workload: ProgramSamples,
    predictor: str | LengthPredictor | Predictor,
    foresight: Foresight,
    n: int,
    seed: int,
) -> ProgramRun:
    """Draw one run of n programs, and all that is predicted of it.

    Requests are drawn as `draw_requests` draws them, so predictors of either kind change nothing else. What is foreseen
    rests on the output lengths that are predicted.

    Raises:
        BadInput: n or seed is out of range, or the predictor needs `bind`.
    """
    drawn = draw_requests(workload, predictor, n, seed)
    assert drawn.programs is not None  # of any sample of programs
    answers = workload.answers(drawn.requests, drawn.outputs, drawn.programs, stream(seed, "programs.answers"))
    rngs = streams(seed, "programs.gaps", "programs.calls", "programs.tokens", "programs.right", "programs.depth")
    return ProgramRun(drawn, answers, foresee(foresight, drawn.requests, drawn.outputs, drawn.programs, answers, rngs))


def rows_of(laid: Laid) -> ProgramRows:
    """Return the request table of calls, and what goes with it."""
    return request_table(laid.arrivals, laid.prompts, klass=laid.klass), laid.outputs, laid.contexts, laid.programs


@dataclass(frozen=True)
class ProgramWorkload:
    """Independent programs of one law that arrive at a wanted rate.

    Attributes:
        law: of programs, or its spec, such as `tool-calls`.
        rate: mean arrivals of programs per s; `inf` lets all begin at time 0.
        arrivals: the arrival process of programs, or its spec.
        max_tokens: most tokens of prompt and output together; a program that has a longer call is drawn again, whole,
            so the law is that of the others.
    """

    law: str | ProgramLaw
    rate: float
    arrivals: str | ArrivalProcess = "poisson"
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "law", program_law(self.law))
        object.__setattr__(self, "arrivals", arrival_process(self.arrivals))
        if not self.rate > 0:
            raise BadInput(f"rate={self.rate:g} must be positive, programs per s, or inf for all at once")
        if self.max_tokens is not None and not 2 <= self.max_tokens <= MOST_TOKENS:
            raise BadInput(
                f"max_tokens={self.max_tokens} must be from 2, one of prompt and one of output, to {MOST_TOKENS:,}"
            )

    @property
    def calls(self) -> float:
        """Mean number of calls of a program, were none drawn again."""
        return program_law(self.law).calls

    def sample(self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator) -> ProgramRows:
        """Return n programs; BadInput where next to none is within `max_tokens`."""
        check_count(n, "program")
        calls = program_law(self.law).draw_within(n, length_rng, self.max_tokens or np.inf)
        starts = np.zeros(n) if np.isinf(self.rate) else arrival_process(self.arrivals).times(n, self.rate, arrival_rng)
        return rows_of(laid_out(calls, starts))

    def answers(
        self, requests: np.ndarray, outputs: np.ndarray, programs: Programs, rng: np.random.Generator
    ) -> Answers | None:
        """Return what is true of the answers of a sample's calls; None where the law says nothing of them."""
        return program_law(self.law).answers(programs, requests["klass"], outputs, rng)

    def output_sample(self) -> np.ndarray:
        """Return output lengths of some 10,000 calls from a fixed seed."""
        return self.sample(int(SAMPLE / self.calls) + 1, np.random.default_rng(1), np.random.default_rng(0))[1]


@dataclass(frozen=True)
class CallsAlone:
    """The calls of programs, each by itself at 1 call/s, for what can be said of no program: what a replica sustains.

    Attributes:
        programs: the workload that they are from.
    """

    programs: ProgramSamples

    def sample(self, n: int, arrival_rng: np.random.Generator, length_rng: np.random.Generator) -> Rows:
        """Return at most n calls of as many programs as have about so many, in any order."""
        requests, outputs, *_ = self.programs.sample(int(n / self.programs.calls) + 1, arrival_rng, length_rng)
        order = arrival_rng.permutation(len(outputs))[:n]
        times = arrival_process("poisson").times(len(order), 1.0, arrival_rng)
        return request_table(times, requests["prompt"][order]), outputs[order]

    def output_sample(self) -> np.ndarray:
        """Return output lengths of the workload."""
        return self.programs.output_sample()
