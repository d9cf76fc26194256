"""How code is compiled: the only file that imports numba's decorators.

* `kernel` compiles an engine or theory loop and keeps it in numba's disk cache; `lean_kernel` one that makes no array,
  `part_kernel` one that besides is called by kernels alone, and `inner_kernel` a part that its callers take in.
* `pointer` turns a plain function of records and numbers, such as `rank(job, params)`, into a C pointer. All pointers
  to functions of the same records have one type, so one kernel serves every policy, and it hits the disk cache. The
  function gets copies of the records and numbers that it cannot write to; where it fails, `failure` tells.
* A kernel may call kernels of its own folder only: its cache is stale when any file of its folder changes. The same
  holds for what becomes a pointer.
* `NUMBA_DISABLE_JIT=1` runs the same source uncompiled, for coverage and debugging.
"""

import ctypes
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import ccallback, cgutils

from llmqueue_gym._jit_cache import stamp
from llmqueue_gym.errors import BadInput, nearest

DISABLED = bool(getattr(numba.config, "DISABLE_JIT"))  # noqa: B009 (set at run time, so mypy cannot see it)
_CALLED: set[FunctionType] = set()  # plain functions that compiled code may call
_NUMBERS = types.Array(types.float64, 1, "C")
_CONSTANTS = types.Array(types.float64, 1, "C", readonly=True)
_CHECKED = {"error_model": "numpy", "boundscheck": True}  # C code cannot raise, and must not read beyond its numbers
_CALLBACKS: Any = ccallback
_NOTE = "llmqueue_gym_note"  # symbol of `_note` in compiled code


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
    options.setdefault("forceinline", False)  # unless told, numba takes it from the caller, and then for all below that
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
        stamp(dispatcher._cache, dispatcher.py_func)
    return dispatcher


class Failure(NamedTuple):
    """Where a function behind a pointer failed first.

    Attributes:
        raised: whether it raised; it gave NaN where not.
        records: what it was shown.
    """

    raised: bool
    records: tuple[bytes, ...]


_WORD = (1 << 64) - 1
_FAILURES: dict[int, Failure] = {}  # by the address of the numbers that the function was given


@ctypes.CFUNCTYPE(None, ctypes.c_int, *[ctypes.c_ssize_t] * 5)
def _note(raised: int, numbers: int, first: int, length: int, second: int, more: int) -> None:
    """Keep the first failure of functions of some numbers; compiled code gives addresses, and lengths in bytes."""
    if numbers not in _FAILURES:
        records = ctypes.string_at(first, length), ctypes.string_at(second, more)
        _FAILURES[numbers] = Failure(bool(raised), records[: 2 if more else 1])


llvmlite.binding.add_symbol(_NOTE, ctypes.cast(_note, ctypes.c_void_p).value)


def failure(numbers: np.ndarray) -> Failure | None:
    """Return, once, where a function that was given these very numbers failed first; None where none did."""
    found = _FAILURES.pop(numbers.ctypes.data, None) if _FAILURES else None
    if found is not None:
        _FAILURES.clear()  # what else failed in that run; other numbers may come to lie where its numbers lay
    return found


_WATCHED: list[str] = []  # names of the functions whose calls are noted
_CALL = np.zeros(2, np.int64)  # which of them runs now, counted from 1, and the calls of all so far


def running() -> tuple[str, int] | None:
    """Return the function from outside that compiled code is in at this moment, and which call it is; None for none.

    Who sees the same call again after seconds knows that it does not come back. With several threads it may miss one.
    """
    which, calls = _CALL.tolist()
    return (_WATCHED[which - 1], calls) if which else None


def pointer(function: Callable[..., float], shown: tuple[np.dtype, ...], cache: bool) -> Any:
    """Compile a function of one or two records and of numbers to a C pointer that kernels can call.

    Where the function raises or gives NaN, its value is 0 and `failure` tells.

    Args:
        function: plain Python function of one record of each dtype, and of a float64 array.
        shown: the dtypes.
        cache: keep the result on disk; only for functions that live in a file.

    Raises:
        BadInput: the function uses something that cannot be compiled.
    """
    if not cache:
        _refuse_stores(function, helper=False)
    if DISABLED:
        return _guarded(function)
    signature = types.float64(*map(numba.from_dtype, shown), _CONSTANTS)
    _let_it_call(function)
    try:
        try:
            return _callback(function, signature, cache)
        except RuntimeError:
            return _callback(function, signature, cache=False)
    except (numba.core.errors.NumbaError, numba.core.errors.UnsupportedBytecodeError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines if line and not line.startswith("Failed in")), "unknown reason")
        if "built-in function setitem" in reason:
            reason = "it writes to numbers that it can only read"
        raise BadInput(f"function {function.__name__!r} cannot be compiled: {reason}") from None
    except KeyError as error:  # numba's answer to a field that a record does not have
        fields = [field for one in signature.args if isinstance(one, types.Record) for field in one.fields]
        wrong = error.args[0]
        raise BadInput(
            f"function {function.__name__!r} reads {wrong!r}, which does not exist; {nearest(wrong, fields)}"
        ) from None


