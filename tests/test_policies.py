"""Policies of every kind compile, cite and pickle; what each is told is found where it reads; so are its mistakes."""

import pickle
import types

import gymnasium as gym
import numpy as np
import pytest

from llmqueue_gym import _jit, baseline_agent, requests
from llmqueue_gym._jit import records
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.errors import BadInput, TruthError
from llmqueue_gym.jobs import JOB
from llmqueue_gym.policies import NOTHING, POLICIES, PREDICTION, TOLD, TRUTH, Policy, policy
from llmqueue_gym.policies.base import READABLE
from llmqueue_gym.policies.dispatch import DispatchPolicy, dispatch_policy
from llmqueue_gym.policies.packing import packing_policy
from llmqueue_gym.policies.serving import ServingPolicy, serving_policy
from llmqueue_gym.systems import SYSTEMS, Scenario

TABLES = {kind: SYSTEMS.builder(kind).policies for kind in SYSTEMS}
EVERY = [(kind, name) for kind, table in TABLES.items() if kind != "central" for name in table]  # as in mg1


def one_of(dtype, **columns):
    row = np.zeros(1, dtype)
    for name, value in columns.items():
        row[name] = value
    return records(row).view(np.recarray)[0]


# All kinds.


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_compiles_cites_and_pickles(kind, name):
    p = TABLES[kind](name)
    assert p.name == name and p.source and p.told in TOLD
    assert len(p.compiled()) == len(p.functions)
    assert pickle.loads(pickle.dumps(p)) == p and TABLES[kind](p) is p


@pytest.mark.parametrize("kind", ["mg1", "dispatch", "packing", "moldable", "replica"])
def test_wrong_functions_are_named(kind):
    table = TABLES[kind]
    arguments = ", ".join([*(shown.name for shown in table.made.shown), "params"])
    first = table.made.shown[0]
    made = {}
    for what, body in (("cheat", "size"), ("typo", first.readable[0] + "z"), ("named", "true_size")):
        read = f"{first.name}.{body}" if what != "named" else f"{first.name}[{body!r}]"
        exec(f"def {what}({arguments}):\n    return {read}", made)
    for cheat in ("cheat", "named"):
        with pytest.raises(TruthError, match="true sizes are hidden"):
            table(made[cheat])
    with pytest.raises(BadInput, match=f"did you mean '{first.readable[0]}'"):
        table(made["typo"])
    for no_policy in (42, lambda: 0.0):
        with pytest.raises(BadInput, match=f"is not a {table.made.kind}"):
            table(no_policy)
    name = next(iter(table))
    with pytest.raises(BadInput, match=f"unknown {table.made.kind} '{name}x'; did you mean '{name}'"):
        table(f"{name}x")


@pytest.mark.skipif(_jit.DISABLED, reason="nothing is compiled")
def test_a_function_that_cannot_be_compiled_says_so_in_one_line():
    def odd(job, params):
        return {"a": job.age}["a"] + open("x")

    def imports(job, params):
        import math

        return math.log(job.predicted)

    for function in (odd, imports):
        with pytest.raises(BadInput, match="cannot be compiled") as error:
            policy(function).compiled()
        assert "\n" not in str(error.value)


# What a policy is told.


def work_of(queue):
    return queue.work


def jobs_of(queue):
    return queue.jobs / queue.speed


LIBRARY = types.ModuleType("library")
LIBRARY.work_of, LIBRARY.jobs_of = work_of, jobs_of


def directly(job, queue, params):
    return queue.work


def by_name(job, queue, params):
    return queue["left"]


def through_a_helper(job, queue, params):
    return work_of(queue)


def through_a_module(job, queue, params):
    return LIBRARY.work_of(queue)


def through_a_closure(read):
    def score(job, queue, params):
        return read(queue)

    return score


def by_another_name(job, queue, params):
    same = queue
    return same.work


def counts(job, queue, params):
    return jobs_of(queue)


def counts_through_a_module(job, queue, params):
    return LIBRARY.jobs_of(queue)


def counts_and_arrival(job, queue, params):
    return queue.jobs + 0.0 * job.arrival


