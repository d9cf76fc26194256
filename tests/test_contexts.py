"""Who shares a prefix with whom: told by traces, made by laws, kept where rows are picked, counted by brute force."""

import gzip
import json

import numpy as np
import pytest
from recorded import recorded

from llmqueue_gym import Scenario
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import OUTPUT
from llmqueue_gym.systems.serve import as_drawn
from llmqueue_gym.workloads.contexts import (
    beginnings,
    filled,
    of_blocks,
    of_sessions,
    picked,
    repeated_tokens,
    retold,
    shared_share,
    shared_tokens,
)
from llmqueue_gym.workloads.requests import RequestWorkload, TraceRequests, draw_requests, length_law
from llmqueue_gym.workloads.traces import load_trace

SHARING = ["prefixes:texts=3,prefix=50,own=constant:prompt=5;output=3", "few-shot:own=constant", "chats:prefix=20"]


def tokens_of(contexts, i, output=0):
    """Return the tokens of a prompt one by one, each a text and a place in it, and of an output behind it."""
    rows = contexts.segments[contexts.first[i] : contexts.first[i + 1]].tolist()
    said = [(text, start + k) for text, start, length in rows for k in range(length)]
    return said + [(int(contexts.output[i]), k) for k in range(output)]


def common(a, b):
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def by_brute_force(contexts, outputs):
    past, found = [], []
    for i in range(len(contexts.output)):
        mine = tokens_of(contexts, i)
        found.append(max((common(mine, other) for other in past), default=0))
        past.append(tokens_of(contexts, i, int(outputs[i])))
    return found


def test_blocks_with_equal_leading_names_are_shared():
    made = of_blocks([["a", "b"], ["a", "c", "d"], ["a"], []], np.array([6, 10, 9, 3]), 4)
    assert made.segments.tolist() == [
        *((0, 0, 4), (1, 0, 2)),
        *((0, 0, 4), (2, 0, 4), (3, 0, 2)),
        *((0, 0, 4), (4, 0, 5)),  # what has no name belongs to the prompt alone
        (5, 0, 3),
    ]
    assert made.first.tolist() == [0, 2, 5, 7, 8] and made.output.tolist() == [OUTPUT + i for i in range(4)]
    assert repeated_tokens(made).tolist() == [0, 4, 4, 0]
    cut = of_blocks([["a", "b", "c"]], np.array([3]), 4)  # names beyond the prompt
    assert cut.segments.tolist() == [(0, 0, 3)]


def test_calls_of_a_session_go_on_from_what_was_said():
    prompts, outputs = np.array([10, 17, 12, 5, 20]), np.array([4, 2, 1, 1, 1])
    made = of_sessions(list("sssst"), np.arange(5), prompts, outputs)
    said = [tokens_of(made, i, int(outputs[i])) for i in range(5)]
    assert said[1][:14] == said[0]  # prompt and answer
    assert common(said[2], said[1]) == 0  # shorter than the prompt before: nothing is known
    assert common(said[3], said[2]) == 0 and common(said[4], said[0]) == 0
    between = of_sessions(list("ss"), np.arange(2), np.array([10, 12]), np.array([4, 1]))
    assert tokens_of(between, 1)[:10] == tokens_of(between, 0) and repeated_tokens(between).tolist() == [0, 10]
    assert len(between.segments) == 2  # adjoining pieces of one text are one


def test_told_prefixes_are_of_the_last_context_that_is_long_enough():
    prompts, outputs = np.array([10, 6, 12, 9]), np.array([5, 1, 1, 1])
    made = of_sessions(list("ssss"), np.array([0, 1, 2, 3]), prompts, outputs, np.array([3, 4, 12, 40]))
    assert repeated_tokens(made).tolist() == [0, 4, 12, 9]
    assert common(tokens_of(made, 2), tokens_of(made, 0, 5)) == 12
    backwards = of_sessions(list("ss"), np.array([1, 0]), np.array([6, 5]), np.array([1, 1]))
    assert common(tokens_of(backwards, 0), tokens_of(backwards, 1, 1)) == 6


