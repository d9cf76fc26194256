"""A policy is functions for decision points, and traits; here it is checked, bound, compiled and asked what it is told.

The plainest is a rank function, lower rank is served first (the definition of SOAP). One definition has four uses:
`theory` analyses it, `engines` simulate it, `systems` play it as a baseline agent, and a learned policy is the same
thing with network weights in `params`. A user's policy is a plain function:

    def rank(job, params):
        return job.predicted - job.age

Each kind of policy is a subclass of `BasePolicy` that says which functions it has and what these are shown. Its names
are a `Policies` table.

Source: Scully, Harchol-Balter, Scheller-Wolf, "SOAP: One Clean Analysis of All Age-Based Scheduling Policies",
SIGMETRICS 2018.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

import numpy as np

from llmqueue_gym.errors import BadInput, NotApplicable, TruthError, nearest
from llmqueue_gym.jobs import JOB
from llmqueue_gym.policies.reading import columns_read, constants_of
from llmqueue_gym.registry import Registry

NOTHING, PREDICTION, TRUTH = TOLD = ("nothing", "prediction", "truth")  # what a policy is told, from the least on
EXACT = "exact"  # the predictor that tells the truth, whatever is predicted

READABLE = ("arrival", "predicted", "weight", "age", "klass", "deadline", "need")
TRUE_COLUMNS = frozenset(
    ["size", "true_size", "sizes", "remaining", "truth", "service_time", "completion", "times", "output", "outputs"]
) | {"output_tokens", "true_output"}

Shape = Literal["constant", "falling", "general"]


class Shown(NamedTuple):
    """A record that a policy's functions are shown.

    Attributes:
        name: of the argument.
        dtype: of the record.
        readable: its columns that a function may read.
        predictions: those of them that hold what is predicted.
    """

    name: str
    dtype: np.dtype
    readable: tuple[str, ...]
    predictions: frozenset[str]


SHOWN_JOB = Shown("job", JOB, READABLE, frozenset(("predicted",)))


class BasePolicy:
    """What all kinds of policies have in common. A subclass is a frozen dataclass with the fields below and its traits.

    Attributes:
        kind: what messages call it.
        drops: whether it sends jobs away, which agents alone can do.
        functions: names of the fields that hold its functions; the first one makes a policy of a plain function.
        shown: the records that each function takes, before `params`.
        name: its name in the literature.
        params: numbers for its functions.
        prepare: function that computes `params` `(k,)` from what its arguments are named after (`size`, the law,
            `predictor`, `speeds`, `profile`, `rules`), or None.
        predictor: the predictor that the policy brings along (`srpt` is `sprpt` with "exact"), or None.
        source: paper or theorem.
    """

    kind: ClassVar[str] = "policy"
    drops: ClassVar[bool] = False
    functions: ClassVar[tuple[str, ...]] = ("rank",)
    shown: ClassVar[tuple[Shown, ...]] = (SHOWN_JOB,)

    name: str
    params: tuple[float, ...]
    prepare: Callable[..., np.ndarray] | None
    predictor: str | None
    source: str

    @classmethod
    def from_function(cls, function: Callable[..., float], **traits: Any) -> Self:
        """Make a policy of a plain function.

        Raises:
            BadInput: it is none, or it takes other arguments.
        """
        first = cls.functions[0]
        cls._check_form(first, function)
        return cls(**{"name": function.__name__, first: function, **traits})

    @classmethod
    def _check_form(cls, field: str, function: Any) -> None:
        """Refuse what is no plain function of the records and of `params`."""
        arguments = [*(shown.name for shown in cls.shown), "params"]
        more = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_GENERATOR
        more |= inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
        if inspect.isfunction(function):
            code = function.__code__
            if code.co_argcount == len(arguments) and not code.co_kwonlyargcount and not code.co_flags & more:
                return
        named = inspect.isroutine(function) or inspect.isclass(function)
        what = function.__name__ if named else f"{function!r:.200}"
        raise BadInput(
            f"{what} is not a {cls.kind}: give a registered name or a function {field}({', '.join(arguments)})"
        )

    def check(self) -> None:
        """Refuse functions of another form, and those that read what there is not.

        Raises:
            TruthError: a function reads the true size.
            BadInput: it is no plain function of the right arguments, or a column does not exist.
        """
        for field in self.functions:
            if getattr(self, field) is not None:
                self._check_form(field, getattr(self, field))
        for function in self._functions():
            for position, shown in enumerate(self.shown):
                for column in sorted(columns_read(function, shown.readable, position)):
                    what = f"{self.kind} {self.name!r} reads {shown.name}.{column}"
                    if column in TRUE_COLUMNS and position == 0:
                        raise TruthError(
                            f"{what}: true sizes are hidden from policies; for a clairvoyant policy use the predictor "
                            f"{EXACT!r} and read {shown.name}.predicted"
                        )
                    if column not in shown.readable:
                        raise BadInput(f"{what}, which does not exist; {nearest(column, shown.readable)}")

    def reads(self, position: int = 0) -> set[str]:
        """Return the columns of the record at a position that its functions read."""
        readable = self.shown[position].readable
        return set().union(*(columns_read(function, readable, position) for function in self._functions()))

    @property
    def told(self) -> str:
        """What it is told of a job: NOTHING, PREDICTION or TRUTH."""
        if str(self.predictor or "").partition(":")[0] == EXACT:
            return TRUTH
        return PREDICTION if self.uses_predictions else NOTHING

    @property
    def uses_predictions(self) -> bool:
        """Whether predictions make a difference to it."""
        return any(self.reads(k) & shown.predictions for k, shown in enumerate(self.shown))

    def params_for(self, size: Any = None, predictor: Any = None, **facts: Any) -> np.ndarray:
        """Return the float64 parameters `(k,)` of its functions.

        Args:
            size: law of the sizes.
            predictor: bound to that law.
            facts: what else is known of where it plays, such as the `speeds` of the servers.

        Raises:
            NotApplicable: it needs predictions, and the predictor predicts nothing.
            BadInput: it is computed from something that is not given.
        """
        blind = predictor is not None and not predictor.informative
        if blind and self.prepare is None and self.uses_predictions:
            raise NotApplicable(
                f"{self.kind} {self.name!r} needs predictions, but the predictor predicts nothing; "
                "choose another predictor, or a blind policy such as fcfs, las or gittins-blind"
            )
        if self.prepare is None:
            try:
                return np.array(self.params, dtype=np.float64).reshape(len(self.params))
            except (TypeError, ValueError):
                raise BadInput(f"{self.kind} {self.name!r}: params={self.params!r} must be numbers") from None
        known = {"size": size, "predictor": predictor, **facts}
        wanted = list(inspect.signature(self.prepare).parameters)
        if known.get(wanted[0]) is None:
            raise BadInput(f"{self.kind} {self.name!r} computes its rank from {' and '.join(wanted)}: pass them")
        return np.ascontiguousarray(self.prepare(**{name: known.get(name) for name in wanted}), dtype=np.float64)

    def compiled(self) -> tuple[Any, ...]:
        """Return its functions as kernels take them, in the order of `functions`; zero stands for one that is missing.

        Raises:
            BadInput: a function uses something that cannot be compiled.
        """
        dtypes = tuple(shown.dtype for shown in self.shown)
        zero = _ZEROS[len(dtypes)]
        return tuple(_pointer(getattr(self, name) or zero, dtypes) for name in self.functions)

    def refuse_failure(self, params: np.ndarray, work: np.ndarray | None = None) -> None:
        """Refuse what has come of a run or a decision in which one of its functions failed.

        Args:
            params: the very array that the functions were given.
            work: rows of the table that they were shown, for the number of the job.

        Raises:
            BadInput: a function raised or gave NaN; the message names the job.
        """
        from llmqueue_gym._jit import failure

        failed = failure(params)
        if failed is None:
            return
        records = [np.frombuffer(row, shown.dtype)[0] for row, shown in zip(failed.records, self.shown, strict=True)]
        who, shown = self._who(records[0], work), []
        for position, record in enumerate(records):
            where = self.shown[position]
            shown += [
                f"{where.name}.{name}={record[name]:g}" for name in where.readable if name in self.reads(position)
            ]
        at = f"{who}, where {', '.join(shown)}" if shown else who
        what = f"{self.kind} {self.name!r}"
        if not failed.raised:
            given = f"{self.functions[0]} NaN" if len(self._functions()) == 1 else "NaN"
            raise BadInput(f"{what} gives {given} to {at}; it must be a number")
        constants = params.view()
        constants.flags.writeable = False
        error = self._error_of([*(record.view(np.recarray) for record in records), constants])
        raise BadInput(f"{what} fails at {at}: {error}")

    def _who(self, record: Any, work: np.ndarray | None) -> str:
        """Return in words of whom a record is that one of its functions was shown first."""
        if work is None or work.dtype != record.dtype:
            return f"{'an' if self.shown[0].name[0] in 'aeiou' else 'a'} {self.shown[0].name}"
        came = np.flatnonzero(work["arrival"] == record["arrival"])
        alike = came[work["predicted"][came] == record["predicted"]]
        return f"{self.shown[0].name} {[*alike, *came][0]}"

    def _error_of(self, given: list[Any]) -> str:
        """Return in words what one of its functions raises of these arguments."""
        for function in self._functions():
            try:
                function(*given)
            except Exception as error:
                return f"{type(error).__name__}: {error}"
        return "it raises an error"

    def with_exact_sizes(self, name: str) -> Self:
        """Return the exact-information version under its own name: the same policy, told the true size."""
        return replace(self, name=name, predictor=EXACT)  # type: ignore[type-var]

    def _functions(self) -> list[Callable[..., float]]:
        return [function for name in self.functions if (function := getattr(self, name)) is not None]


def _pointer(function: Any, dtypes: tuple[np.dtype, ...]) -> Any:
    constants = () if _is_of_the_library(function) else constants_of(function)
    if constants is not None:
        return _kept_pointer(function, dtypes, constants)
    return _kept_pointer.__wrapped__(function, dtypes, None)  # what it reads may change between calls


@functools.lru_cache(maxsize=256)
def _kept_pointer(function: Any, dtypes: tuple[np.dtype, ...], constants: Any) -> Any:
    from llmqueue_gym._jit import pointer  # numba, which listing the policies does not need

    return pointer(function, dtypes, cache=_is_of_the_library(function))


def _is_of_the_library(function: Any) -> bool:
    """Whether what a function takes from around it never changes, as it is no user's."""
    return str(function.__module__).startswith("llmqueue_gym.")