def by_size(job, queue, params):
    return queue.jobs + job.predicted


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (directly, PREDICTION),
        (by_name, PREDICTION),
        (through_a_helper, PREDICTION),
        (through_a_module, PREDICTION),
        (through_a_closure(work_of), PREDICTION),
        (by_another_name, PREDICTION),
        (by_size, PREDICTION),
        (counts, NOTHING),
        (counts_through_a_module, NOTHING),
        (through_a_closure(jobs_of), NOTHING),
        (counts_and_arrival, NOTHING),
    ],
)
def test_a_score_is_told_what_it_reads_wherever_it_reads_it(score, told):
    p = dispatch_policy(score)
    assert p.told == told and p.uses_predictions == (told == PREDICTION)
    assert DispatchPolicy(p.name, score, predictor="exact").told == TRUTH


def shortest_left(request, system, params):
    return request.predicted - request.generated


def oldest(request, system, params):
    return -request.arrival


@pytest.mark.parametrize(
    ("p", "told"),
    [
        (policy("fcfs"), NOTHING),
        (policy("las"), NOTHING),
        (policy("edf"), NOTHING),
        (policy("sprpt"), PREDICTION),
        (policy("srpt"), TRUTH),
        (policy("drop-if-late"), PREDICTION),  # whom it sends away
        (dispatch_policy("join-shortest-queue"), NOTHING),
        (dispatch_policy("one-bit-count"), PREDICTION),
        (packing_policy("server-filling"), NOTHING),
        (packing_policy("easy"), PREDICTION),  # who may go ahead
        (packing_policy("server-filling-srpt"), TRUTH),
        (serving_policy("fcfs"), NOTHING),
        (serving_policy("trail"), PREDICTION),
        (serving_policy(oldest), NOTHING),
        (serving_policy(shortest_left), PREDICTION),
        (ServingPolicy("peak", oldest, admission="peak"), PREDICTION),  # room for what is predicted
        (ServingPolicy("exact", oldest, predictor="exact:seed=1"), TRUTH),
    ],
    ids=lambda p: getattr(p, "name", p),
)
def test_who_is_told_what(p, told):
    assert p.told == told


# Orders of a queue.


@pytest.mark.parametrize("name", POLICIES)
def test_ranks_are_numbers_on_a_grid_and_of_the_shape_that_is_promised(name):
    p = policy(name)
    params = p.params_for(**Scenario(size="weibull:shape=0.5").facts(p))
    ages = [0.0, 1e-12, *np.linspace(0.01, 5, 100), 50.0, 1e6]
    for predicted in (0.0, 1e-9, 0.3, 1.0, 50.0, 1e6):
        ranks = np.array([p.rank(one_of(JOB, age=age, predicted=predicted), params) for age in ages])
        assert not np.isnan(ranks).any()
        if p.shape != "general":
            assert (ranks[1:] <= ranks[:-1]).all()
        if p.shape == "constant":
            assert (ranks == ranks[0]).all()


@pytest.mark.parametrize(
    "spec", ["one-bit:threshold=0", "one-bit-lcfs:threshold=-1", "limited-preemption:c=2", "seh-like:k=0"]
)
def test_bad_parameters(spec):
    with pytest.raises(BadInput, match=spec.split("=")[1]):
        policy(spec)


# Plain functions.


def helper(job, params):
    return job.age


def hands_on(job, params):
    return helper(job, params)


def reads_by_name(job, params):
    return helper(job, params) + job["predicted"]


def test_what_a_row_that_is_handed_on_is_read_for_is_found_where_it_goes():
    assert policy(hands_on).reads() == {"age"}
    assert policy(reads_by_name).reads() == {"age", "predicted"}
    assert policy(hands_on).reads() <= set(READABLE)


def half(x):
    return 0.5 * x


def less_half(x, y):
    return x - half(y)


def half_life(job, params):
    return less_half(job.predicted, job.age)


def plain_half_life(job, params):
    return job.predicted - 0.5 * job.age


def test_a_rank_may_call_plain_functions_of_its_file():
    run = [Scenario(n_jobs=500).simulate(rank, 1) for rank in (half_life, plain_half_life)]
    np.testing.assert_array_equal(run[0].outcome["completion"], run[1].outcome["completion"])


def test_traits_are_given_by_name():
    mine = Policy.from_function(half_life, name="mine", preemptive=False)
    assert (mine.name, mine.preemptive, mine.rank) == ("mine", False, half_life)


