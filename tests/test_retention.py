"""Policies of contexts whose programs are away: formulas by hand, decisions in the engine's pass, published tables."""

import gzip
import math
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest
from fidelity import apicalls
from recorded import recorded

from llmqueue_gym._jit import records
from llmqueue_gym.distributions import size_law
from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.retention import decide, settle
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies import NOTHING, PREDICTION
from llmqueue_gym.policies.retention import RETENTION_POLICIES, RetentionPolicy, retention_policy
from llmqueue_gym.policies.retention.costs import PUBLISHED, costs_of
from llmqueue_gym.policies.retention.crossings import crossings
from llmqueue_gym.policies.retention.waste import discard_waste, swap_in_blocks, swap_out_blocks, swap_waste, wastes_by
from llmqueue_gym.policies.serving.lamps import area, memory_time, rank
from llmqueue_gym.profiles import profile
from llmqueue_gym.requests import AWAY, DISCARD, PRESERVE, SWAP, SYSTEM
from llmqueue_gym.theory.retention import best_time, expected_cost

FACTS = {
    "profile": profile("a100-llama3-8b"),
    "rules": rule_set("vllm-v1:token_budget=2048"),
    "gap": size_law("hyperexponential:mean=4,p=0.7,ratio=50"),
}


def contexts(n, **columns):
    """Return contexts of one block of 16 tokens that have just gone away for 10 s, but for the columns given."""
    rows = np.zeros(n, AWAY)
    usual = {"blocks": 1, "block_size": 16, "predicted_gap": 10.0, "strategy": np.nan, "stored": np.nan}
    for name, values in {**usual, **columns}.items():
        rows[name] = values
    rows["context"], rows["elapsed"] = rows["blocks"] * rows["block_size"], rows["clock"] - rows["since"]
    return rows


def asked(policy, rows, blocks=1000):
    """Return what a policy says of contexts in the engine's pass, and who goes first."""
    system = np.zeros(1, SYSTEM)
    system["blocks"] = blocks
    kept, first, params = np.zeros(len(rows)), np.zeros(len(rows), bool), policy.params_for(**FACTS)
    keep, waste, *_ = policy.compiled()
    decide(records(rows), records(system)[0], keep, waste, policy.ranked, params, kept, first)
    policy.refuse_failure(params)
    return kept.tolist(), first.tolist()


# Formulas.


def test_discard_by_hand():
    # Chunks of 384 - 84 = 300 tokens, of which 1000 are four, three to come; the last has 100; f(384) = 26.1136 ms.
    full, chunk, last = 0.0261136, 0.00837, 0.00279
    expected = full * 6 * 300 + chunk * 3 * 5000 + last * 5100
    assert discard_waste(1000, 84, 5000, 0.0279, 15.4, 384) == pytest.approx(expected, rel=1e-14)
    assert discard_waste(0, 84, 5000, 0.0279, 15.4, 384) == 0
    # One token at a time where the budget is used up: n = 9, none left over.
    assert discard_waste(10, 400, 0, 0.0279, 15.4, 384) == pytest.approx(full * 45, rel=1e-14)


def test_swap_by_hand():
    # (.181 384 + 22.5) ms for each of three chunks, and .136 300 ms each way for those who run.
    expected = 0.092004 * 3 * 1000 + 0.0408 * 3 * 5000 * 2
    assert swap_waste(1000, 84, 5000, 0.181, 22.5, 0.136, 384) == pytest.approx(expected, rel=1e-14)


def test_both_wastes_by_costs():
    published, own = PUBLISHED["lamps"], costs_of(FACTS["profile"], FACTS["rules"])
    again, moved = wastes_by(1000, 84, 5000, published)
    assert again == discard_waste(1000, 84, 5000, 0.0463, 10, 384)
    assert moved == swap_waste(1000, 84, 5000, 0.181, 22.5, 0.136, 384)
    # 128 KiB a token on a link of 32 GB/s: 4.096 ms for the context each way, and 6,000 tokens that wait or are moved.
    assert wastes_by(1000, 84, 5000, own)[1] == pytest.approx(2 * 0.004096 * 6000, rel=1e-12)