def _refuse_stores(function: Callable[..., float], helper: bool) -> None:
    """Refuse a function that writes to what it is shown; a helper may fill an array that it is given.

    Compiled, it would write to a copy, or not be compiled, because the numbers are constants.
    """
    try:
        code = numba.core.compiler.run_frontend(function)
    except Exception:  # compilation says what is wrong
        return
    for step in (step for block in code.blocks.values() for step in block.body):
        if isinstance(step, (numba.core.ir.SetAttr, numba.core.ir.DelAttr)):
            raise BadInput(f"function {function.__name__!r} writes to .{step.attr}; it can only read what it is shown")
        if isinstance(step, (numba.core.ir.SetItem, numba.core.ir.StaticSetItem, numba.core.ir.DelItem)):
            target = numba.core.ir_utils.guard(numba.core.ir_utils.get_definition, code, step.target)
            if isinstance(target, numba.core.ir.Arg) and not helper:
                what = f"an element of {target.name}; it can only read what it is shown"
                raise BadInput(f"function {function.__name__!r} writes to {what}")


def _guarded(function: Callable[..., float]) -> Callable[..., float]:
    """Return what `_Pointer` makes of a function, uncompiled."""

    def guarded(*given: Any) -> float:
        *rows, numbers = given
        constants = numbers.view()
        constants.flags.writeable = False
        raised, value = False, np.nan
        try:
            value = float(function(*(row.copy() for row in rows), constants))
        except Exception:
            raised = True
        if not np.isnan(value):
            return value
        _FAILURES.setdefault(numbers.ctypes.data, Failure(raised, tuple(row.tobytes() for row in rows)))
        return 0.0

    return guarded


def _let_it_call(function: Callable[..., Any]) -> None:
    """Let compiled code call the plain functions of its file that a function names, and those that they name."""
    for name in function.__code__.co_names:
        helper = function.__globals__.get(name)
        if isinstance(helper, FunctionType) and helper not in _CALLED:
            _refuse_stores(helper, helper=True)
            _CALLED.add(helper)
            numba.extending.register_jitable(**_CHECKED)(helper)
            _let_it_call(helper)


def _callback(function: Callable[..., float], signature: Any, cache: bool) -> Any:
    """Do as `numba.cfunc` does, with a cache that is stamped before it is looked into."""
    made = _Pointer(function, signature, watched=not cache)
    if cache:
        made.enable_caching()
        stamp(made._cache, function)
    made.compile()
    made._sig = signature.return_type(*signature.args[:-1], _NUMBERS)  # as kernels call it
    made.kind = types.FunctionType(made._sig)
    return made


class _PointerCompiler(_CALLBACKS._CFuncCompiler):  # type: ignore[misc]
    def _customize_flags(self, flags: Any) -> Any:
        super()._customize_flags(flags).no_cfunc_wrapper = True  # `_Pointer` adds its own
        return flags


class _Pointer(_CALLBACKS.CFunc):  # type: ignore[misc]
    """A C callback that notes where its function fails, and shows it nothing that it could change."""

    def __init__(self, function: Callable[..., float], signature: Any, watched: bool):
        super().__init__(function, (signature.args, signature.return_type), locals={}, options=_CHECKED)
        self._compiler = _PointerCompiler(function, self._targetdescr, _CHECKED, {}, numba.core.compiler.Compiler)
        self._watched = watched

    def __wrapper_address__(self) -> int:
        """Return where it is; without being asked for it like this, numba compares the records in every call."""
        return int(self.address)

    def _compile_uncached(self) -> Any:
        made = super()._compile_uncached()
        if self._watched:
            _WATCHED.append(self._pyfunc.__name__)
        _add_guard(made.target_context, made.library, made.fndesc, len(_WATCHED) if self._watched else 0)
        return made