# Functions that fail, or do what they must not.

BODIES = {
    "raises": ("raise ValueError('no luck')", "ValueError: no luck"),
    "raises_late": ("if FIRST.arrival > 1: raise ValueError('late')", "ValueError: late"),
    "gives_nan": ("return float('nan')", "NaN to"),
    "reads_beyond": ("return params[2]", "IndexError"),
    "reads_before": ("return params[-3]", "IndexError"),
}
WRITES = {
    "sets": "FIRST.arrival = 1e9",
    "adds": "FIRST.arrival += 1.0",
    "by_name": "FIRST['arrival'] = 1e9",
    "to_numbers": "params[0] = 1.0",
    "adds_to_numbers": "params[0] += 1.0",
    "by_another_name": "same = params\n  same[0] = 1.0",
    "through_a_helper": "put(FIRST)",
}


def put(row):
    row.arrival = 1e9


def written(kind, name, body):
    """Return a policy of a kind whose first function has a body."""
    made = TABLES[kind].made
    arguments, first = [shown.name for shown in made.shown], made.shown[0].name
    column = "arrival" if "arrival" in made.shown[0].readable else made.shown[0].readable[0]
    body = body.replace("FIRST", first).replace("arrival", column)
    names = {"put": put}
    exec(f"def {name}({', '.join(arguments)}, params):\n  {body}\n  return 0.0", names)
    return made.from_function(names[name], params=(1.0, 2.0))


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("kind", SYSTEMS)
def test_a_function_that_fails_is_an_error_that_names_the_job(kind, name):
    body, words = BODIES[name]
    shown = TABLES[kind].made.shown[0]
    who = (
        f"an? {shown.name}" if shown.dtype in (requests.AWAY, requests.TOLD) else f"{shown.name} \\d+"
    )  # no rows of the work
    with pytest.raises(BadInput, match=f"'{name}' .*{who}.*{words}" if "NaN" not in words else words) as error:
        Scenario(kind, n_jobs=100).simulate(written(kind, name, body), 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "kind", [kind for kind in SYSTEMS if kind != "dispatch" and SYSTEMS.builder(kind).view is not None]
)
def test_it_is_an_error_of_the_agent_too(kind):
    named = next((name for name, one in ENVIRONMENTS.items() if one.system == kind and one.n_jobs is not None), None)
    env = Scenario(kind, n_jobs=100).env() if named is None else gym.make(named, n_jobs=100).unwrapped
    if kind == "tools":  # it is asked before it plays
        with pytest.raises(BadInput, match=r"'raises' fails at an? .*: ValueError: no luck"):
            baseline_agent(written(kind, "raises", BODIES["raises"][0]), env)
        return
    agent = baseline_agent(written(kind, "raises", BODIES["raises"][0]), env)
    seen, _ = env.reset(seed=0)
    for _ in range(1000):  # what is decided first may be of another function
        try:
            seen = env.step(agent.act(seen))[0]
        except BadInput:
            break
    for act in (lambda: agent.act(seen), lambda: agent.act_env(env)):
        with pytest.raises(BadInput, match=r"'raises' fails at an? .*: ValueError: no luck"):
            act()


@pytest.mark.skipif(_jit.DISABLED, reason="uncompiled, some of them are found when they are called")
@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("kind", TABLES)
def test_a_function_that_writes_is_refused(kind, name):
    with pytest.raises(BadInput, match="writes to"):
        written(kind, name, WRITES[name]).compiled()


async def later(job, params):
    return 1.0


class Callable:
    def __call__(self, job, params):
        return 0.0


@pytest.mark.parametrize(
    "given",
    [
        len,
        int,
        Callable,
        Callable(),
        Callable().__call__,
        lambda job, *, params: 0.0,
        lambda job, params, more: 0.0,
        lambda *both: 0.0,
        lambda job, params, **more: 0.0,
        lambda job, params: (yield 0.0),
        later,
    ],
)
def test_what_is_no_plain_function_of_job_and_params_is_refused(given):
    for make in (policy, lambda rank: Policy("mine", rank)):
        with pytest.raises(
            BadInput, match=r"is not a policy: give a registered name or a function rank\(job, params\)"
        ):
            make(given)