@pytest.mark.parametrize("seed", range(20))
def test_what_repeats_is_what_brute_force_finds(seed):
    rng = np.random.default_rng(seed)
    n, outputs = 30, rng.integers(1, 6, 30)
    prompts = rng.integers(1, 30, n)
    sessions = rng.integers(3, size=n).tolist()
    prefixes = rng.integers(0, 30, n) if seed % 2 else None
    made = of_sessions(sessions, np.arange(n), prompts, outputs, prefixes)
    assert [len(tokens_of(made, i)) for i in range(n)] == prompts.tolist()
    assert repeated_tokens(made).tolist() == by_brute_force(made, outputs)
    rows = rng.integers(n, size=40)
    some = picked(made, rows)
    assert [tokens_of(some, k, 1) for k in range(40)] == [tokens_of(made, i, 1) for i in rows]
    assert repeated_tokens(some).tolist() == by_brute_force(some, outputs[rows])
    assert shared_share(some) == repeated_tokens(some).sum() / prompts[rows].sum()
    for given, length in ((made, outputs), (some, outputs[rows])):
        wholes = [tokens_of(given, i, int(length[i])) for i in range(len(length))]
        best = [max(common(mine, other) for j, other in enumerate(wholes) if j != i) for i, mine in enumerate(wholes)]
        assert shared_tokens(given, length).tolist() == best


@pytest.mark.parametrize("seed", range(4))
def test_contexts_told_again_share_within_a_time_and_not_between_times(seed):
    rng = np.random.default_rng(seed)
    outputs, prompts = rng.integers(1, 6, 20), rng.integers(1, 30, 20)
    made = picked(of_sessions(rng.integers(3, size=20).tolist(), np.arange(20), prompts, outputs), np.arange(5, 20))
    again = retold(made, 3)
    assert [len(tokens_of(again, i)) for i in range(45)] == np.tile(prompts[5:], 3).tolist()
    assert repeated_tokens(again).tolist() == np.tile(repeated_tokens(made), 3).tolist()
    assert len(np.unique(again.output)) == 45 and (again.output >= OUTPUT).all()


def test_pieces_split_where_others_fork():
    """Within one text, at any token, whichever comes first."""
    names = [["t"], ["t"], ["t"], ["t"]]
    for lengths in ([9, 4, 6, 9], [4, 9, 6, 2]):
        made = filled(of_blocks(names, np.array(lengths), 16), np.array(lengths) + 3)
        assert repeated_tokens(made).tolist() == by_brute_force(made, np.ones(4, int))


# Traces.


def test_a_trace_in_compact_form_tells_blocks_sessions_and_clients(tmp_path):
    head, file = "arrival_s,prompt_tokens,output_tokens", tmp_path / "t.csv"
    file.write_text(f"{head},hash_ids,client\n0,600,5,7 8,0\n1,700,5,7 9,3\n1.5,700,5,,3\n")
    trace = load_trace(file)
    assert repeated_tokens(trace.contexts).tolist() == [0, 512, 0] and trace.tenant.tolist() == [0, 3, 3]
    assert repeated_tokens(load_trace(file, block=100).contexts).tolist() == [0, 100, 0]
    file.write_text(f"{head},session\n0,600,5,a\n1,700,5,a\n1.5,700,5,b\n")
    assert repeated_tokens(load_trace(file).contexts).tolist() == [0, 605, 0]
    file.write_text(f"{head}\n0,600,5\n")
    assert load_trace(file).contexts is None
    file.write_text(f"{head},hash_ids\n0,600,5,\n")
    assert load_trace(file).contexts is None
    with pytest.raises(BadInput, match="block=0 must be from 1"):
        load_trace(file, block=0)


