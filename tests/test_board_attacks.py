"""Entries that would cheat or break out, and what holds them: the language, their files, the cell."""

import itertools
import math
from pathlib import Path

import numba
import numpy as np
import pytest

from llmqueue_gym._jit import records
from llmqueue_gym.boards import outside
from llmqueue_gym.boards.names import FUNCTIONS
from llmqueue_gym.errors import BadInput, TruthError

OF = "from llmqueue_gym.policies import Policy\ndef rank(job, params):\n    return job.predicted\n"
OF_SERVING = OF.replace("Policy", "ServingPolicy").replace("job, params", "job, system, params")


def body(text, head=""):
    """The file of a policy with a body."""
    return f"{head}def policy(job, params):\n    " + text.replace("\n", "\n    ") + "\n"


# The file of a policy, which is read and never run.

OUTSIDE = {
    "import": "import os\npolicy = rank = 1",
    "import of a submodule": "import numpy.ctypeslib\n" + body("return 1"),
    "import from a relative module": "from . import x\n" + body("return 1"),
    "import of everything": "from math import *\n" + body("return 1"),
    "import of a loader": "from numpy import load\n" + body("return 1"),
    "import of the engines": "from llmqueue_gym.policies.base import inspect\n" + body("return 1"),
    "import within": body("import os\nreturn 1"),
    "another type of policy": "from llmqueue_gym.policies.dispatch import DispatchPolicy\n" + body("return 1"),
    "a class": "class policy:\n    pass",
    "an instance of a class": body("return 1") + "class X:\n    pass\npolicy = X()",
    "a builtin": "policy = print",
    "a function of a module": "import math\npolicy = math.sin",
    "a lambda": "policy = lambda job, params: 1",
    "exit": "exit(3)",
    "a loop without end": "while True:\n    pass",
    "a decorator": "@print\n" + body("return 1"),
    "a default": "def policy(job, params=open('x', 'w')):\n    return 1",
    "a default of a keyword": "def policy(job, params, *, k=open('x', 'w')):\n    return 1",
    "other arguments": "def policy(job, queue, params):\n    return 1",
    "starred arguments": "def policy(*job):\n    return 1",
    "a coroutine": "async def policy(job, params):\n    return 1",
    "a generator": body("yield 1"),
    "ctypes of an array": body("return np.zeros(1).ctypes", "import numpy as np\n"),
    "an internal module": body("return np._core._internal.os", "import numpy as np\n"),
    "a file of text": "import numpy as np\nnp.savetxt('x', [1])\n" + body("return 1"),
    "chance": body("return np.random.rand()", "import numpy as np\n"),
    "frames": body("return (x for x in ()).gi_frame.f_builtins"),
    "capture by match": body("match job:\n    case object(__class__=x):\n        return x"),
    "a class of a number": body("return (1).__class__"),
    "globals of a function": body("return policy.__globals__"),
    "globals": body("global job\nreturn 1"),
    "nonlocals": body("nonlocal job\nreturn 1"),
    "eval": body("return eval('1')"),
    "a format string": body("return f'{job.predicted!r:>{10**9}}'"),
    "text": body("return 'a' * 10**9"),
    "bytes": body("return b'a'[0]"),
    "a complex number": body("return 1j"),
    "a list": body("return [1] * 10**12"),
    "a comprehension": body("return [x for x in (1, 2)][0]"),
    "a table": body("return {0.1: 1.0}[job.predicted]"),
    "a lambda within": body("return (lambda: 1)()"),
    "a walrus": body("return (job := 1)"),
    "a function within": body("def f():\n    return 1\nreturn f()"),
    "its own self": body("return policy(job, params)"),
    "an exception": body("raise ValueError"),
    "a try": body("try:\n    return 1\nfinally:\n    pass"),
    "an assertion": body("assert job.age\nreturn 1"),
    "a with": body("with job:\n    return 1"),
    "a deletion": body("del job\nreturn 1"),
    "a write to the job": body("job.age = 0.5 * job.predicted\nreturn 1"),
    "a write to the job by name": body("job['age'] = 1.0\nreturn 1"),
    "a sum written to the job": body("job.age += 1.0\nreturn 1"),
    "a write to params": body("params[0] = 1.0\nreturn 1"),
    "another name for the job": body("other = job\nreturn other.age"),
    "the job itself": body("return float(job)"),
    "the job as a function's": body("return max(job, params)"),
    "a slice": body("return params[0:9][0]"),
    "a parameter beyond": body("return params[0]"),
    "bits": body("return 1 << 40"),
    "matrices": body("return job @ job"),
    "identity": body("return job is params"),
    "keywords of a function": body("return max(job.age, 1, key=print)"),
    "a star in a call": body("return max(*params)"),
    "a name without a value": body("if job.age > 1:\n    x = 2.0\nreturn x"),
    "a way without a return": body("if job.age > 1:\n    return 1"),
    "a return of nothing": body("return"),
    "a loop within loops": body("for k in range(9):\n    for j in range(9):\n        pass\nreturn 1"),
    "a loop as long as a number": body("for k in range(10**9):\n    pass\nreturn 1"),
    "a loop as long as a prediction": body("for k in range(job.predicted):\n    pass\nreturn 1"),
    "a loop over the job": body("for k in job:\n    pass\nreturn 1"),
    "a loop with an else": body("for k in range(3):\n    break\nelse:\n    return 1\nreturn 1"),
    "a builtin of another meaning": body("max = 3.0\nreturn max"),
    "an argument of another meaning": "import math\ndef policy(job, math):\n    return 1",
    "a letter that looks like another": "def policy(job, params):\n    \N{CYRILLIC SMALL LETTER A} = 1.0\n    return 1",
    "two policies": "policy = 1\npolicy = 2",
    "a policy by another name": "from llmqueue_gym.policies import Policy\nPolicy.check = print\n" + body("return 1"),
    "no policy": "rank = 1",
    "nothing": "",
    "a number too large": body("return 1e999"),
    "an integer too large": body("return 0x" + "f" * 5000),
    "digits without end": body("return " + "9" * 5000),
    "too many parentheses": body("return " + "(" * 7000),
    "too many signs": body("return " + "-" * 15000 + "1"),
    "too many terms": body("return 1" + "+1" * 7000),
    "too many conditions": "".join(f"{' ' * k}if 1:\n" for k in range(99)),
    "null": "policy = 1\0",
    "not UTF-8": b"policy = '\xff'",
    "half a character": b"\xed\xa0\x80",
    "another encoding": "# -*- coding: utf-16 -*-\npolicy = 1",
    "more than may be": "#" * 20_000,
    "more numbers than may be": OF + f"policy = Policy('x', rank, {tuple(range(400))})",
    "more numbers than may be, with names": "".join(f"N{k} = {k}\n" for k in range(400)) + body("return N0"),
    "no function": "from llmqueue_gym.policies import Policy\npolicy = Policy('x')",
    "a number for a function": "from llmqueue_gym.policies import Policy\npolicy = Policy('x', 1)",
    "a function of the library": "from llmqueue_gym.policies import Policy\npolicy = Policy('x', Policy.check)",
    "a preparation": OF + "policy = Policy('x', rank, prepare=rank)",
    "a table of keywords": OF + "policy = Policy('x', rank, **{'preemptive': False})",
    "an argument twice": OF + "policy = Policy('x', rank, name='y')",
    "an argument of nobody": OF + "policy = Policy('x', rank, told='nothing')",
    "better predictions": OF + "policy = Policy('x', rank, predictor='lognormal:sigma=0.001')",
    "no predictions": OF + "policy = Policy('x', rank, predictor='none')",
    "a formula": OF + "policy = Policy('x', rank, formula='sprpt')",
    "a number for a flag": OF + "policy = Policy('x', rank, preemptive=1)",
    "a shape of nobody": OF + "policy = Policy('x', rank, shape='square')",
    "params that are no numbers": OF + "policy = Policy('x', rank, ('a',))",
    "params that are infinite": OF + "policy = Policy('x', rank, (1e999,))",
    "a chain": OF + "policy = Policy('x', rank).with_exact_sizes('y')",
    "an import from a file": OF + "policy = Policy('x', rank, source=open('x'))\nimport os",
}


