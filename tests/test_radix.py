"""The radix cache and the orders of its queue: against a plain reference, and each trap of the rules alone."""

import random

import numpy as np
from reference_radix import ReferenceTree

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cache import fresh_cache
from llmqueue_gym.engines.batching.radix import insert, lock, match, unlock
from llmqueue_gym.engines.batching.radix_leaves import evict
from llmqueue_gym.engines.batching.radix_order import POLICIES, put_in_order
from llmqueue_gym.engines.batching.radix_tables import fresh_tree, written_out
from llmqueue_gym.requests import SEGMENT, Contexts, Requests, never_refreshed, request_table


def written(prompts):
    """Return the texts of prompts given as pieces, and their tokens."""
    pieces, n = np.array([tuple(piece) for prompt in prompts for piece in prompt], SEGMENT), len(prompts)
    first = np.cumsum([0, *map(len, prompts)])
    tokens = [[(text << 20) + start + k for text, start, n in prompt for k in range(n)] for prompt in prompts]
    table = request_table(np.zeros(n), np.array([len(one) for one in tokens]))
    contexts = Contexts(pieces, first, (1 << 40) + np.arange(n))
    given = written_out(Requests(table, np.ones(n, np.int64), never_refreshed(n), contexts))
    return fresh_cache(0, 0, n).filled(0, 1, given, 1000), tokens


def found(tree, texts, i, length):
    return match(0, tree, texts.pieces, int(texts.paths["first_piece"][i]), length)


def put_in(tree, texts, i, length, known):
    return insert(0, tree, texts.pieces, int(texts.paths["first_piece"][i]), length, known)[:2]


def scraps(rng):
    """Return short scraps of two texts, so that nodes are split at all places and first pages differ late."""
    return [[rng.randrange(2), rng.randrange(3), rng.randint(1, 6)] for _ in range(rng.randint(1, 9))]


def test_a_wide_and_deep_tree_against_the_plain_reference():
    """Lookups, insertions, locks and evictions in any order; nodes are used again."""
    rng = random.Random(5)
    for page, by_hits in ((1, False), (1, True), (4, False), (16, True)):
        prompts = [[[rng.randrange(40), 0, rng.choice([3, 20])], *scraps(rng)] for _ in range(150)]
        texts, tokens = written(prompts)
        tree, plain, locks = fresh_tree(1, 4000, page, by_hits), ReferenceTree(page, by_hits), []
        for _ in range(1500):
            i, what = rng.randrange(len(prompts)), rng.random()
            length = rng.randint(0, len(tokens[i]))
            if what < 0.4:
                (at, node), (there, other) = found(tree, texts, i, length), plain.match(tokens[i][:length])
                assert at == there
                if what < 0.1:
                    lock(0, tree, node)
                    plain.lock(other, 1)
                    locks.append((node, other))
            elif what < 0.8:
                known = rng.randint(0, length)
                assert put_in(tree, texts, i, length, known) == plain.insert(tokens[i][:length], known)
            elif what < 0.9:
                asked = rng.randint(0, 30)
                assert evict(0, tree, asked) == plain.evict(asked)
            elif locks:
                node, other = locks.pop(rng.randrange(len(locks)))
                unlock(0, tree, node)
                plain.lock(other, -1)
            state = tree.state[0]
            assert state["evictable"] == plain.tokens(locked=False) and state["protected"] == plain.tokens(locked=True)
            assert state["leaves"] == len(plain.leaves())


# The traps of the rules, each alone.


def filled(prompts, **traits):
    """Return a tree into which prompts were put in order, and the texts."""
    texts, tokens = written(prompts)
    tree = fresh_tree(1, 100, **traits)
    for i in range(len(prompts)):
        put_in(tree, texts, i, len(tokens[i]), 0)
    return tree, texts


