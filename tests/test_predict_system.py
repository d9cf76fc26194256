"""The system on which predictions cost: its chance, its costs, what is known of it, and the command line."""

import numpy as np
import pytest
from scipy.special import kv

from llmqueue_gym import _jit
from llmqueue_gym.boards import boards, outside
from llmqueue_gym.errors import BadInput, TruthError
from llmqueue_gym.evaluation.steady_state import steady_state_mean
from llmqueue_gym.policies.predicting import PREDICTING, PredictingPolicy
from llmqueue_gym.predictors.cost import PredictorCost, predictor_cost
from llmqueue_gym.systems import Scenario

slow_uncompiled = pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
SERVER = "cheap=0.01,expensive=0.05,where=server"
MANY, FEW = (2000, 300) if _jit.DISABLED else (20_000, 2000)  # jobs
COSTS = ("cheap=0.5,expensive=2", SERVER, "expensive=0.3,where=servers,servers=2")
LONG = 2 * kv(1, 2)  # P(Y' > 1) of exponential sizes and predictions

# Mean response times of Shahout and Mitzenmacher's policies by SOAP, thresholds 1, exponential sizes and predictions.
EXACT = [
    ("skip-predict", COSTS[0], 0.5, 1.678),
    ("skip-predict", COSTS[0], 0.8, 3.19),
    ("skip-predict", SERVER, 0.5, 1.747),
    ("skip-predict", SERVER, 0.8, 3.52),
    ("delay-predict", COSTS[0], 0.5, 1.911),
    ("delay-predict", COSTS[0], 0.8, 4.26),
    ("delay-predict", SERVER, 0.5, 1.985),
    ("delay-predict", SERVER, 0.8, 4.67),
]


@slow_uncompiled
@pytest.mark.parametrize(("name", "costs", "load", "exact"), EXACT)
def test_simulation_holds_the_exact_value(name, costs, load, exact):
    scenario = Scenario("predict", predictor_cost=costs, load=load, n_jobs=400_000)
    run = scenario.simulate(name, 5).after_warmup()
    found = steady_state_mean(run.response_times, run, scenario, level=0.999)
    assert found.low < exact < found.high and found.high - found.low < 0.12 * exact


@pytest.mark.parametrize("costs", COSTS)
def test_policies_are_one_another_at_their_ends(costs):
    scenario = Scenario("predict", predictor_cost=costs, n_jobs=FEW)
    ends = {
        "fcfs": ("selective:p=0", "selective:p=0,blind_first=false", "load-adaptive:at_least=100000", "bypass:limit=0"),
        "sprpt-paid": ("selective:p=1", "selective:p=1,blind_first=false", "load-adaptive:at_least=1"),
    }
    for name, others in ends.items():
        run = scenario.simulate(name, 1)
        for other in others:
            same = scenario.simulate(other, 1)
            np.testing.assert_array_equal(same.outcome["completion"], run.outcome["completion"], err_msg=other)
            assert same.totals == run.totals, other


def test_free_predictions_make_it_the_plain_server():
    """Outside, and where predictions are made by others in no time."""
    one = {"n_jobs": FEW, "predictor": "lognormal:sigma=0.5", "load": 0.9}
    plain = Scenario("mg1", **one)
    for costs in ("cheap=0", "where=servers"):
        paid = Scenario("predict", predictor_cost=costs, **one)
        for name, other in (("fcfs", "fcfs"), ("sprpt-paid", "sprpt"), ("skip-predict:threshold=1e9", "fcfs")):
            found, expected = paid.simulate(name, 2), plain.simulate(other, 2)
            np.testing.assert_allclose(found.response_times, expected.response_times, rtol=1e-9)
            assert found.totals["price"] == 0


def test_a_cheap_prediction_has_noise_of_its_own():
    drawn = Scenario("predict", n_jobs=MANY).draw(3)
    ratios = [drawn.truth[name] / drawn.sizes for name in ("predictions", "cheap")]
    assert abs(np.corrcoef(*ratios)[0, 1]) < 4 / np.sqrt(MANY)
    assert [float(ratio.mean()) for ratio in ratios] == pytest.approx([1, 1], abs=4 / np.sqrt(MANY))
    other = Scenario("predict", n_jobs=MANY, cheap_predictor="exact").draw(3)
    np.testing.assert_array_equal(other.truth["cheap"], drawn.sizes)
    np.testing.assert_array_equal(other.truth["predictions"], drawn.truth["predictions"])
    np.testing.assert_array_equal(other.truth["coin"], drawn.truth["coin"])