@pytest.mark.parametrize("code", OUTSIDE.values(), ids=OUTSIDE)
def test_what_is_not_of_the_language_is_refused_in_a_line(code, entry, small):
    with pytest.raises(BadInput) as refused:
        outside.read(entry(code), small)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500 and "entry" in str(refused.value)


SERVING = {
    "memory": "rules={'blocks': 10**8}",
    "seats": "rules={'max_seqs': 10**6}",
    "no tokens": "rules={'token_budget': 0}",
    "the clock": "rules={'horizon': 1.0}",
    "the cache": "rules={'block_size': 1}",
    "a rule that is no table": "rules=('max_seqs', 1)",
    "a rule with a number for a name": "rules={1: 1}",
    "free preemption": "preemption='free'",
    "no count": "spare=-1",
    "a count without end": "spare=10**30",
    "a margin that is no number": "margin=True",
    "an admission of nobody": "admission='all'",
}


@pytest.mark.parametrize("trait", SERVING.values(), ids=SERVING)
def test_an_entry_sets_no_more_than_a_policy_decides(trait, entry, small):
    with pytest.raises(BadInput, match=r"policy\.py"):
        outside.read(entry(f"{OF_SERVING}policy = ServingPolicy('x', rank, {trait})", board="llm"), small)
    code = OF_SERVING + "policy = ServingPolicy('x', rank, rules={'max_seqs': 64, 'watermark': 0.1}, spare=2)"
    assert outside.read(entry(code, board="llm"), small)[1].player.rules == {"max_seqs": 64, "watermark": 0.1}


