"""How code is compiled: the only file that imports numba's decorators.

* `kernel` compiles an engine or theory loop and keeps it in numba's disk cache.
* `compile_rank` turns a plain function `rank(job, params)` into a C pointer. All pointers have one type, so one
  compiled kernel serves every policy, and it hits the disk cache.
* `NUMBA_DISABLE_JIT=1` runs the same source uncompiled, for coverage and debugging.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import JOB

DISABLED = bool(getattr(numba.config, "DISABLE_JIT"))  # noqa: B009 (set at run time, so mypy cannot see it)
_RANK = types.float64(numba.from_dtype(JOB), types.Array(types.float64, 1, "C"))


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use. Division by zero gives inf or nan as in NumPy, because C pointers cannot raise."""
    try:
        return numba.njit(function, cache=True, error_model="numpy", nogil=True)
    except RuntimeError:  # no writable place for the cache: compile in every process instead
        return numba.njit(function, error_model="numpy", nogil=True)


def compile_rank(rank: Callable[[Any, np.ndarray], float], cache: bool) -> Any:
    """Compile `rank(job, params) -> float` to a C pointer that kernels can call.

    Args:
        rank: plain Python function; `job` is a row of `JOB`, `params` a float64 array.
        cache: keep the result on disk; only for functions that live in a file.

    Raises:
        BadInput: the function uses something that cannot be compiled.
    """
    if DISABLED:
        return rank
    try:
        try:
            return numba.cfunc(_RANK, cache=cache, error_model="numpy")(rank)
        except RuntimeError:
            return numba.cfunc(_RANK, error_model="numpy")(rank)
    except numba.core.errors.NumbaError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines if line and not line.startswith("Failed in")), "unknown reason")
        name = getattr(rank, "__name__", "rank")
        raise BadInput(f"rank function {name!r} cannot be compiled: {reason}") from None


def records(table: np.ndarray) -> np.ndarray:
    """Return the table so that `table[i].column` works compiled and uncompiled alike."""
    return table.view(np.recarray) if DISABLED else table
