"""Serving policies: every registered one is sound and drains; each does what its name says on a small instance."""

import numpy as np
import pytest
from crowded_replica import requests_of
from scipy.stats import lognorm

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.batching.tables import BATCH
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving import SERVING_POLICIES, fastserve, serving_policy
from llmqueue_gym.policies.serving.seconds import decode_seconds, prefill_seconds
from llmqueue_gym.profiles import PROFILES, Profile, profile
from llmqueue_gym.requests import DECODING, PREFILLING, REQUEST, SYSTEM, WAITING
from llmqueue_gym.systems.serve import serve

NAMES = list(SERVING_POLICIES)
GPU = Profile(
    name="gpu",
    model="any",
    gpu="any",
    form="roofline",
    numbers=np.array([0.01, 0.008, 2e-4, 1e-9, 1e-7]),  # s; 2048 tokens take 0.42 s
    kv_tokens=100_000,
    kv_bytes_per_token=1e5,
    source="made up for tests",
)
# One seat or many, a block for each token, and an iteration of 1 s: what happens can be counted on one's fingers.
SMALL = {"block_size": 1, "token_budget": 10_000}


def stream(n, rate, sigma=0.0, seed=0):
    """Return n requests, `rate` a second, with log-normal errors and intervals that hold the truth."""
    rng = np.random.default_rng(seed)
    outputs = np.minimum(rng.geometric(1 / 40, n), 300)
    arrivals, prompts = np.cumsum(rng.exponential(1 / rate, n)), rng.integers(1, 200, n)
    predicted = np.maximum(outputs * np.exp(sigma * rng.standard_normal(n)), 1.0)
    lower, upper = np.maximum(outputs * rng.uniform(0.3, 1, n), 1.0), outputs * rng.uniform(1, 2, n)
    return requests_of(arrivals, prompts, outputs, predicted, lower, upper, klass=rng.integers(0, 2, n))


def unit(n):
    return profile(f"unit:kv_tokens={n}")


def params_on(made, p, rules="vllm-v1"):
    return p.params_for(profile=made, rules=rule_set(rules).on(made.kv_tokens))


def finished_order(served):
    return np.argsort(served.outcome["completion"], kind="stable").tolist()


def row(dtype, **values):
    made = np.zeros(1, dtype)
    for key, value in values.items():
        made[key] = value
    return made.view(np.recarray)[0]


# Every policy.


@pytest.mark.parametrize("name", NAMES)
def test_all_functions_are_finite_on_a_grid(name):
    p = serving_policy(name)
    params = params_on(GPU, p)
    functions = [function for name in p.functions if (function := getattr(p, name)) is not None]
    assert np.isfinite(params).all()
    for status, generated in ((WAITING, 0), (WAITING, 9), (DECODING, 1), (DECODING, 100_000)):
        for predicted in (1.0, 80.5, 1e6):
            for clock in (0.0, 3.0, 1e6):
                request = row(
                    REQUEST,
                    prompt=500,
                    generated=generated,
                    computed=500 if status == DECODING else 0,
                    status=status,
                    predicted=predicted,
                    first_predicted=predicted,
                    lower=predicted,
                    upper=predicted,
                    weight=1.0,
                    scheduled=status == DECODING,
                )
                system = row(
                    SYSTEM, clock=clock, step_time=0.1, mean_step_time=0.1, free=10, blocks=50, iterations=1000
                )
                for note in (0.0, 1.0, 2.5, -3.0):
                    request.note = note
                    assert all(np.isfinite(f(request, system, params)) for f in functions)


@pytest.mark.parametrize("rules", ["vllm-v1", "sarathi"])
@pytest.mark.parametrize("name", NAMES)
def test_drains_under_tight_memory_and_keeps_its_books(name, rules):
    given = stream(120, 40, sigma=0.7, seed=3)
    served, again = (serve(given, name, GPU, rules, blocks=60) for _ in range(2))
    assert served.reason == "drained" and served.done.all()
    assert (served.jobs["generated"] == given.outputs).all()
    assert (served.jobs["blocks"] == 0).all() and served.totals["most_blocks"] <= 60
    assert served.totals["decode_tokens"] >= (given.outputs - 1).sum() - served.totals["preemptions"]
    assert (served.response_times > 0).all()
    assert served.jobs.tobytes() == again.jobs.tobytes() and served.totals["clock"] == again.totals["clock"]