def test_json_traces_tell_blocks_and_clients(tmp_path):
    file = tmp_path / "t.jsonl"
    row = {"timestamp": 0, "input_length": 1000, "output_length": 3, "hash_ids": [1, 2]}
    file.write_text("\n".join(json.dumps(row | {"hash_ids": ids}) for ids in ([1, 2], [1, 3])))
    assert repeated_tokens(load_trace(file, spread=False).contexts).tolist() == [0, 512]
    for wrong in (5, {"a": 1}, [[1]], [1.5]):
        file.write_text(json.dumps(row | {"hash_ids": wrong}))
        with pytest.raises(BadInput, match=r"row 1, column 'hash_ids': .* is not a list of numbers"):
            load_trace(file)
    row = {"req_time": 0.5, "prompt_len": 3, "output_len": 4, "adapter_dir": "dummy-lora-7b-rank-8-13"}
    file.write_text(json.dumps(row))
    assert load_trace(file).tenant.tolist() == [13]


def test_rounds_of_tracelab_share_what_they_say(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(
        "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"
        "0,100,0,0,20,5,3000\n1,900,0,0,30,5,1\n0,100,1,25,10,4,0\n0,100,2,30,1,1,0\n"
    )
    trace = load_trace(file)
    assert trace.prompt_tokens.tolist() == [20, 30, 35, 31]
    assert repeated_tokens(trace.contexts).tolist() == [0, 0, 25, 30]
    assert tokens_of(trace.contexts, 2)[:25] == tokens_of(trace.contexts, 0, 5)


@pytest.mark.parametrize(("name", "rows"), [("conversation", 12_031), ("synthetic", 3_993)])
def test_mooncake_shares_as_many_tokens_as_its_blocks_say(name, rows):
    file = recorded("traces", "data", f"mooncake_{name}.csv.gz")
    trace = load_trace(file)
    assert len(trace) == rows
    with gzip.open(file, "rt") as stream:
        next(stream)
        listed = [line.rstrip("\n").split(",") for line in stream]
    seen, total = set(), 0
    for _, prompt, _, ids in listed:
        names = ids.split()
        fresh = next((k for k, name in enumerate(names) if name not in seen), len(names))
        total += min(512 * fresh, int(prompt))
        seen.update(names)
    assert repeated_tokens(trace.contexts).sum() == total
    assert shared_share(trace.contexts) == pytest.approx({"conversation": 0.3736, "synthetic": 0.6512}[name], abs=5e-5)


# Workloads.


def a_trace(tmp_path, rows=40):
    file = tmp_path / "t.csv"
    lines = [f"{i},{0 if i == 4 else 30 + i},{i % 7},{i % 3} {10 + i % 5},{i % 2}" for i in range(rows)]
    file.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens,hash_ids,client", *lines]))
    return load_trace(file, block=16)


@pytest.mark.parametrize("given", [{}, {"order": "first"}, {"order": "bootstrap"}, {"max_tokens": 60}])
def test_picked_rows_keep_their_texts(tmp_path, given):
    trace = a_trace(tmp_path)
    workload = TraceRequests.from_trace(trace, **given)
    most = given.get("max_tokens", np.inf)
    kept = np.flatnonzero((trace.output_tokens > 0) & (trace.prompt_tokens + trace.output_tokens <= most))
    drawn = draw_requests(workload, "exact", 15, 3)
    assert len(drawn.contexts.output) == 15
    for k in range(15):
        row = int(drawn.contexts.output[k] - OUTPUT)  # of the trace
        assert row in kept and drawn.outputs[k] == trace.output_tokens[row]
        assert drawn.requests["tenant"][k] == row % 2
        assert drawn.requests["prompt"][k] == max(trace.prompt_tokens[row], 1) == len(tokens_of(drawn.contexts, k))
        if trace.prompt_tokens[row]:
            assert tokens_of(drawn.contexts, k) == tokens_of(trace.contexts, row)
    with pytest.raises(BadInput, match="must be lists of one length"):
        TraceRequests(np.arange(3), np.ones(3), np.ones(3), contexts=trace.contexts)


@pytest.mark.parametrize("spec", SHARING)
def test_laws_that_share_are_reproducible_and_within_bounds(spec):
    workload = RequestWorkload(spec, 2.0, max_tokens=1500)
    one, other = (draw_requests(workload, model, 300, 5) for model in ("exact", "lognormal:sigma=0.5"))
    for a, b in zip(one.contexts, other.contexts, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.requests["prompt"] + one.outputs <= 1500).all() and (np.diff(one.requests["arrival"]) >= 0).all()
    lengths = np.add.reduceat(one.contexts.segments["length"], one.contexts.first[:-1])
    np.testing.assert_array_equal(lengths, one.requests["prompt"])
    assert (one.contexts.segments["length"] > 0).all() and len(set(one.contexts.output)) == 300
    assert repeated_tokens(picked(one.contexts, np.arange(60))).tolist() == by_brute_force(
        picked(one.contexts, np.arange(60)), one.outputs
    )
    faster = draw_requests(RequestWorkload(spec, 4.0, max_tokens=1500), "exact", 300, 5)
    np.testing.assert_allclose(faster.requests["arrival"] * 2, one.requests["arrival"])
    np.testing.assert_array_equal(faster.contexts.segments, one.contexts.segments)


def test_system_prompts_are_as_popular_as_zipf_says():
    law = length_law("prefixes:texts=4,zipf=1,prefix=100,own=constant:prompt=5;output=3")
    prompts, _, contexts = law.shared(40_000, np.random.default_rng(0))
    assert (prompts == 105).all()
    texts = contexts.segments["text"][contexts.first[:-1]]
    wanted = 1 / np.arange(1, 5) / (1 / np.arange(1, 5)).sum()
    np.testing.assert_allclose(np.bincount(texts) / 40_000, wanted, atol=4 * np.sqrt(0.25 / 40_000))
    assert repeated_tokens(contexts).sum() == (40_000 - 4) * 100
    varied = length_law("prefixes:texts=50,sigma=1,own=constant").shared(2000, np.random.default_rng(0))[2]
    again = length_law("prefixes:texts=50,sigma=1,own=constant").shared(2000, np.random.default_rng(1))[2]
    pieces = [{(row["text"], row["length"]) for row in c.segments if row["text"] < 50} for c in (varied, again)]
    assert len(pieces[0]) <= 50 and len(pieces[0] | pieces[1]) <= 50  # a text is as long in every run
    assert len({length for _, length in pieces[0]}) > 20


def test_examples_are_a_tree():
    law = length_law("few-shot:tasks=2,shots=3,pool=2,instruction=10,example=4,own=constant:prompt=5;output=3")
    prompts, _, contexts = law.shared(500, np.random.default_rng(0))
    assert (prompts == 10 + 3 * 4 + 5).all()
    repeated = repeated_tokens(contexts)
    assert set(repeated) == {0, 10, 14, 18, 22}
    assert [(repeated == k).sum() for k in (0, 10, 14, 18)] == [2, 2, 4, 8]  # whoever is the first on a branch


def test_turns_of_a_chat_hold_all_that_was_said():
    law = length_law("chats:turns=5,think=20,prefix=7,turn=lognormal:prompt=6;output=4")
    drawn = draw_requests(RequestWorkload(law, 3.0), "exact", 400, 1)
    before, follow = {}, 0
    for k in range(400):
        mine = tokens_of(drawn.contexts, k)
        assert mine[:7] == [(0, i) for i in range(7)]
        chat = mine[7][0]
        if chat in before:
            assert mine[: len(before[chat])] == before[chat] and len(mine) > len(before[chat])
            follow += 1
        before[chat] = tokens_of(drawn.contexts, k, int(drawn.outputs[k]))
    assert follow > 200  # 4 of 5 turns follow another, some of them one before time 0


def test_chats_come_at_their_rate_from_the_start_on():
    """Tolerances are 4 standard errors of counts of chats, which are Poisson; a chat has 4 turns."""
    workload = RequestWorkload("chats:turns=4,think=50,turn=constant:prompt=1;output=1", 2.0)
    early = [int((draw_requests(workload, "exact", 400, seed).requests["arrival"] < 25).sum()) for seed in range(40)]
    # 25 s are the time of 50 requests. The variance of a count of clusters is at most the mean times E[T^2] / E[T] = 7.
    assert abs(np.mean(early) - 50) < 4 * np.sqrt(50 * 7 / 40)
    drawn = draw_requests(workload, "exact", 20_000, 0)
    assert 20_000 / drawn.requests["arrival"][-1] == pytest.approx(2.0, abs=4 * 2 * np.sqrt(7 / 20_000))
    # A turn is the (k + 1)-th of its chat with probability (3/4) ** k / 4, so a prompt has 1 + 2 * 3 tokens on average.
    assert drawn.requests["prompt"].mean() == pytest.approx(7, abs=4 * np.sqrt(48 * 7 / 20_000))
    few = draw_requests(
        RequestWorkload("chats:turns=50,turn=constant:prompt=1;output=1", 2.0, max_tokens=9), "exact", 300, 0
    )
    assert (few.requests["prompt"] + few.outputs).max() == 8


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("prefixes:texts=0", "texts=0 must be from 1"),
        ("prefixes:own=few-shot", "own=few-shot.* shares texts itself"),
        ("chats:turn=chats", "turn=chats.* shares texts itself"),
        ("chats:turns=0.5", "turns=0.5 must be from 1"),
        ("few-shot:pool=0", "pool=0 must be from 1 to 9"),
        ("prefixes:own=azure-conf", "unknown length law 'azure-conf'"),
    ],
)
def test_wrong_laws_are_named(spec, message):
    with pytest.raises(BadInput, match=message):
        length_law(spec)