def _zero(job: Any, params: np.ndarray) -> float:
    return 0.0


def _zero_of_two(job: Any, other: Any, params: np.ndarray) -> float:
    return 0.0


_ZEROS = {1: _zero, 2: _zero_of_two}


@dataclass(frozen=True)
class Policy(BasePolicy):
    """The order of a queue.

    Attributes:
        name: its name in the literature.
        rank: plain function `rank(job, params) -> float` of one row of the job table.
        params: numbers for `rank`; a policy that computes them from the laws has `prepare` instead.
        preemptive: whether a better job takes the server from the running one.
        shape: how the rank of a job in service moves with its age. "general" is always right; "constant" and
            "falling" promise that a running job can only be overtaken by an arrival, which is faster.
        lcfs_up_to: jobs of equal rank are served first come first served, but last come first served where that
            rank is at most this number.
        predictor: the predictor that the policy brings along (`srpt` is `sprpt` with "exact"), or None.
        prepare: `prepare(size, predictor) -> params (k,)`, for ranks that are computed from the laws.
        formula: name of its closed form in `theory.closed_forms`, or None.
        source: paper or theorem.

    Raises:
        TruthError: the rank reads the true size.
        BadInput: an unknown shape, or a column that does not exist.
    """

    name: str
    rank: Callable[[Any, np.ndarray], float]
    params: tuple[float, ...] = ()
    preemptive: bool = True
    shape: Shape = "general"
    lcfs_up_to: float = -np.inf
    predictor: str | None = None
    prepare: Callable[..., np.ndarray] | None = None
    formula: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise BadInput(f"shape={self.shape!r}; choose constant, falling or general")
        self.check()


class Policies(Registry):
    """The policies of one kind by name; a plain function is made one.

    Args:
        made: class of the policies.
        entries: as in `Registry`.
        more: likewise; the trained ones of the zoo.
    """

    def __init__(
        self,
        made: type[BasePolicy],
        entries: Mapping[str, str | Callable[..., Any]],
        more: Callable[[], Mapping[str, Callable[..., Any]]] | None = None,
    ):
        super().__init__(made.kind, entries, made, more)
        self.parts: tuple[Policies, ...] = (self,)  # tables of one kind each

    def other(self, given: Any) -> Any:
        """Return the policy that a plain function is."""
        return self.made.from_function(given)  # type: ignore[attr-defined]
