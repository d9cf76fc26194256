"""Laws of programs: their structure, their documented moments within four standard errors, and what prompts share."""

import numpy as np
import pytest
from scipy import stats

from llmqueue_gym.errors import BadInput
from llmqueue_gym.predictors.programs import Foresight
from llmqueue_gym.programs import check_programs, children, depths, sizes, together
from llmqueue_gym.requests import HESITATES, OUTPUT
from llmqueue_gym.workloads.contexts import repeated_tokens
from llmqueue_gym.workloads.programs import PROGRAMS, program_law
from llmqueue_gym.workloads.programs.answers import scores
from llmqueue_gym.workloads.programs.draws import count_law, counts, lognormal
from llmqueue_gym.workloads.programs.tool_calls import AUGMENTATIONS, SEGMENTS, uses_law, uses_mean
from llmqueue_gym.workloads.requests import ProgramWorkload, draw_programs
from llmqueue_gym.workloads.streams import stream

MORE = ["chat-chain:turns=7,fixed=true,prefix=50", "self-consistency:n=5,aggregate=80", "map-reduce:sigma=0"]


def drawn(law, n=4000, seed=1, **named):
    """Rows of a workload of programs of some n calls, and the answers of these."""
    workload = ProgramWorkload(law, 1.0, **named)
    rows = workload.sample(round(n / workload.calls), stream(seed, "arrivals"), stream(seed, "sizes"))
    requests, outputs, _, programs = rows
    return *rows, workload.answers(requests, outputs, programs, stream(seed, "programs.answers"))


def near(sample, mean):
    """Within four standard errors of the mean that is documented."""
    error = np.std(sample) / np.sqrt(len(sample))
    assert abs(np.mean(sample) - mean) <= 4 * error + 1e-9, (np.mean(sample), mean, error)


@pytest.mark.parametrize("law", [*PROGRAMS, *MORE])
def test_every_law_gives_programs(law):
    requests, outputs, contexts, programs, answers = drawn(law)
    n, m = len(requests), len(sizes(programs))
    assert m == round(4000 / program_law(law).calls) and outputs.min() >= 1 and requests["prompt"].min() >= 1
    check_programs(programs, n)
    roots = np.diff(programs.first) == 0
    assert np.isfinite(requests["arrival"][roots]).all() and np.isinf(requests["arrival"][~roots]).all()
    assert (np.diff(requests["arrival"][roots]) >= 0).all()
    assert (np.diff(programs.program[~roots]) >= 0).all()
    began = np.minimum.reduceat(
        np.sort(requests["arrival"][roots]), np.searchsorted(np.sort(programs.program[roots]), np.arange(m))
    )
    assert (np.diff(began) >= 0).all()  # numbered in order of arrival
    assert requests["klass"].max() < len(program_law(law).kinds)
    ends = np.concatenate([[0], np.cumsum(contexts.segments["length"])])
    np.testing.assert_array_equal(np.diff(ends[contexts.first]), requests["prompt"])
    for row in np.flatnonzero(programs.continues >= 0)[:300].tolist():
        of = programs.continues[row]
        prompt = contexts.segments[contexts.first[of] : contexts.first[of + 1]].tolist()
        pieces = contexts.segments[contexts.first[row] : contexts.first[row + 1]].tolist()
        assert pieces[: len(prompt) + 1] == [*prompt, (OUTPUT + of, 0, outputs[of])]
    if answers is not None:
        for column, length in zip(answers, (n, n, n, m, m, m), strict=True):
            assert column.shape == (length,)
        gives = answers.cluster >= 0
        assert not answers.right[~gives].any() and np.isnan(answers.score[~gives]).all()
        assert ((answers.score[gives] > 0) & (answers.score[gives] < 1)).all()


@pytest.mark.parametrize("law", [*PROGRAMS, *MORE])
def test_mean_number_of_calls(law):
    law = program_law(law)
    calls = law.draw(3000, np.random.default_rng(3))
    near(np.bincount(calls.program), law.calls)