def test_limits_of_swaps_by_hand():
    # In: -126.61 + 93.99 + 500 = 467.38 tokens; out: 257.39 + 93.99 - 500 < 0; with nothing free 351.38 go out.
    assert (swap_in_blocks(1000, 16), swap_out_blocks(1000, 16)) == (29.0, 0.0)
    assert (swap_in_blocks(0, 16), swap_out_blocks(0, 16)) == (0.0, 21.0)


def test_rank_by_hand():
    # 10 and 4 blocks of 64, chunks of 100 tokens: 7, 3 and 9 of them; a full iteration takes 48.4 ms.
    before, after, both = (0.0484 * 100 * m * (m + 1) / 2 for m in (7, 3, 9))
    call = {"prompt": 500, "predicted": 140, "returned": 100, "gap": 2.0, "scheduled": 284}
    assert area(10, 284) == pytest.approx(before, rel=1e-14)
    for left, strategy, expected in (
        (1, PRESERVE, before + 1280 + after),
        (0, PRESERVE, before + 1280 + after),
        (1, DISCARD, before + both),
        (0, DISCARD, both),
        (1, SWAP, before + 25 + 0.2 + 25 + after),
        (0, SWAP, 25 + after),
    ):
        assert memory_time(**call, calls_left=left, strategy=strategy) == pytest.approx(expected, rel=1e-14)
        if left:
            request = SimpleNamespace(**call, strategy=strategy)
            assert rank(request, SimpleNamespace(running=284), np.zeros(0)) == pytest.approx(expected, rel=1e-14)
    last = SimpleNamespace(
        **{**call, "gap": -1.0, "returned": 0.0}, strategy=DISCARD
    )  # nobody goes on with its context
    assert rank(last, SimpleNamespace(running=284), np.zeros(0)) == pytest.approx(both, rel=1e-14)


# Decisions.


def test_infercept_discards_all_candidates_but_the_worst():
    rows = contexts(4, blocks=[10, 20, 30, 5], predicted_gap=[60.0, 60.0, 60.0, 0.001])
    assert asked(retention_policy("infercept"), rows) == (
        [DISCARD, DISCARD, PRESERVE, PRESERVE],
        [False, False, True, False],
    )
    # Of one candidate nothing is dropped; whose time is over is none, and those alike go first together.
    assert asked(retention_policy("infercept"), rows[:1]) == ([PRESERVE], [True])
    late = contexts(1, clock=20.0, since=5.0)
    assert asked(retention_policy("infercept"), late) == ([PRESERVE], [False])
    assert asked(retention_policy("infercept"), contexts(2)) == ([PRESERVE] * 2, [True] * 2)


def test_infercept_looks_again_as_time_passes():
    rows = contexts(2, blocks=[10, 20], predicted_gap=20.0)
    assert asked(retention_policy("infercept"), rows)[0][0] == DISCARD
    rows["clock"] = rows["elapsed"] = 19.999
    assert asked(retention_policy("infercept"), rows) == ([PRESERVE] * 2, [False] * 2)
    assert retention_policy("infercept").again and not retention_policy("ttl").again


def test_infercept_swaps_as_much_as_memory_asks_for():
    policy = retention_policy("infercept")
    row = contexts(1, free=10).view(np.recarray)[0]
    assert policy.swap_in(row, None, None) == swap_in_blocks(160, 16) == 2
    assert policy.swap_out(row, None, None) == swap_out_blocks(160, 16) == 16


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("infercept-h-s", [PRESERVE, SWAP, SWAP, SWAP]),
        ("infercept-h-d", [PRESERVE, PRESERVE, PRESERVE, DISCARD]),
        ("infercept-h-b", [PRESERVE, SWAP, SWAP, DISCARD]),
        ("infercept-h-b:swap=5,discard=6", [PRESERVE, PRESERVE, DISCARD, DISCARD]),
        ("preserve", [PRESERVE] * 4),
        ("discard", [DISCARD] * 4),
        ("swap", [SWAP] * 4),
        ("ttl:seconds=5", [5.0] * 4),
    ],
)
def test_fixed_policies_go_by_the_predicted_time(spec, expected):
    assert asked(retention_policy(spec), contexts(4, predicted_gap=[3.999, 4.0, 6.999, 7.0]))[0] == expected


