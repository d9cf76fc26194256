"""How code is compiled: the only file that imports numba's decorators.

* `kernel` compiles an engine or theory loop and keeps it in numba's disk cache; `lean_kernel` one that makes no array,
  `part_kernel` one that besides is called by kernels alone, and `inner_kernel` a part that its callers take in.
* `pointer` turns a plain function of records and numbers, such as `rank(job, params)`, into a C pointer. All pointers
  to functions of the same records have one type, so one kernel serves every policy, and it hits the disk cache.
* A kernel may call kernels of its own folder only: its cache is stale when any file of its folder changes. The same
  holds for what becomes a pointer.
* `NUMBA_DISABLE_JIT=1` runs the same source uncompiled, for coverage and debugging.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.ccallback import CFunc

from llmqueue_gym.errors import BadInput, nearest

DISABLED = bool(getattr(numba.config, "DISABLE_JIT"))  # noqa: B009 (set at run time, so mypy cannot see it)
_CALLED: set[FunctionType] = set()  # plain functions that compiled code may call
_NUMBERS = types.Array(types.float64, 1, "C")


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use. Division by zero gives inf or nan as in NumPy, because C pointers cannot raise."""
    return _compiled(function)


def lean_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel that makes no array, so that references need not be counted, which costs atomic operations."""
    return _compiled(function, _nrt=False)


def part_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a lean kernel that kernels alone call: a way into it from Python takes half of the time to compile."""
    return _for_kernels_alone(_compiled(function, _nrt=False, no_cpython_wrapper=True))


def inner_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a part into each of its callers: calls with as many arguments as a replica has are slow."""
    return _for_kernels_alone(_compiled(function, _nrt=False, no_cpython_wrapper=True, forceinline=True))


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    options["no_cfunc_wrapper"] = True  # no kernel is called through a C pointer
    try:
        return _one_signature(_stamped(numba.njit(function, cache=True, error_model="numpy", nogil=True, **options)))
    except RuntimeError:  # no writable place for the cache: compile in every process instead
        return _one_signature(numba.njit(function, error_model="numpy", nogil=True, **options))


def _one_signature(dispatcher: Any) -> Any:
    """Take literal arguments as their types, so that a kernel called with 0 and with k is compiled once."""
    if not DISABLED:
        call_template = dispatcher.get_call_template
        dispatcher.get_call_template = lambda args, kws: call_template([types.unliteral(one) for one in args], kws)
    return dispatcher


def _for_kernels_alone(dispatcher: Any) -> Any:
    """Let a call from Python be an error; without a way in it would crash."""

    def refuse(*_: Any, **__: Any) -> None:
        raise TypeError(f"{dispatcher.__name__} is a part of kernels, which Python cannot call")

    if not DISABLED:
        dispatcher._compile_for_args = refuse
        dispatcher.add_overload = lambda made: dispatcher.overloads.__setitem__(tuple(made.signature.args), made)
    return dispatcher


def _stamped(dispatcher: Any) -> Any:
    if not DISABLED:
        _stamp(dispatcher._cache, dispatcher.py_func)
    return dispatcher


def _stamp(cache: Any, function: Callable[..., Any]) -> None:
    """Make the cache of a function depend on all files of its folder; numba looks at its own file alone."""
    files = sorted(Path(function.__code__.co_filename).parent.glob("*.py"))
    index = cache._cache_file
    index._source_stamp = tuple((stat.st_mtime, stat.st_size) for stat in (file.stat() for file in files))
    load = index._load_index

    def load_index() -> dict[Any, Any]:
        try:
            return load()
        except (AttributeError, ImportError, EOFError, pickle.UnpicklingError):  # torn, or of another version's classes
            return {}

    index._load_index = load_index


def pointer(function: Callable[..., float], shown: tuple[np.dtype, ...], cache: bool) -> Any:
    """Compile a function of some records and of numbers to a C pointer that kernels can call.

    Args:
        function: plain Python function of one record of each dtype, and of a float64 array.
        shown: the dtypes.
        cache: keep the result on disk; only for functions that live in a file.

    Raises:
        BadInput: the function uses something that cannot be compiled.
    """
    return _pointer(function, types.float64(*map(numba.from_dtype, shown), _NUMBERS), cache)


def _pointer(function: Callable[..., float], signature: Any, cache: bool) -> Any:
    if DISABLED:
        return function
    _let_it_call(function)
    try:
        try:
            return _callback(function, signature, cache)
        except RuntimeError:
            return _callback(function, signature, cache=False)
    except (numba.core.errors.NumbaError, numba.core.errors.UnsupportedBytecodeError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines if line and not line.startswith("Failed in")), "unknown reason")
        name = getattr(function, "__name__", "rank")
        raise BadInput(f"function {name!r} cannot be compiled: {reason}") from None
    except KeyError as error:  # numba's answer to a field that a record does not have
        fields = [field for one in signature.args if isinstance(one, types.Record) for field in one.fields]
        name, wrong = getattr(function, "__name__", "rank"), error.args[0]
        raise BadInput(f"function {name!r} reads {wrong!r}, which does not exist; {nearest(wrong, fields)}") from None


def _let_it_call(function: Callable[..., Any]) -> None:
    """Let compiled code call the plain functions of its file that a function names, and those that they name."""
    for name in function.__code__.co_names:
        helper = function.__globals__.get(name)
        if isinstance(helper, FunctionType) and helper not in _CALLED:
            _CALLED.add(helper)
            numba.extending.register_jitable(error_model="numpy")(helper)
            _let_it_call(helper)


def _callback(function: Callable[..., float], signature: Any, cache: bool) -> Any:
    """Do as `numba.cfunc` does, with a cache that is stamped before it is looked into."""
    made: Any = CFunc(function, (signature.args, signature.return_type), locals={}, options={"error_model": "numpy"})
    if cache:
        made.enable_caching()
        _stamp(made._cache, function)
    made.compile()
    return made


@numba.extending.intrinsic
def _prefetch(typing_context: Any, table: Any, row: Any, offset: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        address = builder.gep(address, [arguments[2]])
        form = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        hint = cgutils.get_or_insert_function(builder.module, form, "llvm.prefetch.p0i8")
        builder.call(hint, [address, number(1), number(3), number(1)])  # to be written, to be kept, data
        return context.get_dummy_value()

    return types.void(table, row, offset), generate


@inner_kernel
def prefetch(table, row, offset):  # type: ignore[no-untyped-def]
    """Ask for a cache line that will be read and written soon, of a row of a table; it may lie beyond the end.

    The row is counted over all axes of the table, and the offset is in bytes.
    """
    if not DISABLED:
        _prefetch(table, row, offset)


def records(table: np.ndarray) -> np.ndarray:
    """Return the table so that `table[i].column` works compiled and uncompiled alike."""
    return table.view(np.recarray) if DISABLED else table