@pytest.mark.parametrize("law", PROGRAMS)
def test_as_many_programs_as_are_asked_for(law):
    for m in (1, 2, 50):
        *_, programs = ProgramWorkload(law, 1.0).sample(m, stream(1, "arrivals"), stream(1, "sizes"))
        assert len(sizes(programs)) == m


def test_the_same_programs_at_every_rate():
    laws = ProgramWorkload("planner", 1.0), ProgramWorkload("planner", 50.0), ProgramWorkload("planner", np.inf)
    slow, fast, at_once = (law.sample(60, stream(1, "arrivals"), stream(1, "sizes")) for law in laws)
    for other in (fast, at_once):
        np.testing.assert_array_equal(slow[0]["prompt"], other[0]["prompt"])
        np.testing.assert_array_equal(slow[3].gap, other[3].gap)
    np.testing.assert_allclose(slow[0]["arrival"], fast[0]["arrival"] * 50)
    assert set(at_once[0]["arrival"].tolist()) == {0.0, np.inf}


def test_most_tokens():
    requests, outputs, *_ = drawn("tool-calls", max_tokens=1500)
    assert (requests["prompt"] + outputs).max() <= 1500
    with pytest.raises(BadInput, match="max_tokens=100: next to no program of parrot"):
        drawn("parrot", max_tokens=100)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_tool_calls_have_the_moments_of_the_table(kind):
    law, told = program_law(f"tool-calls:kind={kind}"), AUGMENTATIONS[kind]
    calls = law.draw(6000, np.random.default_rng(2))
    number = np.bincount(calls.program)
    waits = np.diff(calls.first) > 0
    assert number.min() >= 2 and number.max() <= SEGMENTS
    near(number - 1, uses_mean(kind))
    near(calls.gap[waits], told.gap)
    near((calls.gap[waits] - told.gap) ** 2, told.gap_deviation**2)
    near(calls.outputs, 98.0)
    own = (calls.prompts - calls.kept)[waits]
    near(own, 24.0)
    last = np.cumsum(number) - 1
    near((calls.prompts + calls.outputs)[last], told.context)
    assert (calls.klass == list(AUGMENTATIONS).index(kind)).all()


def test_uses_that_the_limit_does_not_touch_have_the_moments_of_the_table():
    for kind in ("math", "qa", "chatbot"):
        law, told = uses_law(kind), AUGMENTATIONS[kind]
        k = np.arange(1, SEGMENTS)
        assert abs(law @ k - told.uses) < 0.1 and abs(law @ k**2 - (law @ k) ** 2 - told.uses_deviation**2) < 0.4
        assert law.sum() == pytest.approx(1)
    near(counts(law, 20_000, np.random.default_rng(0)), law @ k)


def test_the_mix_beside_that_of_infercept():
    """The bundled mix: prompts of 955 tokens, gaps of 12.6 s with median 7.4 and 90 % below 36.6 s, 5.2 calls.

    Tolerances say how near this law was found to be; its moments are those of the table, not of that mix.
    """
    law = program_law("tool-calls")
    calls = law.draw(20_000, np.random.default_rng(4))
    gaps = calls.gap[np.diff(calls.first) > 0]
    shares = np.bincount(calls.klass[np.diff(calls.first) == 0]) / 20_000
    np.testing.assert_allclose(shares, law.shares, atol=4 * np.sqrt(0.25 / 20_000))
    assert calls.prompts.mean() == pytest.approx(955, rel=0.05)
    assert gaps.mean() == pytest.approx(12.6, rel=0.15)
    assert np.quantile(gaps, 0.9) == pytest.approx(36.6, rel=0.25)
    below = [np.mean(gaps < limit) for limit in (0.001, 0.1, 1.0, 30.0)]  # of 1841 calls: 283, 517, 720, 1601
    np.testing.assert_allclose(below, np.array([283, 517, 720, 1601]) / 1841, atol=0.08)
    assert np.median(gaps) > 1.5 * 7.4 and law.calls > 5.2  # where it is not that mix


