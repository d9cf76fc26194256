"""Tables of programs: what is none is refused in one line, and what follows from one is that of a plain walk."""

import numpy as np
import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.programs import began, check_programs, depths, longest_path, sizes, to_come, together
from llmqueue_gym.requests import Programs, Requests, never_refreshed, request_table
from llmqueue_gym.workloads.programs.calls import calls_of, chosen, joined, laid_out


def table(parents, program=None, gap=None, continues=None):
    """A table from the parents of each row, in lists."""
    n = len(parents)
    return Programs(
        np.zeros(n, np.int64) if program is None else np.array(program),
        np.array([p for each in parents for p in each], np.int64),
        np.cumsum([0, *(len(each) for each in parents)]),
        np.zeros(n) if gap is None else np.array(gap, float),
        np.full(n, -1) if continues is None else np.array(continues),
    )


def random_table(rng, n=40, programs=5):
    """A table of random graphs."""
    roots = programs + 3
    program = np.concatenate([np.arange(programs), rng.integers(programs, size=3)])
    rest = np.sort(rng.integers(programs, size=n - roots))
    program = np.concatenate([program, rest])
    parents = [[] for _ in range(roots)]
    for row in range(roots, n):
        before = np.flatnonzero(program[:row] == program[row])
        parents.append(sorted(rng.choice(before, min(len(before), int(rng.integers(1, 4))), replace=False).tolist()))
    gap = np.where(np.arange(n) < roots, 0.0, rng.integers(3, size=n))
    return table(parents, program, gap, [-1 if not own else own[0] for own in parents])


FORK = [[], [0], [0], [0], [1, 2, 3]]


def test_a_table_that_is_one():
    check_programs(table(FORK, gap=[0, 1, 1, 1, 0.5], continues=[-1, 0, 0, -1, 2]), 5)
    check_programs(table(FORK), 5, seats=3)
    check_programs(table([[], []], program=[0, 1]), 2, seats=1)
    for seed in range(20):
        check_programs(random_table(np.random.default_rng(seed)), 40)


def test_requests_of_no_programs_are_as_they_were():
    rows = request_table(np.zeros(2), 5)
    assert Requests(rows, np.ones(2, np.int64), never_refreshed(2)).programs is None