def settled(policy, rows):
    params = policy.params_for(**FACTS)
    _, waste, fix, *_ = policy.compiled()
    settle(records(rows), records(np.zeros(1, SYSTEM))[0], fix, waste, params)
    return rows


def test_lamps_fixes_the_least_waste_and_does_so_below_the_largest():
    rows = settled(retention_policy("lamps"), contexts(3, blocks=[40, 50, 60], predicted_gap=[0.0, 60.0, 90.0]))
    assert rows["strategy"].tolist() == [PRESERVE, DISCARD, DISCARD]
    assert rows["stored"][0] == 0 and (np.diff(rows["stored"]) > 0).all()
    rows["predicted_gap"], rows["scheduled"] = 0.0, 300  # what is fixed stays
    assert asked(retention_policy("lamps"), rows) == ([PRESERVE, DISCARD, PRESERVE], [False, False, True])


def test_lamps_never_swaps_with_its_own_costs_and_does_with_those_of_a_replica(monkeypatch):
    rng = np.random.default_rng(0)
    columns = {"blocks": rng.integers(1, 1500, 500), "predicted_gap": rng.exponential(10, 500)}
    columns |= {"scheduled": rng.integers(0, 500, 500), "held": 16 * rng.integers(0, 3000, 500)}
    published = settled(retention_policy("lamps"), contexts(500, **columns))["strategy"]
    assert (published == PRESERVE).any() and (published == DISCARD).any() and not (published == SWAP).any()
    # A slow link and a budget that may be used up, so that neither discarding nor swapping is always better.
    monkeypatch.setitem(FACTS, "rules", rule_set("vllm-v1:token_budget=2048,bandwidth=3e9"))
    columns["scheduled"] = rng.integers(0, 2048, 500)
    own = settled(retention_policy("lamps:costs=profile"), contexts(500, **columns))["strategy"]
    assert set(own) == {PRESERVE, DISCARD, SWAP}