def ordered(prompts, cached, policy, queue=None, **given):
    """Return the order of a queue of prompts over a tree that holds some of their prefixes, and who is held back."""
    texts, tokens = written(prompts)
    n = len(prompts)
    tree = fresh_tree(1, 1000, n, ordered=True)
    for i, length in cached:
        put_in(tree, texts, i, length, 0)
    table, rows = request_table(np.zeros(n), np.array([len(one) for one in tokens])), np.array(queue or range(n))
    table["upper"], table["priority"] = given.get("most", 1), given.get("priority", 0)
    how = POLICIES[policy], "priority" in given, given.get("low_first", False)
    put_in_order(0, tree, texts.pieces, texts.paths, records(table), rows, len(rows), *how)
    return rows.tolist(), tree.texts["held"].astype(bool).tolist()


def test_the_unmatched_tail_of_a_node_is_refreshed_too():
    tree, texts = filled([[[1, 0, 10]], [[2, 0, 7]]])
    assert found(tree, texts, 0, 4)[0] == 4  # splits the first: its tail of 6 is now later than the second
    assert [evict(0, tree, 1) for _ in range(3)] == [7, 6, 4]


def test_whole_leaves_are_removed_and_then_their_parents():
    tree, texts = filled([[[1, 0, 10], [2, 0, 5]], [[1, 0, 10], [3, 0, 6]], [[4, 0, 3]]])
    assert evict(0, tree, 6) == 11  # 5 and 6; what they left is older than the 3
    assert evict(0, tree, 1) == 10 and evict(0, tree, 1) == 3
    assert evict(0, tree, 1) == 0 and found(tree, texts, 0, 15) == (0, 0)


def test_what_is_locked_stays():
    tree, texts = filled([[[1, 0, 10], [2, 0, 5]], [[3, 0, 6]]])
    _, node = found(tree, texts, 0, 10)
    lock(0, tree, node)
    held = ["evictable", "protected", "leaves"]
    assert tree.state[held][0].tolist() == (11, 10, 2)
    assert evict(0, tree, 99) == 11
    unlock(0, tree, node)
    assert tree.state[held][0].tolist() == (10, 0, 1)
    assert evict(0, tree, 99) == 10


def test_hits_count_only_beyond_what_the_request_put_in_before():
    tree, texts = filled([[[1, 0, 10]], [[2, 0, 7]]], by_hits=True)
    put_in(tree, texts, 0, 10, 0)
    put_in(tree, texts, 1, 7, 7)  # no further hit
    assert [evict(0, tree, 1) for _ in range(2)] == [7, 10]


def test_a_split_passes_on_hits_and_an_insertion_ends_in_a_leaf_of_one():
    tree, _ = filled([[[1, 0, 10]], [[1, 0, 4], [2, 0, 3]], [[3, 0, 5]]], by_hits=True)
    # The upper 4 have 2 hits, the lower 6 one, and so have the 3 and the 5: by time.
    assert [evict(0, tree, 1) for _ in range(4)] == [6, 3, 5, 4]


def test_only_whole_pages_are_kept_and_matched():
    tree, texts = filled([[[1, 0, 10], [2, 0, 5]]], page=4)
    assert put_in(tree, texts, 0, 3, 0) == (0, 0)
    assert tree.state["evictable"][0] == 12
    assert found(tree, texts, 0, 11)[0] == 8 and found(tree, texts, 0, 3) == (0, 0)
    again, written_again = filled([[[1, 0, 6], [2, 0, 6]], [[1, 0, 6], [3, 0, 6]]], page=4)
    assert found(again, written_again, 1, 12)[0] == 12 and again.state["used"][0] == 3  # they part in the second page


def test_pages_that_begin_and_end_alike_are_told_apart():
    tree, texts = filled([[[1, 0, 1], [2, 0, 2], [3, 0, 1]], [[1, 0, 1], [4, 0, 2], [3, 0, 1]]], page=4)
    assert tree.state["used"][0] == 2 and [found(tree, texts, i, 4)[1] for i in range(2)] == [1, 2]