def test_chats_are_closed():
    law = "chat-chain:turns=5,think=20,prefix=100,turn=constant:prompt=7;output=3"
    requests, _, contexts, programs, _ = drawn(law)
    waits = np.diff(programs.first) == 1
    near(programs.gap[waits], 20.0)
    assert stats.kstest(programs.gap[waits], "expon", args=(0, 20)).pvalue > 1e-3
    depth = depths(programs)
    np.testing.assert_array_equal(requests["prompt"], 107 + 10 * depth)
    np.testing.assert_array_equal(repeated_tokens(contexts)[waits], requests["prompt"][waits] - 7)
    system = contexts.segments[contexts.first[:-1]]
    assert set(zip(system["text"].tolist(), system["length"].tolist(), strict=True)) == {(0, 100)}
    assert (sizes(drawn("chat-chain:turns=6,fixed=true")[3]) == 6).all()


def test_map_reduce_reads_a_document():
    law = program_law("map-reduce")
    requests, outputs, _, programs, _ = drawn("map-reduce", 30_000)
    width = sizes(programs) - 1
    near(width, law.pieces)
    pmf, found = law.width_law(), np.bincount(width, minlength=65)[1:65]
    expected = pmf * len(width)
    seen = expected > 5
    gap = found[seen] - expected[seen]
    assert (np.abs(gap) <= 4.5 * np.sqrt(expected[seen])).all() and pmf.sum() == pytest.approx(1)
    joins = np.flatnonzero(np.diff(programs.first))
    assert (requests["klass"][joins] == 1).all() and len(joins) == len(width)
    said = np.bincount(children(programs), outputs[programs.parents], len(requests))
    np.testing.assert_array_equal(requests["prompt"][joins], 100 + said[joins])
    maps = requests["klass"] == 0
    assert requests["prompt"][maps].max() == 100 + 1024
    np.testing.assert_array_equal(together(programs, requests["arrival"])[maps], width[programs.program[maps]])


def test_planners_hand_on_their_context():
    requests, outputs, _, programs, _ = drawn("planner:width=3,rounds=2,tool=2", 20_000)
    kind, n = requests["klass"], len(requests)
    near(np.bincount(programs.program[kind == 2]), 2.0)
    near(np.diff(programs.first)[kind == 2], 3.0)
    near(programs.gap[kind == 2], 2.0)
    assert (programs.gap[kind != 2] == 0).all()
    workers = np.flatnonzero(kind == 1)
    hub = programs.parents[programs.first[workers]]
    assert (np.diff(programs.first)[workers] == 1).all() and (kind[hub] != 1).all()
    np.testing.assert_array_equal(programs.continues[workers], hub)
    near((requests["prompt"][workers] - requests["prompt"][hub] - outputs[hub]), 50.0)
    child = children(programs)
    said = np.bincount(child, outputs[programs.parents], n)
    joins = np.flatnonzero(kind == 2)
    planned = hub[np.searchsorted(workers, programs.parents[programs.first[joins]])]
    handed = requests["prompt"][planned] + outputs[planned] + said[joins]
    np.testing.assert_array_equal(requests["prompt"][joins], handed)


def test_parrot_shares_the_instruction_alone():
    requests, outputs, contexts, programs, _ = drawn("parrot:apps=3,zipf=0,instruction=500")
    assert (programs.continues == -1).all() and (np.diff(programs.first) <= 1).all()
    head = contexts.segments[contexts.first[:-1]]
    assert set(head["text"].tolist()) == {0, 1, 2} and set(head["length"].tolist()) == {500}
    np.testing.assert_array_equal(repeated_tokens(contexts) > 0, ~_first_of(head["text"]))
    child = children(programs)
    np.testing.assert_array_equal(head["text"][child], head["text"][programs.parents])
    assert (requests["prompt"][child] > 500 + outputs[programs.parents]).all()


