"""What a user writes is exported as it is: names, paths, failures, and what no simulation takes."""

import ast
import dataclasses
import json
import tomllib
import types

import pytest
from vllm_stubs import request

from llmqueue_gym._jit import DISABLED
from llmqueue_gym.cli.asked import function_in_file
from llmqueue_gym.errors import BadInput
from llmqueue_gym.export import export
from llmqueue_gym.export.target import shown
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.systems.scenario import Scenario

OWN = """
import math
import numpy as np
from numpy import interp

K, TABLE, float, isinstance = 3.0, np.array([1.0, 5.0]), 3.0, 2.0

def sum(a, b):
    return a + b

def max(a, b, c):
    return a if a > b and a > c else b if b > c else c

def MineSync(x):
    max_2 = 1.0
    return max(x, 2.0, max_2)

def builtins(request, system, params):
    return sum(MineSync(request.predicted), float * isinstance)

def comprehends(request, system, params):
    a = 0.0
    for x in [K for K in (1.0, 2.0)]:
        a += x
    return a + K * request.predicted

def imports(request, system, params):
    return interp(request.predicted, TABLE, TABLE) + math.log(request.prompt)

def none(request, system, params):
    return request.predicted

def value_error(request, system, params):
    return request.predicted

def mine(request, system, params):
    return request.predicted

def gives_nothing(request, system, params):
    pass

def gives_text(request, system, params):
    return "a"

def gives_two(request, system, params):
    return (request.predicted, 1.0)

def gives_nan(request, system, params):
    return math.nan

def reads_beyond(request, system, params):
    return params[0] * request.predicted

def changes(request, system, params):
    global K
    K += 1
    return K
"""
SHOWN = types.SimpleNamespace(predicted=4.0, prompt=10, arrival=1.0)


@pytest.fixture
def own(tmp_path):
    """Return what gives a function of the user's file."""
    (tmp_path / "own.py").write_text(OWN)
    return lambda name: function_in_file(f"{tmp_path / 'own.py'}:{name}")


@pytest.mark.parametrize("name", ["builtins", "comprehends", "imports", "none", "value_error", "mine"])
def test_names_of_a_user_are_no_trouble(name, own, tmp_path, load):
    """Neither those of Python's own functions and words, nor those that a comprehension has as well."""
    module = load(export(own(name), "vllm", tmp_path / "out"))
    assert module.number_of(module.rank, SHOWN, None) == pytest.approx(own(name)(SHOWN, None, ()))
    made = {"none": "NoneOrder", "value_error": "ValueErrorOrder"}.get(name, name.title())
    scheduler = getattr(module, made)()
    scheduler.add_request(request(told={"predicted": 4}))
    assert scheduler.waiting._heap[0].priority == pytest.approx(own(name)(SHOWN, None, ()))
    with pytest.raises(ValueError, match="--scheduling-policy priority"):
        getattr(module, f"{made}Sync")(order="fcfs")


REFUSED_FUNCTIONS = {
    "gives_nothing": "compiled",
    "gives_text": "compiled",
    "gives_two": "compiled",
    "gives_nan": "NaN",
    "reads_beyond": "out of bounds",
    "changes": "compiled",
}


@pytest.mark.skipif(DISABLED, reason="functions that are not compiled may give what they like")
@pytest.mark.parametrize("name", REFUSED_FUNCTIONS)
def test_what_no_simulation_takes_is_refused(name, own, tmp_path):
    with pytest.raises(BadInput, match=REFUSED_FUNCTIONS[name]) as here:
        export(own(name), "vllm", tmp_path / "out")
    with pytest.raises(BadInput) as there:
        Scenario("replica", lengths="azure-conv", load=0.95, n_requests=20).simulate(own(name), seed=0)
    assert str(here.value).partition(", where")[0] == str(there.value).partition(", where")[0]
    assert not (tmp_path / "out").exists()


def test_parameters_are_numbers(tmp_path):
    with pytest.raises(BadInput, match="longest_wait=-1 must not be negative"):
        export("ssjf:longest_wait=-1", "vllm", tmp_path / "out")
    with pytest.raises(BadInput, match="longest_wait=nan: parameter 2"):
        export("ssjf:longest_wait=nan", "vllm", tmp_path / "out")


@pytest.mark.parametrize("error", [TypeError, IndexError, KeyError, RecursionError, ZeroDivisionError])
def test_function_that_fails_puts_last(error, tmp_path, load):
    def fails(*given):
        raise error

    module = load(export("sjf", "vllm", tmp_path / "out"))
    assert module.number_of(fails, None, None) == float("inf") == module.number_of(lambda *given: None, None, None)


@pytest.mark.parametrize("to", ["vllm", "sglang", "priority-proxy"])
@pytest.mark.parametrize(
    "name", ["out\\Ux", 'out"""x', "out\x27\x27\x27x", "a\nraise SystemExit", "o\udc80", 'x"', "\\"]
)
def test_paths_stay_texts(name, to, tmp_path):
    """What stands in the command and in the source of a policy is a text of one line to Python and TOML."""
    policy = dataclasses.replace(SERVING_POLICIES("sjf"), source=name, name=name)
    folder = export(policy, to, tmp_path / "out", command=f"llmqueue export x --out {name}")
    for path in folder.glob("*.py"):
        doc = ast.get_docstring(ast.parse(path.read_text()))
        if "which it does not need" in doc:
            assert doc.count(shown(name)) >= (2 if path.name == "llmqueue_proxy.py" else 3)
    if to == "sglang":
        described = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["description"]
        assert described == f"The policy {shown(name)} as the order of SGLang's queue"
    assert json.loads((folder / "card.json").read_text())["source"] == name


def test_number_does_not_hide_behind_one_of_the_users(tmp_path, load):
    """A name that is numbered is none that the function has itself."""
    Queue = 2.0

    def mine(request, system, params):
        Queue_2 = request.predicted
        return Queue * Queue_2

    module = load(export(ServingPolicy.from_function(mine), "vllm", tmp_path / "out"))
    assert module.rank(SHOWN, None, ()) == 8.0 and isinstance(module.Queue, type)