@pytest.mark.parametrize(
    "spec",
    (
        *("trail:c=2", "trail:margin=-1", "ltr:quantum=0", "tie:sigma=-1", "tie:beta=-2"),
        *("gittins-lengths:sigma=0", "alpha-protect-like:alpha=1", "slai-like:target=0"),
    ),
)
def test_bad_parameters_are_told(spec):
    with pytest.raises(BadInput, match=spec.split(":")[1]):
        serving_policy(spec)


# Orders.


def test_sjf_orders_by_output_and_sjf_total_by_both_lengths():
    given = requests_of([0, 0, 0], [1, 9, 1], [5, 1, 3])
    assert finished_order(serve(given, "fcfs", unit(100), max_seqs=1, **SMALL)) == [0, 1, 2]
    assert finished_order(serve(given, "sjf", unit(100), max_seqs=1, **SMALL)) == [1, 2, 0]
    assert finished_order(serve(given, "sjf-total", unit(100), max_seqs=1, **SMALL)) == [2, 0, 1]


@pytest.mark.parametrize(
    ("name", "order", "preemptions"),
    [
        ("fcfs", [0, 1], 0),
        ("sjf", [0, 1], 0),
        ("vllm-priority", [0, 1], 0),
        ("sprpt", [1, 0], 1),
        ("srpt", [1, 0], 1),
        ("trail", [1, 0], 1),
        ("trail:c=0", [0, 1], 0),
        ("trail:c=0.05", [0, 1], 0),
        ("trail:margin=44", [0, 1], 0),
        ("las", [1, 0], 0),  # who is left out keeps its cache
        ("remaining-seconds:displaces=true", [1, 0], 1),
        ("memory-time:displaces=true", [1, 0], 1),
        ("gittins-lengths:displaces=true", [1, 0], 1),
        ("gittins-lengths", [0, 1], 0),
    ],
)
def test_who_displaces_a_long_request(name, order, preemptions):
    given = requests_of([0, 4.5], [1, 1], [50, 2])
    served = serve(given, name, unit(100), max_seqs=1, **SMALL)
    assert finished_order(served) == order and served.totals["preemptions"] == preemptions


def test_trail_lets_the_old_finish():
    young, old = (requests_of([0, t], [1, 1], [50, 2]) for t in (38.5, 41.5))
    assert finished_order(serve(young, "trail", unit(100), max_seqs=1, **SMALL)) == [1, 0]
    assert finished_order(serve(old, "trail", unit(100), max_seqs=1, **SMALL)) == [0, 1]
    assert finished_order(serve(old, "sprpt", unit(100), max_seqs=1, **SMALL)) == [1, 0]


def test_fastserve_demotes_and_skips_levels_by_prompt():
    given = requests_of([0, 0.105], [1, 1], [40, 5])
    assert finished_order(serve(given, "fcfs", GPU, max_seqs=1)) == [0, 1]
    served = serve(given, "fastserve", GPU, max_seqs=1)
    assert finished_order(served) == [1, 0] and served.totals["preemptions"] == 0
    cut = serve(requests_of([0], [1], [40]), "fastserve", GPU, horizon=0.1)
    assert 1 + 3 <= cut.jobs["note"][0] < 1 + 4  # quanta of 10, 20 and 40 ms are used up after 70 ms
    long_prompt = requests_of([0, 0], [300, 1], [5, 5])
    assert finished_order(serve(long_prompt, "fastserve", GPU, max_seqs=1)) == [1, 0]


def test_fastserve_takes_the_idle_back_to_the_front():
    request = row(REQUEST, prompt=10, note=5.25, last_scheduled=1.0)
    params = fastserve.prepare(GPU, None)
    due, early = (row(SYSTEM, clock=t, iterations=1000) for t in (4.0, 3.9))
    assert fastserve.progress(request, early, params) == 5.25
    assert fastserve.progress(request, row(SYSTEM, clock=9.0, iterations=1001), params) == 5.25
    request.note = fastserve.progress(request, due, params)
    assert fastserve.rank(request, due, params) < fastserve.rank(row(REQUEST, prompt=1), due, params)


def test_ltr_promotes_who_starves():
    given = requests_of([0, *range(0, 60, 2)], np.ones(31), [3, *[2] * 30])
    late, soon = (serve(given, f"ltr:starvation={n}", unit(100), max_seqs=1, **SMALL) for n in (1000, 5))
    assert late.outcome["first_token"][0] == 61.0
    assert soon.outcome["first_token"][0] == 6.0 and soon.outcome["completion"][0] == 8.0
    brief = serve(given, "ltr:starvation=5,quantum=2", unit(100), max_seqs=1, **SMALL)
    assert brief.jobs["longest_gap"][0] == 6.0  # two of its tokens, five left out, then the third
    assert soon.totals["preemptions"] == 0