def test_what_was_bought_is_told_and_nothing_else():
    scenario = Scenario("predict", n_jobs=MANY)
    run = scenario.simulate("skip-predict", 0)
    sized, told = run.jobs["predicted"] > 0, scenario.system.more(run)
    assert (run.jobs["klass"] >= 0).all() and (sized == (run.jobs["klass"] == 1)).all()
    assert told["expensive_per_job"] == sized.mean() == pytest.approx(LONG, abs=4 * np.sqrt(LONG * (1 - LONG) / MANY))
    assert told["price_per_job"] == pytest.approx(0.5 + 2 * sized.mean())
    assert told["cost"] == pytest.approx(run.response_times.mean() + told["price_per_job"])
    assert scenario.system.numbers(run)["cost"] == pytest.approx(told["cost"])
    served = Scenario("predict", predictor_cost=SERVER, n_jobs=MANY)
    assert "price_per_job" not in served.system.more(served.simulate("skip-predict", 0))


def test_a_function_of_ones_own_is_a_policy():
    def shortest(job, stage, params):
        return job.predicted - job.age

    def late(job, stage, params):
        return 2.0 if job.age >= params[0] else 0.0

    scenario = Scenario("predict", n_jobs=500)
    everybody = scenario.simulate(shortest, 0)
    assert everybody.totals["expensive"] == 500
    mine = PredictingPolicy("mine", shortest, late, pause=0.5, params=(0.5,), shape="falling")
    run = scenario.simulate(mine, 0)
    assert run.totals["expensive"] == (run.sizes > 0.5).sum()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PredictingPolicy("mine", lambda job, stage, params: job.size), "true sizes are hidden"),
        (lambda: PredictingPolicy("mine", lambda job, stage, params: stage.kin), "did you mean 'kind'"),
        (lambda: PredictingPolicy("mine", lambda job, params: 0.0), r"rank\(job, stage, params\)"),
        (lambda: PredictingPolicy("mine", lambda job, stage, params: 0.0, edges=(2.0, 1.0)), "ascending"),
        (lambda: PredictingPolicy("mine", lambda job, stage, params: 0.0, pause=0.0), "pause=0 must be a positive age"),
        (lambda: PredictingPolicy("mine", lambda job, stage, params: 0.0, shape="flat"), "choose constant, falling"),
        (lambda: PREDICTING("selective:p=2"), r"p=2 must lie in \[0, 1\]"),
        (lambda: PREDICTING("skip-predict:threshold=0"), "threshold=0 must be positive"),
        (lambda: PREDICTING("one-bit-paid:threshold=-1"), "threshold=-1 must be positive"),
        (lambda: PREDICTING("delay-predict:limit=0"), "limit=0 must be positive"),
        (lambda: PREDICTING("load-adaptive:at_least=0"), "at_least=0 must be at least 1"),
        (lambda: PREDICTING("bypass:limit=-1"), "limit=-1 must be 0"),
        (lambda: Scenario("predict", n_jobs=9).simulate("profile"), "asks for stage 3 of job 0, a profile"),
        (lambda: predictor_cost("cheap=inf"), "cheap=inf must be a number that is not negative"),
        (lambda: predictor_cost(3), "is not a cost of"),
    ],
)
def test_what_makes_no_sense_is_named(make, words):
    with pytest.raises((BadInput, TruthError), match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_stage_that_there_is_not_is_named():
    def ask(job, stage, params):
        return 7.0 if job.arrival > params[0] else 0.0

    scenario = Scenario("predict", n_jobs=50)
    third = scenario.draw(0).work["arrival"][2]
    mine = PredictingPolicy("mine", lambda job, stage, params: job.arrival, ask, params=(float(third) - 1e-9,))
    with pytest.raises(BadInput, match=r"'mine' asks for stage 7 of job 2; choose 0 to serve it, 1 for a cheap"):
        scenario.simulate(mine, 0)


def test_costs_are_read_back_from_their_text():
    for text in (
        "cheap=0.5,expensive=2",
        "cheap=0.01,expensive=0.05,where=server",
        "expensive=1,where=servers,servers=3",
    ):
        assert predictor_cost(str(predictor_cost(text))) == predictor_cost(text)
    assert predictor_cost("") == PredictorCost() and str(predictor_cost("profile=0.5,slow=0.1")) == (
        "cheap=0,expensive=0,profile=0.5,slow=0.1"
    )
    assert predictor_cost(PredictorCost(cheap=1.0)).cheap == 1


TRUE = [  # load, what is told, and what the true load is
    ("--policy skip-predict --predictor-cost cheap=0.5,expensive=2,where=server --load .9", 0.9 * (1.5 + 2 * LONG)),
    ("--policy skip-predict --predictor-cost cheap=0.1,where=server --load .95", 0.95 * 1.1),
    ("--policy sprpt-paid --predictor-cost expensive=0.2,where=server --load .9", 0.9 * 1.2),
    ("--policy delay-predict --predictor-cost expensive=0.5,where=server --load .9", 0.9 * (1 + 0.5 * np.exp(-1))),
    ("--policy load-adaptive:at_least=9 --predictor-cost expensive=0.2,where=server --load .9", 0.9 * 1.2),
    ("--policy profile --predictor-cost profile=1,slow=0.5 --load .9", 0.9 * (2 - np.exp(-1))),
]


@slow_uncompiled
@pytest.mark.parametrize("command", ["simulate", "theory"])
@pytest.mark.parametrize(("options", "true"), TRUE)
def test_a_server_that_predictions_overload_is_refused_with_its_true_load(refused, command, options, true):
    line = refused(f"{command} {options}")
    said = float(line.split(" is ")[1].split()[0])
    assert said == pytest.approx(true, rel=1e-3) and "without end" in line


@slow_uncompiled
def test_prediction_servers_that_do_not_keep_up_are_refused_but_for_a_bypass(refused, run_json):
    costs = "--predictor-cost expensive=3,where=servers,servers=2 --load .8"
    assert "are a load of 1.2 to servers=2" in refused(f"simulate --policy sprpt-paid {costs}")
    found = run_json(f"simulate --policy bypass:limit=4 {costs} --jobs 20000")
    assert 0.5 < found["expensive_per_job"] < 2 / 3 / 0.8 + 0.01
    assert run_json(f"simulate --policy bypass:limit=4 {costs} --jobs 20000") | {"jobs_per_second": 0} == found | {
        "jobs_per_second": 0
    }


def test_the_command_line_finds_the_system_by_its_costs(run_json):
    options = f"--policy skip-predict:threshold=1 --predictor-cost {SERVER} --load 0.9 --jobs 2000"
    found, named = run_json(f"simulate {options}"), run_json(f"simulate predict {options}")
    assert found["system"] == "predict" and found["mean_response_time"] == named["mean_response_time"]
    assert found["cheap_per_job"] == 1 and found["expensive_per_job"] == pytest.approx(LONG, abs=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--policy skip-predict", "is a predicting policy: add --predictor-cost cheap=0.5,expensive=2"),
        ("--policy fcfs --predictor-cost cheap=-1", "--predictor-cost 'cheap=-1': cheap=-1 must be a number that"),
        ("--policy fcfs --predictor-cost cheep=1", "has no parameter 'cheep'; did you mean 'cheap'?"),
        ("--policy fcfs --predictor-cost cheap=x", "cheap='x' is not a number"),
        ("--policy fcfs --predictor-cost where=sever", "where='sever'; did you mean 'server'?"),
        ("--policy fcfs --predictor-cost servers=2", "servers=2 goes with where=servers"),
        ("--policy fcfs --predictor-cost where=servers,servers=0", "servers=0 must be from 1 to"),
        ("--policy fcfs --predictor-cost slow=1", r"slow=1 must lie in [0, 1)"),
        ("--policy fcfs --predictor-cost cheap=1 --cheap-predictor unifrm", "did you mean 'uniform'?"),
        ("--policy sprpt --predictor-cost cheap=1", "did you mean 'sprpt-paid'?"),
        ("--policy fcfs --predictor-cost cheap=1 --load 1.1", "load 1.1 is unstable"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(refused, options, words):
    assert words in refused(f"simulate {options} --jobs 100")


ENTRY = """from llmqueue_gym.policies.predicting import PredictingPolicy


def rank(job, stage, params):
    return job.klass + 10 * (stage.kind == 1)


def ask(job, stage, params):
    return 1 if stage.known == 0 else 0


policy = PredictingPolicy("mine", rank, ask, edges=EDGES, shape="constant")
"""


def test_an_entry_of_the_board_sets_its_classes(entry):
    among = boards("mg1")
    on, made = outside.read(entry(ENTRY.replace("EDGES", "(0.5, 2)"), board="predictions"), among)
    assert (on.name, made.player.edges) == ("predictions", (0.5, 2.0))
    run = Scenario("predict", n_jobs=500).simulate(made.player, 0)
    assert set(run.jobs["klass"]) == {0, 1, 2}
    for wrong in ("(2, 0.5)", "(0, 1)", "'many'", f"{(1.0,) * 17}"):
        with pytest.raises(BadInput, match=r"policy\.py|edges"):
            outside.read(entry(ENTRY.replace("EDGES", wrong), board="predictions"), among)


def test_a_bypass_on_the_server_is_not_taken_to_predict_everybody(run_json):
    # An arrival is predicted only where nobody waits for a prediction, so a third are: the load is 0.933, not 1.2.
    costs = "--predictor-cost expensive=0.5,where=server --load 0.8 --jobs 20000"
    found = run_json(f"simulate --policy bypass:limit=1 {costs}")
    assert found["expensive_per_job"] == pytest.approx(1 / 3, abs=0.02)