@numba.extending.typeof_impl.register(_Pointer)
def _kind_of(pointer: _Pointer, context: Any) -> Any:
    """Return the type of a pointer, which numba else makes anew in every call, at ten times the cost of the others."""
    return pointer.kind


def _add_guard(context: Any, library: Any, function: Any, watched: int) -> None:
    """Write the function that kernels call: it copies the records, and looks at what comes back.

    Where `watched` is not 0 it notes that when it is called, and that it is over.
    """
    module, size = context.create_module("guard"), ir.IntType(64)
    shape = ir.FunctionType(ir.DoubleType(), [context.get_value_type(one) for one in function.argtypes])
    guard = ir.Function(module, shape, function.llvm_cfunc_wrapper_name)
    builder = ir.IRBuilder(guard.append_basic_block("entry"))
    copies, shown = [], []
    for given, kind in zip(guard.args, function.argtypes[:-1], strict=False):
        copy = cgutils.alloca_once(builder, ir.ArrayType(size, -(-kind.size // 8)))
        cgutils.raw_memcpy(builder, copy, given, size(kind.size), 1)
        copies.append(builder.bitcast(copy, given.type))
        shown += [builder.ptrtoint(given, size), size(kind.size)]
    if watched:
        inside, calls = (size(_CALL[k:].ctypes.data).inttoptr(size.as_pointer()) for k in range(2))
        builder.store(builder.add(builder.load(calls), size(1)), calls)
        builder.store_atomic(size(watched), inside, "release", 8)  # no plain one, which the last would make needless
    body = context.call_conv.get_function_type(function.restype, function.argtypes)
    body = ir.Function(module, body, function.llvm_func_name)
    given = (*copies, guard.args[-1])
    status, value = context.call_conv.call_function(
        builder, body, function.restype, function.argtypes, given, attrs=("alwaysinline",)
    )
    if watched:
        builder.store_atomic(size(0), inside, "release", 8)
    if function.restype != types.float64:  # it can only raise
        value = ir.DoubleType()(np.nan)
    result = cgutils.alloca_once_value(builder, value)
    failed = builder.or_(status.is_error, builder.fcmp_unordered("uno", value, value))
    with builder.if_then(failed, likely=False):
        numbers = context.make_array(function.argtypes[-1])(context, builder, guard.args[-1]).data
        told = [builder.zext(status.is_error, ir.IntType(32)), builder.ptrtoint(numbers, size)]
        told += (shown + [size(0)] * 2)[:4]
        form = ir.FunctionType(ir.VoidType(), [one.type for one in told])
        builder.call(cgutils.get_or_insert_function(module, form, _NOTE), told)
        builder.store(value.type(0.0), result)
    builder.ret(builder.load(result))
    library.add_ir_module(module)


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


@numba.extending.intrinsic
def _natural(typing_context: Any, number: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.assume(builder.icmp_signed(">=", arguments[0], arguments[0].type(0)))
        return arguments[0]

    return types.int64(types.int64), generate


@numba.extending.intrinsic
def _product(typing_context: Any, a: Any, b: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.mul(*arguments)  # without the promise of numba's own product that it does not overflow

    return types.int64(types.int64, types.int64), generate


@inner_kernel
def product(a, b):  # type: ignore[no-untyped-def]
    """Return a * b in 64 bits, whatever is beyond them lost; compiled code may do anything where `*` overflows."""
    if DISABLED:
        x = (int(a) * int(b)) & _WORD
        return x - (_WORD + 1) if x > _WORD >> 1 else x
    return _product(a, b)


@inner_kernel
def natural(number):  # type: ignore[no-untyped-def]
    """Return a number that is never negative; compiled code then looks for no index that counts from the end."""
    return number if DISABLED else _natural(number)


@inner_kernel
def prefetch(table, row, offset):  # type: ignore[no-untyped-def]
    """Ask for a cache line that will be read and written soon, of a row of a table; it may lie beyond the end.

    The row is counted over all axes of the table, and the offset is in bytes.
    """
    if not DISABLED:
        _prefetch(table, row, offset)


class _Row(np.record):  # type: ignore[misc]
    """A row whose columns are found whatever NumPy calls its methods, such as `round`."""

    def __getattribute__(self, name: str) -> Any:
        if name in np.void.__getattribute__(self, "dtype").names:
            return self[name]
        return np.void.__getattribute__(self, name)


def records(table: np.ndarray) -> np.ndarray:
    """Return the table so that `table[i].column` works compiled and uncompiled alike."""
    return table.view(np.dtype((_Row, table.dtype))) if DISABLED else table