def test_pieces_may_be_cut_anywhere():
    whole, cut = [[1, 0, 10], [2, 5, 3]], [[1, 0, 4], [1, 4, 0], [1, 4, 6], [2, 5, 1], [2, 6, 2]]
    tree, texts = filled([whole, cut])
    assert tree.state["used"][0] == 1 and found(tree, texts, 1, 13)[0] == 13


def test_longest_prefix_first_and_ties_keep_their_order():
    prompts = [[[k, 0, 50]] for k in range(4)]
    assert ordered(prompts, [(1, 50), (2, 40)], "lpm", [3, 2, 0, 1])[0] == [1, 2, 3, 0]


def test_who_would_compute_what_one_before_it_computes_is_held_back():
    prompts = [[[1, 0, 40], [10, 0, 5]], [[2, 0, 60]], [[1, 0, 40], [11, 0, 5]], [[1, 0, 31], [12, 0, 90]]]
    order, held = ordered(prompts, [], "lpm")
    assert order == [0, 1, 3, 2] and held == [False, False, True, False]  # 31 in common are too few
    assert ordered(prompts, [], "lpm", [2, 1, 0, 3])[0] == [2, 1, 3, 0]  # the order of the time before decides
    assert not any(ordered(prompts, [(0, 33)], "lpm")[1])  # more than 32 in the cache


def test_depth_first_by_weight_with_the_own_requests_of_a_node_last():
    a, b, c = [1, 0, 50], [2, 0, 50], [3, 0, 50]
    prompts = [[a], [a, b], [c, [9, 0, 1]], [c, [8, 0, 1]], [a, b, [7, 0, 1]], [a, [6, 0, 40]]]
    cached = [(2, 51), (3, 51), (4, 101), (5, 90)]
    # The branch of a weighs 4: below it that of b weighs 2, and the other 1; the deepest are first.
    assert ordered(prompts, cached, "dfs-weight")[0] == [4, 1, 5, 0, 2, 3]


def test_more_than_128_are_left_in_their_order():
    prompts = [[[k, 0, 50]] for k in range(129)]
    assert ordered(prompts, [(128, 50)], "lpm", list(range(1, 129)))[0][0] == 128
    assert ordered(prompts, [(128, 50)], "lpm")[0] == list(range(129))


def test_longest_output_and_priorities():
    prompts = [[[k, 0, 5]] for k in range(3)]
    assert ordered(prompts, [], "lof", most=[3, 9, 3])[0] == [1, 0, 2]
    assert ordered(prompts, [], "lof", most=[3, 9, 3], priority=[2, 1, 2])[0] == [0, 2, 1]
    assert ordered(prompts, [], "fcfs", [2, 1, 0], priority=[1, 2, 1])[0] == [1, 0, 2]
    assert ordered(prompts, [], "fcfs", [2, 1, 0], priority=[1, 2, 1], low_first=True)[0] == [0, 2, 1]
    assert ordered(prompts, [], "fcfs", [2, 1, 0])[0] == [2, 1, 0]


def test_the_head_of_the_queue_is_refreshed_every_32nd_time():
    prompts = [[[k, 0, 5 + k]] for k in range(3)]
    for calls, removed in ((1, 6), (32, 6), (33, 7)):
        texts, _ = written(prompts)
        tree = fresh_tree(1, 100, 3, ordered=True)
        for i in range(3):
            put_in(tree, texts, i, 5 + i, 0)
        table, rows = records(request_table(np.zeros(3), np.array([5, 6, 7]))), np.array([0, 1, 2])
        for k in range(calls):  # of the first call the queue is one request, and then three
            among = 0, tree, texts.pieces, texts.paths, table, rows, 3 if k else 1
            put_in_order(*among, POLICIES["fcfs"], False, False)
        assert evict(0, tree, 1) == removed