@pytest.mark.parametrize("read", ["job.size", "job['size'] - job.age", "job.true_size", "job.remaining"])
def test_an_entry_that_reads_the_truth_is_refused_with_its_line(read, entry, small):
    with pytest.raises(TruthError, match=r"policy\.py: line 2: job\.\w+: true sizes are hidden"):
        outside.read(entry(body(f"return {read}")), small)


@pytest.mark.parametrize("column", ["rank", "status", "site", "__class__", "dtype", "ctypes", "prdicted"])
def test_columns_that_policies_do_not_see_are_refused(column, entry, small):
    with pytest.raises(BadInput, match=rf"line 2: job\.{column} does not exist; "):
        outside.read(entry(body(f"return job.{column}")), small)


LANGUAGE = """
'''All that the language has.'''
import math
import numpy as np
from math import log, pi as PI
from llmqueue_gym.policies import Policy

SCALE = -2.0
NEVER = math.inf


def rank(job, params):
    '''Of two parts.'''
    total = 0.0
    for k in range(2):
        total += params[k] * SCALE**2 + params[job.klass + k]
    if not job.age > 3 and (total < NEVER or job["need"] == 1) and True:
        return min(total, math.erf(total), np.minimum(total, 3)) + log(max(job.predicted, 0.1, 0.2)) - params[-1] % 2
    elif total == PI:
        left = abs(-job.predicted)
    else:
        left = job.age // 2 if job.age > 4 else int(job.age) + math.floor(job.predicted) + len(params)
    return float(left) / 3


policy = Policy("other name", rank, (1, 2.5, 3), shape="general", preemptive=True, source="a paper")
"""


@numba.njit
def asked(rank, row, params):
    return rank(row, params)


def ask(policy, **columns):
    """Return the rank of a job, as it is compiled."""
    row = np.zeros(1, policy.shown[0].dtype)
    for name, value in columns.items():
        row[name] = value
    with np.errstate(all="ignore"):
        return asked(*policy.compiled(), records(row)[0], np.array(policy.params))


def test_the_language_means_what_python_means(entry, small):
    made, space = outside.read(entry(LANGUAGE), small)[1].player, {}
    exec(LANGUAGE, space)
    assert (made.name, made.params, made.preemptive) == ("mine", (1.0, 2.5, 3.0), True)
    for predicted, age, klass in itertools.product((0.05, 1.0, 7.0), (0.5, 3.5, 4.5), (0, 1)):
        told = {"predicted": predicted, "age": age, "klass": klass, "need": 1}
        assert ask(made, **told) == pytest.approx(space["rank"](_Job(told), made.params), rel=1e-12)


def test_the_entry_of_the_documentation_is_one(entry, small):
    text = (Path(__file__).parents[1] / "docs" / "entries.md").read_text(encoding="utf-8")
    made = outside.read(entry(text.split("```python\n")[1].split("```")[0]), small)[1].player
    assert made.params == (0.5,) and made.shape == "falling"


class _Job(dict):
    __getattr__ = dict.__getitem__


@pytest.mark.parametrize("name", [name for module in FUNCTIONS for name in FUNCTIONS[module]])
def test_every_function_of_the_language_compiles_to_what_it_is(name, entry, small):
    module = next(module for module in FUNCTIONS if name in FUNCTIONS[module])
    called = f"{name}({', '.join(['job.age', 'job.predicted'][: FUNCTIONS[module][name][0]])})"
    prefix = "" if module == "builtins" else f"{module}."
    made = outside.read(entry(body(f"return {prefix}{called}", "import math, numpy\n")), small)[1].player
    wanted = eval(f"{prefix}{called}", {"math": math, "numpy": np, "job": _Job(age=2.5, predicted=-1.5)})
    assert ask(made, age=2.5, predicted=-1.5) == pytest.approx(float(wanted))


def test_an_index_stays_in_bounds_and_no_literal_is_too_large(entry, small):
    code = OF.replace("job.predicted", "params[1 / job.age] + params[job.predicted] + params[-2] + 2**70 * 0")
    made = outside.read(entry(code + "policy = Policy('x', rank, (1, 20, 300))"), small)[1].player
    for age, predicted in itertools.product((0.0, 1e-300, -1.0, np.nan), (-5.0, 0.0, 1.0, 1e300, np.nan, np.inf)):
        first = 300.0 if age in (0.0, 1e-300) else 1.0
        assert (
            ask(made, age=age, predicted=predicted)
            == first + (20 if predicted == 1 else 300 if predicted > 1 else 1) + 20
        )