def _first_of(values):
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def test_self_consistency_votes():
    text = "self-consistency:n=7,accuracy=0.6,spread=0.2,wrong=3,zipf=0,auc=0.85,instruction=40"
    _, _, contexts, programs, answers = drawn(text, 28_000)
    m = len(sizes(programs))
    assert m == 4000 and (programs.first == 0).all()
    votes = np.bincount(programs.program, answers.right, m)
    near(answers.chance, 0.6)
    near((answers.chance - 0.6) ** 2, 0.2 * 0.6 * 0.4)
    # Beta-binomial: the law of the votes for the right answer, all of it.
    law = stats.betabinom(7, 0.6 * 4, 0.4 * 4)
    chi2 = stats.chisquare(np.bincount(votes.astype(int), minlength=8), law.pmf(np.arange(8)) * m)
    assert chi2.pvalue > 1e-3
    wrong = ~answers.right
    assert set(answers.cluster.tolist()) == set(range(4))
    shown = np.bincount(answers.cluster[answers.right], minlength=4) / answers.right.sum()
    np.testing.assert_allclose(shown, 0.25, atol=0.05)  # numbers do not tell which answer is right
    for program in range(50):
        mine = programs.program == program
        right = set(answers.cluster[mine & answers.right].tolist())
        assert len(right) <= 1 and not right & set(answers.cluster[mine & wrong].tolist())
    better = answers.score[answers.right][:2000, None] > answers.score[wrong][None, :2000]
    assert better.mean() == pytest.approx(0.85, abs=0.02)
    prompts = np.split(contexts.segments, contexts.first[1:-1])
    for row in range(7):  # all branches have one prompt
        assert prompts[row].tolist() == prompts[0].tolist()
    assert (answers.depth == -1).all() and not answers.correct.any()


def test_an_aggregate_waits_for_all_branches():
    requests, outputs, _, programs, answers = drawn("self-consistency:n=5,aggregate=80", 1200)
    last = np.flatnonzero(requests["klass"] == 1)
    assert (np.diff(programs.first)[last] == 5).all() and (outputs[last] == 80).all()
    assert (answers.cluster[last] == -1).all() and np.isnan(answers.score[last]).all()


def test_reasoning_is_probed():
    text = "reasoning:thought=1000,chunk=64,accuracy=0.7,settles=0.5,spread=0.2,steady=0.9,plateau=0.3,stuck=0.8"
    requests, outputs, _, programs, answers = drawn(text, 60_000)
    m, probe = len(sizes(programs)), requests["klass"] == 1
    assert (outputs[probe] == 20).all() and outputs[~probe].max() == 64
    of = programs.parents[programs.first[:-1][probe]]
    np.testing.assert_array_equal(programs.continues[probe], of)
    np.testing.assert_array_equal(requests["prompt"][probe], requests["prompt"][of] + outputs[of] + 10)
    assert not np.isin(programs.parents, np.flatnonzero(probe)).any()  # nothing goes on from a probe
    thought = np.bincount(programs.program, np.where(probe, 0, outputs), m)
    near(thought, 1000.0)
    near(answers.correct, 0.7)
    share = answers.depth / thought
    assert ((share > 0) & (share <= 1)).all()
    # The depth is rounded up to whole tokens, which moves the share by less than 1 / thought.
    assert abs(share.mean() - 0.5) <= 4 * share.std() / np.sqrt(m) + (1 / thought).mean()
    assert abs(share.var() - 0.2 * 0.25) <= 0.01
    roots = np.flatnonzero(np.diff(programs.first) == 0)
    question = np.zeros(m)
    question[programs.program[roots]] = requests["prompt"][roots]
    said = np.where(probe, requests["prompt"] - 10 - question[programs.program], -1)
    late = probe & (said >= answers.depth[programs.program])
    correct = answers.correct[programs.program]
    near(answers.right[late & correct], 0.9)
    assert not answers.right[probe & ~late].any() and not answers.right[late & ~correct].any()
    silent = answers.cluster[probe & ~late] == HESITATES
    assert abs(silent.mean() - (0.3 * 0.2 + 0.7 * 0.5)) < 0.03


