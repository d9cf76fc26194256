"""Joint laws of prompt and output lengths, by name; to add one, write it and add its line to the table here.

Measured laws are tables of quantiles, so that no file is needed to use them. They stand in `tables.toml`, with their
sources and licences. A table has the quantiles of the prompt, and those of the output within each eighth of the
requests by prompt, so that what ties the two together stays. The numbers were computed from the published data by
`experiments/embed_length_tables.py`; a length v is spread over v - 0.5 to v + 0.5, and rounding gives whole tokens
back. Requests without output are left out.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from llmqueue_gym.columns import MOST_TOKENS
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.registry import Named, Registry
from llmqueue_gym.workloads.traces import load_lengths

MEASURED = {
    "azure-conv": "the Azure 2023 conversation trace",
    "azure-code": "the Azure 2023 code completion trace",
    "mooncake-conv": "the Mooncake conversation trace",
    "deepseek-r1": "requests to DeepSeek-R1, sampled from ServeGen's models",
    "sharegpt": "ShareGPT turns of at most 8 k tokens",
    "lmsys-arena": "1,500 chats on chat.lmsys.org",
}
# Probabilities of the quantiles (33,): every 1/16, finer in the upper tail, which the means hang on.
_TAIL = [0.85, 0.9, 0.92, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.993, 0.995, 0.998, 0.999, 1]
ROUNDS = 1000  # of drawing again; a law that has not enough short requests by then has next to none
LEVELS = np.unique(np.concatenate([[0, 0.005, 0.02], np.arange(1, 16) / 16, _TAIL]))


@dataclass(frozen=True)
class Lengths(Named):
    """A joint law of the prompt and output lengths of a request.

    Attributes:
        name: in the registry.
    """

    name: ClassVar[str] = "lengths"

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return prompt and output tokens of n independent requests, both int64 `(n,)` and at least 1."""
        raise NotImplementedError