def test_ssjf_and_tie_age():
    given = requests_of(np.arange(60), np.ones(60), [30, *[2] * 59])
    given.requests["arrival"][0] = given.requests["arrival"][1] = 0.0
    plain = serve(given, "sjf", unit(100), max_seqs=1, **SMALL).outcome["first_token"]
    aged = serve(given, "ssjf:longest_wait=20,stretch=1000", unit(100), max_seqs=1, **SMALL).outcome["first_token"]
    waits = serve(given, "tie:alpha=10", unit(100), max_seqs=1, **SMALL).outcome["first_token"]
    assert plain[0] == 119.0 and 20 < aged[0] <= 23 and waits[0] < plain[0]
    soon = serve(given, "ssjf", unit(100), max_seqs=1, **SMALL).outcome["first_token"]
    assert 7 < soon[0] <= 9  # ten times 0.1 + 0.02 * 30 s


def test_tie_is_mean_and_mean_of_the_worst_tenth():
    law = lognorm(0.7)
    worst = law.expect(lambda x: x, lb=law.ppf(0.9)) / 0.1
    assert serving_policy("tie:sigma=0.7,beta=1.5").params[0] == pytest.approx(law.mean() + 1.5 * worst, rel=1e-6)


def test_memory_time_is_the_sum_over_steps():
    p = serving_policy("memory-time")
    request = row(REQUEST, prompt=30, generated=4, predicted=11.0)
    assert p.rank(request, row(SYSTEM), np.zeros(0)) == sum(34 + k for k in range(1, 8))


# Seconds of a profile.


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "file"])
def test_seconds_are_those_of_the_engine(name):
    made = profile(name)
    form = FORMS.index(made.form)
    for tokens in (1, 60, 700, 3000, 20_000):
        batch = records(np.zeros(1, BATCH))
        batch["tokens"] = batch["prefill_tokens"] = tokens
        batch["prefills"], batch["pairs"], batch["squares"] = 1, tokens**2 / 2, tokens**2
        assert prefill_seconds(made, [tokens])[0] == pytest.approx(iteration_time(form, made.numbers, batch[0]))
    for decodes, context in ((1, 10), (20, 600), (96, 1500), (200, 5000)):
        batch = records(np.zeros(1, BATCH))
        batch["tokens"] = batch["decodes"] = decodes
        batch["context"] = decodes * context
        assert decode_seconds(made, decodes, context) == pytest.approx(iteration_time(form, made.numbers, batch[0]))
    for policy in ("remaining-seconds", "fastserve"):
        params = params_on(made, serving_policy(policy))
        assert (params >= 0).all() and params.any()


def test_remaining_seconds_puts_prompt_and_output_on_one_scale():
    p = serving_policy("remaining-seconds")
    params, system = params_on(GPU, p, "vllm-v1:max_seqs=50"), row(SYSTEM)
    token, square, write, read = params
    assert (token, square, write, read) == pytest.approx((2e-4, 5e-10, 0.008 / 50 + 2e-4, 1e-7), rel=1e-6)
    reads, writes = row(REQUEST, prompt=5000, predicted=10.0), row(REQUEST, prompt=10, predicted=300.0)
    assert p.rank(reads, system, params) > p.rank(writes, system, params)
    reads.computed = 4999
    assert p.rank(reads, system, params) < p.rank(writes, system, params)


# Memory.


def test_s3_reserves_and_doubles():
    served = serve(requests_of([0], [3], [10], upper=[4]), "s3-like", unit(40), **SMALL)
    assert served.totals["preemptions"] == 2 and served.totals["most_blocks"] == 3 + 16 - 1


def test_s3_packs_the_largest_first_and_goes_past_what_does_not_fit():
    pack = requests_of([0, 0, 0], [2, 2, 2], [3, 20, 9])  # reservations of 5, 22 and 11 in room for 27
    first = serve(pack, "s3-like", unit(27), **SMALL).outcome["first_token"]
    assert first.tolist() == [1.0, 1.0, 21.0]


def test_s3_never_preempts_inside_its_reservations():
    given = stream(120, 40)
    assert (given.requests["upper"] >= given.outputs).all()
    assert serve(given, "s3-like", GPU, blocks=60).totals["preemptions"] == 0