BAD = {
    "cycle": (table([[], [2], [1]]), "row 1 waits for itself in a cycle of parents, 1 -> 2 -> 1"),
    "itself": (table([[], [1]]), "row 1 waits for itself in a cycle of parents, 1 -> 1"),
    "long cycle": (table([[], *([k + 2] for k in range(8)), [1]]), "row 1 waits for itself .* 4 -> 5 -> 6 -> ..."),
    "future": (table([[], [2], [0]]), "row 1: the parent 2 is in the future"),
    "no row": (table([[], [7]]), "row 1: the parent 7 is no row; rows are 0 to 1"),
    "below 0": (table([[], [-1]]), "row 1: the parent -1 is no row"),
    "gap": (table([[], [0]], gap=[0, -0.5]), "row 1: gap=-0.5 s must be finite and not negative"),
    "no number": (table([[], [0]], gap=[0, np.nan]), "row 1: gap=nan s must be finite"),
    "endless": (table([[], [0]], gap=[0, np.inf]), "row 1: gap=inf s must be finite"),
    "root gap": (table([[], [0]], gap=[2, 0]), "row 0: gap=2 s, but it waits for nobody"),
    "no calls": (table([[], []], program=[0, 2]), "program 1 has no calls"),
    "negative": (table([[], []], program=[0, -2]), "row 1: program=-2 must be at least 0"),
    "two programs": (table([[], [], [0]], program=[0, 1, 1]), "row 2 is of program 1: its parent 0 is of program 0"),
    "order": (table([[], [0], []]), "row 2 waits for nobody, but stands below one that waits"),
    "continues": (table([[], [0], [1]], continues=[-1, 0, 0]), "row 2: continues=0 is none of its parents"),
    "root continues": (table([[], []], continues=[-1, 0]), "row 1: continues=0 is none of its parents"),
    "first": (table([[]])._replace(first=np.array([0, 3])), "first must rise from 0 to the 0 parents, not to 3"),
    "length": (table([[]])._replace(gap=np.zeros(4)), r"gap has the shape \(4,\); 1 requests need \(1,\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_programs(name):
    bad, message = BAD[name]
    with pytest.raises(BadInput, match=message) as caught:
        check_programs(bad, len(bad.program))
    assert "\n" not in str(caught.value)


def test_a_gang_needs_seats():
    message = "row 1: program 0 has 3 branches that come together, and a gang of them needs as many seats, not 2"
    with pytest.raises(BadInput, match=message):
        check_programs(table(FORK), 5, seats=2)
    roots = table([[], [], []])
    with pytest.raises(BadInput, match="row 0: program 0 has 3 branches"):
        check_programs(roots, 3, seats=2)
    check_programs(roots, 3, seats=1, arrivals=np.array([0.0, 1.0, 2.0]))
    check_programs(table(FORK, gap=[0, 1, 2, 3, 0]), 5, seats=1)


def walked(programs, amounts):
    """Depth, amounts to come, longest path and companions of each call, one call at a time."""
    n = len(programs.program)
    parents = [programs.parents[programs.first[i] : programs.first[i + 1]].tolist() for i in range(n)]
    depth = [0] * n
    for i in range(n):
        depth[i] = 1 + max((depth[p] for p in parents[i]), default=-1)
    path = [0.0] * n
    for i in reversed(range(n)):
        path[i] = amounts[i] + max((path[c] for c in range(n) if i in parents[c]), default=0.0)
    mine = [[j for j in range(n) if programs.program[j] == programs.program[i]] for i in range(n)]
    come = [sum(amounts[j] for j in mine[i] if depth[j] >= depth[i]) for i in range(n)]
    key = [(programs.program[i], tuple(sorted(parents[i])), programs.gap[i]) for i in range(n)]
    return depth, come, path, [key.count(one) for one in key]


@pytest.mark.parametrize("seed", range(10))
def test_what_follows_is_that_of_a_walk(seed):
    rng = np.random.default_rng(seed)
    programs = random_table(rng)
    amounts = rng.integers(1, 100, 40)
    depth, come, path, companions = walked(programs, amounts.tolist())
    np.testing.assert_array_equal(depths(programs), depth)
    np.testing.assert_array_equal(to_come(programs, amounts), come)
    np.testing.assert_array_equal(longest_path(programs, amounts), path)
    np.testing.assert_array_equal(together(programs, np.zeros(40)), companions)
    np.testing.assert_array_equal(sizes(programs), np.bincount(programs.program, minlength=5))


def a_fork(tokens):
    """A call, two that go on from it, and one that waits for these and begins with a shared text."""
    return calls_of(
        np.zeros(4, np.int64),
        np.array([0, 0, 1, 2]),
        np.array([0, 0, 1, 2, 4]),
        np.array([10, 10 + tokens + 3, 10, 30]),
        np.array([tokens, 5, 6, 7]),
        gap=np.array([0, 0.5, 1.5, 2.0]),
        base=np.array([-1, 0, 0, -1]),
        kept=np.array([0, 10 + tokens, 10, 8]),
        text=np.array([0, 0, 0, 3]),
    )


def test_rows_are_laid_out():
    laid = laid_out(joined([a_fork(4), a_fork(9)]), np.array([1.0, 2.5]))
    np.testing.assert_array_equal(laid.arrivals, [1.0, 2.5, *[np.inf] * 6])
    np.testing.assert_array_equal(laid.programs.program, [0, 1, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(laid.programs.parents, [0, 0, 2, 3, 1, 1, 5, 6])
    np.testing.assert_array_equal(laid.programs.continues, [-1, -1, 0, -1, -1, 1, -1, -1])  # row 3 has a prompt alone
    np.testing.assert_array_equal(laid.programs.gap, [0, 0, 0.5, 1.5, 2.0, 0.5, 1.5, 2.0])
    check_programs(laid.programs, 8)
    pieces = np.split(laid.contexts.segments, laid.contexts.first[1:-1])
    np.testing.assert_array_equal([int(each["length"].sum()) for each in pieces], laid.prompts)
    prompt, output = pieces[0].tolist(), (laid.contexts.output[0], 0, 4)
    assert pieces[2].tolist()[:2] == [*prompt, output] and pieces[3].tolist() == prompt
    assert pieces[4].tolist()[0] == pieces[7].tolist()[0] == (3, 0, 8)  # the text that programs share
    own = {piece[0] for row in (0, 1, 2, 5) for piece in pieces[row].tolist()}
    assert len(own) == 6  # two prompts, two outputs, two pieces of their own


def test_programs_are_chosen():
    both = joined([a_fork(4), a_fork(9)])
    twice = chosen(both, np.array([1, 0, 1]))
    np.testing.assert_array_equal(twice.program, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(twice.outputs, [9, 5, 6, 7, 4, 5, 6, 7, 9, 5, 6, 7])
    np.testing.assert_array_equal(twice.base[8:], [-1, 8, 8, -1])
    laid = laid_out(twice, np.zeros(3))
    check_programs(laid.programs, 12)
    heads = laid.contexts.segments["text"][laid.contexts.first[:3]]
    assert len(set(heads.tolist())) == 3  # one that is there twice is another one
    for name, column in chosen(both, np.arange(2))._asdict().items():
        np.testing.assert_array_equal(column, getattr(both, name))


def test_a_second_beginning_comes_later():
    calls = calls_of(
        np.zeros(2, np.int64), np.zeros(0, np.int64), np.zeros(3, np.int64), np.ones(2, np.int64), np.ones(2, np.int64),
        offset=np.array([0.0, 7.0]),
    )  # fmt: skip
    laid = laid_out(joined([calls, calls]), np.array([1.0, 2.0]))
    np.testing.assert_array_equal(laid.arrivals, [1.0, 2.0, 8.0, 9.0])
    np.testing.assert_array_equal(laid.programs.program, [0, 1, 0, 1])
    np.testing.assert_array_equal(began(laid.programs, laid.arrivals), [1, 2, 1, 2])
    check_programs(laid.programs, 4, seats=1, arrivals=laid.arrivals)


@pytest.mark.parametrize("seed", range(5))
def test_contexts_are_those_of_a_walk(seed):
    """Texts of random bases, token by token."""
    rng = np.random.default_rng(seed)
    n = 30
    base, kept = np.full(n, -1), np.zeros(n, np.int64)
    prompts, outputs, text = rng.integers(1, 20, n), rng.integers(1, 9, n), rng.integers(3, size=n)
    written = []
    for i in range(n):
        base[i] = rng.integers(-1, i)
        known = [("shared", text[i], k) for k in range(50)] if base[i] < 0 else written[base[i]]
        kept[i] = rng.integers(0, len(known) + 1 if base[i] >= 0 else 10)
        prompts[i] = kept[i] + rng.integers(0 if kept[i] else 1, 9)
        own = [("own", i, k) for k in range(prompts[i] - kept[i])]
        written.append([*known[: kept[i]], *own, *[("output", i, k) for k in range(outputs[i])]])
    program, parents = np.zeros(n, np.int64), np.zeros(0, np.int64)
    calls = calls_of(program, parents, np.zeros(n + 1, np.int64), prompts, outputs, base=base, kept=kept, text=text)
    contexts = laid_out(calls, np.zeros(1)).contexts
    names = {}
    for i in range(n):
        pieces = contexts.segments[contexts.first[i] : contexts.first[i + 1]].tolist()
        flat = [(t, k) for t, start, length in pieces for k in range(start, start + length)]
        assert len(flat) == prompts[i]
        for mine, theirs in zip(written[i], flat, strict=False):
            assert names.setdefault(mine, theirs) == theirs
    assert len(set(names.values())) == len(names)