def sample_within(law: Lengths, n: int, rng: np.random.Generator, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Return prompts and outputs of a law, of at most so many tokens together: who has more is drawn again.

    Raises:
        BadInput: next to none is so short.
    """
    prompts, outputs = law.sample(n, rng)
    for _ in range(ROUNDS):
        again = np.flatnonzero(prompts + outputs > most)
        if not len(again):
            return prompts, outputs
        prompts[again], outputs[again] = law.sample(len(again), rng)
    raise BadInput(f"max_tokens={most:g}: next to no request of {law} is so short")


def whole_tokens(lengths: np.ndarray) -> np.ndarray:
    """Return lengths `(n,)` rounded to whole tokens, int64, from 1 to a billion."""
    return np.clip(np.rint(lengths), 1, MOST_TOKENS).astype(np.int64)


@dataclass(frozen=True)
class ConstantLengths(Lengths):
    """Every request has the same prompt and output.

    Attributes:
        prompt: tokens, at least 1.
        output: tokens, at least 1.
    """

    name: ClassVar[str] = "constant"
    prompt: int = 512
    output: int = 128

    def __post_init__(self) -> None:
        for what in ("prompt", "output"):
            self._check(what, 1 <= getattr(self, what) <= MOST_TOKENS, f"be from 1 to {MOST_TOKENS:,} tokens")

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the two lengths n times; nothing is random."""
        return np.full(n, self.prompt, np.int64), np.full(n, self.output, np.int64)


@dataclass(frozen=True)
class LognormalLengths(Lengths):
    """Prompt and output log-normal, then rounded to whole tokens of at least 1, which lifts means of a few tokens.

    The defaults are round numbers, not measured ones.

    Attributes:
        prompt: mean prompt, tokens.
        output: mean output, tokens.
        prompt_sigma: standard deviation of the logarithm of the prompt; 0 is constant.
        output_sigma: the same of the output.
        correlation: of the two logarithms.
    """

    name: ClassVar[str] = "lognormal"
    prompt: float = 1000.0
    output: float = 200.0
    prompt_sigma: float = 1.0
    output_sigma: float = 1.0
    correlation: float = 0.0

    def __post_init__(self) -> None:
        for what in ("prompt", "output"):
            self._check(what, 1 <= getattr(self, what) <= MOST_TOKENS, f"be from 1 to {MOST_TOKENS:,} tokens")
        for what in ("prompt_sigma", "output_sigma"):
            self._check(what, 0 <= getattr(self, what) <= 100, "be from 0 to 100")
        self._check("correlation", -1 <= self.correlation <= 1, "lie between -1 and 1")

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return lengths, two normal numbers of `rng` for each request."""
        a, b = rng.standard_normal((2, n))
        b = self.correlation * a + np.sqrt(1 - self.correlation**2) * b
        prompts = self.prompt * np.exp(self.prompt_sigma * a - self.prompt_sigma**2 / 2)
        outputs = self.output * np.exp(self.output_sigma * b - self.output_sigma**2 / 2)
        return whole_tokens(prompts), whole_tokens(outputs)


@dataclass(frozen=True)
class FileLengths(Lengths):
    """Prompt and output of a row drawn uniformly from a file, with replacement.

    Rows without output are left out; a prompt of 0 tokens counts as 1.

    Attributes:
        file: csv or csv.gz with the lengths of requests; see `load_lengths`.
        dropped: rows left out.
    """

    name: ClassVar[str] = "file"
    file: str
    dropped: int = field(init=False, compare=False)
    _prompts: np.ndarray = field(init=False, repr=False, compare=False)  # (rows,)
    _outputs: np.ndarray = field(init=False, repr=False, compare=False)  # (rows,)

    def __post_init__(self) -> None:
        prompts, outputs = load_lengths(self.file)
        served = outputs > 0
        if not served.any():
            raise BadInput(f"{self.file}: every row has 0 output tokens")
        read = {"_prompts": np.maximum(prompts[served], 1), "_outputs": outputs[served]}
        for name, value in {**read, "dropped": int((~served).sum())}.items():
            object.__setattr__(self, name, value)

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the lengths of n rows, one whole number of `rng` for each."""
        rows = rng.integers(len(self._outputs), size=n)
        return self._prompts[rows], self._outputs[rows]


class LengthTable(NamedTuple):
    """Quantiles at `LEVELS`, tokens.

    Attributes:
        prompt: `(33,)`.
        output: `(8, 33)`, row i for requests whose prompt lies in the i-th eighth.
    """

    prompt: np.ndarray
    output: np.ndarray


@cache
def tables() -> dict[str, LengthTable]:
    """Return the tables of `tables.toml` by the name of the law."""
    told = tomllib.loads(Path(__file__).with_name("tables.toml").read_text(encoding="utf-8"))
    return {name: LengthTable(np.array(t["prompt"], float), np.array(t["output"], float)) for name, t in told.items()}


@dataclass(frozen=True)
class Measured(Lengths):
    """A law from a table: the prompt by its quantiles, then the output by those of the eighth that the prompt lies in.

    Attributes:
        table: a name in `tables.toml`, where source and licence are stated.
    """

    table: str

    def __post_init__(self) -> None:
        if self.table not in MEASURED:
            raise BadInput(f"unknown table of lengths {self.table!r}; {nearest(self.table, MEASURED)}")

    def __str__(self) -> str:
        """Return the form that the registry reads, the table's name."""
        return self.table

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return lengths, two uniform numbers of `rng` for each request."""
        prompt, output = tables()[self.table]
        u, v = rng.random((2, n))
        row = (u * len(output)).astype(int)
        outputs = np.empty(n)
        for i, quantiles in enumerate(output):
            outputs[row == i] = np.interp(v[row == i], LEVELS, quantiles)
        return whole_tokens(np.interp(u, LEVELS, prompt)), whole_tokens(outputs)


def _measured(table: str, of_what: str) -> Callable[[], Measured]:
    def build() -> Measured:
        return Measured(table)

    build.__doc__ = f"Return the law of {of_what}."
    return build


_HERE = "llmqueue_gym.workloads.requests"
LENGTHS = Registry(
    "length law",
    {
        **{table: _measured(table, of_what) for table, of_what in MEASURED.items()},
        "lognormal": LognormalLengths,
        "constant": ConstantLengths,
        "file": FileLengths,
        "prefixes": f"{_HERE}.sharing:Prefixes",
        "few-shot": f"{_HERE}.sharing:FewShot",
        "chats": f"{_HERE}.chats:Chats",
    },
    Lengths,
)
length_law = LENGTHS.__call__  # a law from a spec such as `azure-conv`, or the law itself