@pytest.mark.parametrize("text", ["self-consistency:n=2,wrong=50,zipf=0", "reasoning:thought=60,wrong=50,hesitant=0"])
def test_answers_are_numbered_below_the_calls_of_their_program(text):
    _, _, _, programs, answers = drawn(text, 3000)
    assert (answers.cluster < sizes(programs)[programs.program]).all()
    pairs = np.unique(np.column_stack([programs.program, answers.cluster])[answers.cluster >= 0], axis=0)
    fresh = np.append(True, np.diff(pairs[:, 0]) != 0)  # those of a program are counted from 0 on
    assert (pairs[fresh, 1] == 0).all() and (np.diff(pairs[:, 1])[~fresh[1:]] == 1).all()


def test_probes_on_a_plateau_agree_too_early():
    text = "reasoning:thought=2000,sigma=0,plateau=1,stuck=1,accuracy=1,steady=1"
    requests, _, _, programs, answers = drawn(text, 6000)
    probe, correct = requests["klass"] == 1, 0
    for program in range(len(sizes(programs))):
        mine = np.flatnonzero(probe & (programs.program == program))
        told = answers.cluster[mine]
        changes = np.flatnonzero(np.diff(told))
        assert len(changes) <= 1 and (told >= 0).all()  # the placeholder, then the answer
        correct += answers.right[mine[-1]]
    assert correct == len(sizes(programs))


def test_draws():
    rng = np.random.default_rng(0)
    sample = lognormal(5.0, 3.0, 100_000, rng)
    near(sample, 5.0)
    near((sample - 5) ** 2, 9.0)
    law = count_law(3.75, 1.3, 15)
    assert law.sum() == pytest.approx(1) and law @ np.arange(1, 16) == pytest.approx(3.75, abs=0.01)
    right = rng.random(50_000) < 0.5
    found = scores(right, 0.9, rng)
    for low in (0.1, 0.3, 0.5, 0.7):  # as likely right as it says, where as many are right as wrong
        here = (found > low) & (found < low + 0.2)
        near(right[here] - found[here], 0.0)
    assert np.all(scores(right, 0.5, rng) == 0.5)


BAD = {
    "tool-calls:kind=maths": "kind='maths'; did you mean 'math'",
    "tool-calls:stretch=-1": "stretch=-1 must be from 0",
    "chat-chain:turns=0.5": "turns=0.5 must be from 1",
    "chat-chain:turn=chats": "shares texts itself",
    "map-reduce:width=0": "width=0 must be from 1",
    "planner:rounds=0": "rounds=0 must be from 1",
    "parrot:apps=0": "apps=0 must be from 1",
    "self-consistency:n=0": "n=0 must be from 1",
    "self-consistency:spread=1": "spread=1 must be from 0 to below 1",
    "reasoning:settles=1": "settles=1 must lie between 0 and 1, without them",
    "agents": "unknown law of programs 'agents'",
}


@pytest.mark.parametrize("spec", BAD)
def test_bad_laws(spec):
    with pytest.raises(BadInput, match=BAD[spec]):
        program_law(spec)


@pytest.mark.parametrize("law", PROGRAMS)
def test_specs_are_read_back(law):
    made = program_law(law)
    assert program_law(str(made)) == made


def test_bad_workloads():
    with pytest.raises(BadInput, match="rate=0 must be positive, programs per s"):
        ProgramWorkload("planner", 0.0)
    with pytest.raises(BadInput, match="max_tokens=1 must be from 2"):
        ProgramWorkload("planner", 1.0, max_tokens=1)
    with pytest.raises(BadInput, match="n=0: at least one"):
        drawn("planner", 0)


def test_errors_change_nothing_else():
    """Each error has a stream of its own, and none touches the programs."""
    workload = ProgramWorkload("reasoning:thought=500", 1.0)
    exact = draw_programs(workload, "exact", Foresight(), 50, 7)
    wrong = draw_programs(workload, "lognormal", Foresight(gap=1.0, calls=0.5, depth=0.3), 50, 7)
    np.testing.assert_array_equal(exact.requests.outputs, wrong.requests.outputs)
    np.testing.assert_array_equal(exact.answers.cluster, wrong.answers.cluster)
    np.testing.assert_array_equal(exact.foreseen.right, wrong.foreseen.right)
    assert (exact.foreseen.calls != wrong.foreseen.calls).any()