def test_a_run_holds_contexts_only_where_prompts_share():
    plain, shared = Scenario("replica", n_jobs=50), Scenario("replica", n_jobs=50, lengths=SHARING[0])
    assert "contexts" not in plain.draw(0).truth
    drawn = shared.draw(0)
    assert len(drawn.truth["contexts"].output) == 50 and "contexts" not in drawn.work.dtype.names
    again = draw_requests(shared.source, "exact", 50, 0)
    np.testing.assert_array_equal(as_drawn(again).truth["contexts"].segments, drawn.truth["contexts"].segments)


@pytest.mark.parametrize("lengths", ["constant", *SHARING])
def test_runs_with_tables_of_their_own_are_drawn_apart(lengths):
    scenario = Scenario("replica", n_jobs=9, rate=1.0, predictor="exact", lengths=lengths)
    env = scenario.env().unwrapped
    assert not scenario.system.open(scenario, env.view, 3).together


def test_a_request_tells_the_text_that_it_begins_with_where_others_do_too():
    contexts = of_blocks([["a", "b"], ["a"], ["b"], [], ["c"]], np.array([30, 20, 20, 20, 20]), 16)
    first, again, *others = beginnings(contexts).tolist()
    assert first == again > 0 and others == [0, 0, 0]


def test_consistent_hashing_sends_prompts_that_begin_alike_to_one_replica():
    told = {"lengths": "prefixes:texts=30,zipf=0,prefix=100,own=lognormal:prompt=40;output=5", "rules": "vllm-v1"}
    run = Scenario("fleet", replicas=3, rate=5.0, n_jobs=400, **told).simulate("consistent-hash:factor=inf", 0)
    texts, where = run.jobs["prefix"], run.jobs["site"]
    assert len(set(texts.tolist())) == 30 and len(set(where.tolist())) == 3
    assert all(len(set(where[texts == text].tolist())) == 1 for text in set(texts.tolist()))