def test_crossings_are_where_the_least_waste_changes():
    costs = costs_of(FACTS["profile"], FACTS["rules"])
    for context, load, held in ((16, 0, 0), (4096, 100, 50_000), (32_000, 2000, 200_000)):
        found = crossings(costs, context, load, held)
        columns = {"blocks": context // 16, "scheduled": load, "held": held}
        gaps = found.first * np.array([1 - 1e-9, 1 + 1e-9, 1000])
        fixed = settled(retention_policy("lamps:costs=profile"), contexts(3, predicted_gap=gaps, **columns))["strategy"]
        other = SWAP if found.after == "swap" else DISCARD
        assert fixed.tolist() == [PRESERVE, other, other]
    published = crossings(PUBLISHED["lamps"], 1024)
    assert published.after == "discard" and published.discard < published.swap
    with pytest.raises(BadInput, match="context=0"):
        crossings(costs, 0)


def test_costs_of_a_replica_are_those_of_its_profile():
    costs, seconds = costs_of(FACTS["profile"], FACTS["rules"]), FACTS["profile"].numbers
    token = FACTS["profile"].kv_bytes_per_token / FACTS["rules"].bandwidth
    assert costs.one_way == pytest.approx(1000 * token) and costs.both_ways == 0 and costs.budget == 2048
    floor, base, each, pair, _ = seconds
    full = max(floor, base + each * 2048) + pair * 2048**2 / 2
    assert costs.per_token * 2048 + costs.base == pytest.approx(1000 * full)


def test_thunder_agent_drops_the_smallest_where_memory_is_nearly_full():
    rows = contexts(3, blocks=[9, 4, 7], free=51)
    policy = retention_policy("thunder-agent-like")
    assert asked(policy, rows) == ([PRESERVE] * 3, [False, True, False])
    rows["free"] = 50
    assert asked(policy, rows) == ([PRESERVE, DISCARD, PRESERVE], [False] * 3)


def test_time_to_live_counts_from_the_end_of_the_call():
    assert asked(retention_policy("ttl:seconds=3"), contexts(2, clock=[4.0, 8.0], since=2.0))[0] == [1.0, 0.0]


# The best time to live.


def test_the_best_time_to_live_for_one_break_even_time_is_exact():
    law = FACTS["gap"]
    for even in (0.1, 2.0, 8.0, 200.0):
        exact = best_time(law, 1.0, even).seconds
        spec = "hyperexponential:mean=4;p=0.7;ratio=50"
        for policy in (
            retention_policy(f"ttl-optimal:gap={spec},even={even}"),
            retention_policy(f"ttl-optimal:even={even}"),
        ):
            assert asked(policy, contexts(1))[0] == [exact]


@pytest.mark.parametrize("drop", ["discard", "swap"])
def test_the_best_time_to_live_of_each_context(drop):
    policy, costs = retention_policy(f"ttl-optimal:drop={drop}"), costs_of(FACTS["profile"], FACTS["rules"])
    blocks = np.array([1, 20, 200, 2000])
    rows = contexts(4, blocks=blocks, held=100_000, scheduled=1500)
    kept, _ = asked(policy, rows)
    some = 0
    for context, seconds in zip((16 * blocks).tolist(), kept, strict=True):
        found = crossings(costs, context, 1500, 100_000)
        even = found.discard if drop == "discard" else found.swap
        least = best_time(FACTS["gap"], 1.0, even).cost
        assert least <= expected_cost(FACTS["gap"], max(seconds, 0.0), 1.0, even) <= least * (1 + 1e-4)
        some += 0 < seconds < PRESERVE
    assert some > 1
    rows["clock"] = rows["elapsed"] = 1e6
    late, _ = asked(policy, rows)
    assert late == [SWAP if drop == "swap" else DISCARD] * 4


# The table of policies.


@pytest.mark.parametrize("name", list(RETENTION_POLICIES))
def test_every_policy_compiles_answers_everywhere_cites_and_pickles(name):
    policy = retention_policy(name)
    assert policy.source and policy.name == name and pickle.loads(pickle.dumps(policy)).name == name
    rng = np.random.default_rng(1)
    rows = contexts(400, blocks=rng.integers(0, 3000, 400), clock=rng.exponential(10, 400))
    rows["predicted_gap"] = rng.choice([0.0, 1e-3, 5.0, 1e4, np.inf], 400)
    rows["scheduled"], rows["held"] = rng.choice([0, 383, 384, 9000], 400), rng.choice([0, 16, 10**6], 400)
    rows["free"], rows["calls_left"] = rng.integers(0, 1000, 400), rng.integers(0, 3, 400)
    kept, _ = asked(policy, rows)
    assert all(answer >= 0 or answer == SWAP for answer in kept)
    if policy.fix is not None:
        assert set(settled(policy, rows)["strategy"]) <= {DISCARD, PRESERVE, SWAP}


def test_what_policies_are_told():
    told = {name: retention_policy(name).told for name in RETENTION_POLICIES}
    knows = {name for name, what in told.items() if what == PREDICTION}
    assert knows == {"infercept", "infercept-h-s", "infercept-h-d", "infercept-h-b", "lamps"}
    assert {told[name] for name in told.keys() - knows} == {NOTHING}


def test_a_plain_function_is_a_policy_and_the_truth_is_not_there():
    def by_size(away, system, params):
        return 2.0 if away.context > 100 else 0.0

    def reads_the_truth(away, system, params):
        return away.gap

    assert asked(retention_policy(by_size), contexts(2, blocks=[1, 10])) == ([0.0, 2.0], [False] * 2)
    with pytest.raises(BadInput, match=re.escape("away.gap, which does not exist")):
        retention_policy(reads_the_truth)
    with pytest.raises(BadInput, match=re.escape("keep(away, system, params)")):
        retention_policy(lambda away: 0.0)


def test_a_function_that_gives_no_number_is_named():
    policy = RetentionPolicy("odd", lambda away, system, params: away.elapsed * math.nan)
    with pytest.raises(BadInput, match="NaN"):
        asked(policy, contexts(1))


@pytest.mark.parametrize(
    "spec",
    [
        "ttl:seconds=-1",
        "infercept:costs=mine",
        "lamps:costs=infercept",
        "infercept-h-b:swap=8,discard=7",
        "infercept-h-s:seconds=-1",
        "thunder-agent-like:share=0",
        "ttl-optimal:drop=burn",
        "ttl-optimal:even=-1",
        "ttl-optimal:gap=exponentia",
    ],
)
def test_bad_numbers_are_refused(spec):
    with pytest.raises(BadInput):
        retention_policy(spec)


# The tables of the projects' own code.


@pytest.mark.parametrize("compare", apicalls.TABLES, ids=lambda compare: compare.__name__)
def test_tables_of_the_projects_own_code(compare):
    good, words = apicalls.verdict(apicalls.read(recorded("apicalls"), compare.__name__)[:150], compare)
    assert good, words


def run(monkeypatch, folder):
    monkeypatch.setattr("sys.argv", ["apicalls.py", str(folder)])
    return apicalls.main()


def write(folder, **changed):
    """Write a table of a row or two for each comparison, worked out by hand, but for what is changed."""
    tables = {
        "infercept_waste": "block_size,ctx_blocks,running_tokens,running_blocks,api_remaining_s,preserve,discard\n"
        "16,1,384,10,2.5,40.0,3.200592\n",
        "infercept_swap_budget": "block_size,free_tokens,batch_max_tokens,max_swap_in_blocks,max_swap_out_blocks\n"
        "16,1000,384,29.0,0\n",
        "infercept_decisions": "block_size,running_blocks_tokens,paused_id_blocks_exec_calltime,now,discarded_now,"
        'kept_as_victims\n16,[],"[[""a"", 10, 60.0, 99.0], [""b"", 20, 60.0, 99.0]]",100.0,"[""a""]","[""b""]"\n',
        "mars_waste_rank": "block_size,prompt,pred_pre_api_tokens,pred_api_s,api_return_tokens,api_calls_left,"
        "running_tokens,running_blocks,preserve,discard,swap,strategy,score_preserve,score_recompute,score_swap\n"
        "16,16,0,1.0,0,1,0,0,16.0,0.0118528,1.472064,recompute,101.1712,37.1712,37.7712\n",
        "mars_decisions": "paused_id_strategy_waste,discarded_now,swapped_now,kept_as_victims\n"
        '"[[""a"", ""recompute"", 1.0], [""b"", ""swap"", 2.0], [""c"", ""preserve"", 3.0]]",'
        '"[""a""]","[""b""]","[""c""]"\n',
    }
    for name, text in {**tables, **changed}.items():
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    return tables


def test_the_command_on_tables_worked_out_by_hand(monkeypatch, tmp_path, capsys):
    tables = write(tmp_path)
    assert run(monkeypatch, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(tables) and all("1 rows" in line for line in lines)
    for name, text in tables.items():  # a digit or a decision that is wrong is seen
        wrong = text.replace("3.200592", "3.20059200001").replace("29.0", "28.0").replace("37.7712", "37.7713")
        wrong = wrong.replace('"[""b""]"', "[]")
        assert wrong != text
        write(tmp_path, **{name: wrong})
        assert run(monkeypatch, tmp_path) == 1, name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "block_size,ctx_blocks\n",
        "block_size,ctx_blocks\n16,1\n",
        "block_size,ctx_blocks,running_tokens,running_blocks,api_remaining_s,preserve,discard\n16,x,0,0,1,1,1\n",
        "block_size,ctx_blocks,running_tokens,running_blocks,api_remaining_s,preserve,discard\n16\n",
    ],
)
def test_a_bad_table_is_one_line_and_status_2(monkeypatch, tmp_path, capsys, text):
    write(tmp_path, infercept_waste=text)
    assert run(monkeypatch, tmp_path) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "infercept_waste" in error


def test_no_tables_are_one_line_and_status_2(monkeypatch, tmp_path, capsys):
    (tmp_path / "infercept_waste.csv.gz").write_bytes(b"no gzip")
    assert run(monkeypatch, tmp_path) == 2
    assert run(monkeypatch, tmp_path / "nowhere") == 2
    assert capsys.readouterr().err.count("\n") == 2