@pytest.mark.parametrize("name", ["mc-sf", "mc-fcfs", "a-max", "light-admission"])
@pytest.mark.parametrize("rules", [{"lookahead": 1, "block_size": 1, "blocks": 700}, {"blocks": 44}])
def test_looking_ahead_never_preempts_where_predictions_hold(name, rules):
    given = stream(120, 40)
    sizes = {"token_budget": 1 << 20, "max_seqs": 200}
    assert serve(given, "sjf", GPU, **rules, **sizes).totals["preemptions"] > 10
    served = serve(given, name, GPU, **rules, **sizes)
    assert served.totals["preemptions"] == 0 and served.done.all()


def test_mc_sf_fills_memory_to_the_last_token():
    # Both end in the same round and hold 2 * (2 + 5) tokens then, of which the last needs no room.
    given = requests_of([0, 0], [2, 2], [5, 5])
    assert serve(given, "mc-sf", unit(12), **SMALL).totals["clock"] == 5.0
    assert serve(given, "mc-sf", unit(11), **SMALL).totals["clock"] == 6.0  # one starts a round later
    assert serve(given, "mc-sf", unit(13), lookahead=1, **SMALL).totals["clock"] == 6.0
    assert serve(given, "mc-sf", unit(14), lookahead=1, **SMALL).totals["clock"] == 5.0


def test_a_min_evicts_the_smallest_and_learns():
    given = requests_of([0, 0], [1, 1], [12, 12], lower=[2, 4])
    served = serve(given, "a-min-like", unit(16), **SMALL)
    assert served.done.all()
    assert served.jobs["preemptions"][0] > 0 == served.jobs["preemptions"][1]


def test_alpha_protect_keeps_room():
    given = stream(120, 40)
    greedy, careful = (serve(given, p, GPU, blocks=60) for p in ("fcfs", "alpha-protect-like:alpha=0.3"))
    assert careful.totals["preemptions"] < greedy.totals["preemptions"]
    assert careful.system.bound_rules.watermark == 0.3


def test_slai_keeps_decodes_inside_their_target():
    given = requests_of([0, 0, 0, 0], [10, 6000, 6000, 6000], [100, 5, 5, 5])
    fcfs, slai = (serve(given, p, GPU) for p in ("fcfs", "slai-like"))
    assert fcfs.jobs["longest_gap"][0] > 0.4
    assert slai.jobs["longest_gap"][0] <= 0.2 and slai.totals["preemptions"] == 0
    paid = requests_of([0, 0.5, 0.5], [2000, 100, 300], [3, 3, 3], klass=[0, 0, 1])
    assert serve(paid, "slai-like", GPU, max_seqs=1).outcome["first_token"].argsort().tolist()[-1] == 1


def test_slai_lets_prompts_before_decodes_that_are_not_due():
    p = serving_policy("slai-like")
    params = params_on(GPU, p)
    decode = row(REQUEST, status=DECODING, prompt=10, generated=3, computed=12, last_token=5.0)
    paused = row(REQUEST, status=PREFILLING, prompt=900, computed=512, arrival=4.0)
    short, long, paying = (row(REQUEST, status=WAITING, prompt=n, klass=k) for n, k in ((9, 0), (99, 0), (999, 1)))

    def order(clock, free):
        system = row(SYSTEM, clock=clock, mean_step_time=0.01, free=free, blocks=1000, running=5)
        rows = {"decode": decode, "paused": paused, "short": short, "long": long, "paying": paying}
        return sorted(rows, key=lambda name: p.rank(rows[name], system, params))

    assert order(5.1, 500) == ["paused", "paying", "short", "long", "decode"]
    assert order(5.15, 500) == ["decode", "paused", "paying", "short", "long"]
    # Nearly full: decodes are due ten iterations before their target instead of five.
    assert order(5.11, 8)[0] == "decode"


# A first comparison.


def test_knowing_lengths_helps_under_overload():
    given = stream(400, 60, seed=5)
    means = {p: serve(given, p, GPU, blocks=60).response_times.mean() for p in NAMES}
    best = ("sjf", "sprpt", "srpt", "trail", "ltr", "mc-sf", "remaining-seconds", "memory-time", "gittins-lengths")
    assert all(means[name] < 0.9 * means["fcfs"] for name in best)
    assert means["mc-sf"] < means["mc-fcfs"] and means["s3-like"] > means["sjf"]
