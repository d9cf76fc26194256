"""The radix cache and the orders of its queue: against a plain reference, and each trap of the rules alone."""

import random

import numpy as np
import pytest
from reference_radix import ReferenceTree

from llmqueue_gym.engines.batching.cache import PATH
from llmqueue_gym.engines.batching.radix import insert, lock, match, unlock
from llmqueue_gym.engines.batching.radix_leaves import evict
from llmqueue_gym.engines.batching.radix_order import POLICIES, put_in_order
from llmqueue_gym.engines.batching.radix_tables import EVICTABLE, LEAVES, POSTPONED, PROTECTED, USED, cut_down
from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.requests import SEGMENT, Contexts, Requests, never_refreshed, request_table
from llmqueue_gym.systems.replica_tables import loaded
from llmqueue_gym.systems.serve import as_drawn


class Tree:
    """A tree of prompts given as pieces, which are put in where `tokens` says so."""

    def __init__(self, prompts, page=1, eviction="lru", most=1, priority=0):
        pieces, n = np.array([tuple(piece) for prompt in prompts for piece in prompt], SEGMENT), len(prompts)
        first = np.cumsum([0, *map(len, prompts)])
        self.tokens = [[(text << 20) + start + k for text, start, m in prompt for k in range(m)] for prompt in prompts]
        table = request_table(np.zeros(n), np.array([len(one) for one in self.tokens]), priority=priority)
        table["upper"] = most
        contexts = Contexts(pieces, first, (1 << 40) + np.arange(n))
        given = Requests(table, np.ones(n, np.int64), never_refreshed(n), contexts)
        rules = rule_set(f"sglang:blocks=4000,max_seqs=1,block_size={page},eviction={eviction},queue_order=lpm")
        replica = loaded(as_drawn(given), rules)
        self.cells, self.place, self.requests, self.truth = (
            replica.cells,
            int(replica.state["tree"][0]),
            replica.requests,
            replica.truth,
        )

    @classmethod
    def filled(cls, prompts, **traits):
        """Return a tree into which prompts were put in order."""
        tree = cls(prompts, **traits)
        for i in range(len(prompts)):
            tree.put_in(i, len(tree.tokens[i]))
        return tree

    def at(self, i):
        return self.cells, self.place, int(self.truth["path"][i]) + PATH

    def match(self, i, length):
        return match(*self.at(i), length)

    def put_in(self, i, length, known=0):
        return insert(*self.at(i), length, known)[:2]

    def lock(self, node):
        lock(self.cells, self.place, node)

    def unlock(self, node):
        unlock(self.cells, self.place, node)

    def evict(self, tokens):
        return evict(self.cells, self.place, tokens)

    def state(self, *names):
        return tuple(int(self.cells[self.place + name]) for name in names)

    def order(self, queue, policy, by_priority=False, low_first=False):
        """Return the order of a queue."""
        rows = np.array(queue)
        among = self.cells, self.place, self.requests, self.truth, rows, len(rows)
        put_in_order(*among, POLICIES[policy], by_priority, low_first)
        return rows.tolist()


def scraps(rng):
    """Return short scraps of two texts, so that nodes are split at all places and first pages differ late."""
    return [[rng.randrange(2), rng.randrange(3), rng.randint(1, 6)] for _ in range(rng.randint(1, 9))]


@pytest.mark.parametrize(("page", "eviction"), [(1, "lru"), (1, "lfu"), (4, "lru"), (16, "lfu")])
def test_a_wide_and_deep_tree_against_the_plain_reference(page, eviction):
    """Look-ups, insertions, locks and evictions in any order; nodes are used again, and the tree is emptied once."""
    rng = random.Random(page)
    prompts = [[[rng.randrange(40), 0, rng.choice([3, 20])], *scraps(rng)] for _ in range(150)]
    tree, plain, locks = Tree(prompts, page, eviction), ReferenceTree(page, eviction == "lfu"), []
    for turn in range(1500):
        i, what = rng.randrange(len(prompts)), rng.random()
        length = rng.randint(0, len(tree.tokens[i]))
        tokens = tree.tokens[i][:length]
        if turn == 700:
            cut_down(tree.cells, tree.place)
            plain, locks = ReferenceTree(page, eviction == "lfu"), []
        elif what < 0.4:
            (at, node), (there, other) = tree.match(i, length), plain.match(tokens)
            assert at == there
            if what < 0.1:
                tree.lock(node)
                plain.lock(other, 1)
                locks.append((node, other))
        elif what < 0.8:
            known = rng.randint(0, length)
            assert tree.put_in(i, length, known) == plain.insert(tokens, known)
        elif what < 0.9:
            asked = rng.randint(0, 30)
            assert tree.evict(asked) == plain.evict(asked)
        elif locks:
            node, other = locks.pop(rng.randrange(len(locks)))
            tree.unlock(node)
            plain.lock(other, -1)
        state = plain.tokens(locked=False), plain.tokens(locked=True), len(plain.leaves())
        assert tree.state(EVICTABLE, PROTECTED, LEAVES) == state


# The traps of the rules, each alone.


def ordered(prompts, cached, policy, queue=None, low_first=False, **given):
    """Return the order of a queue of prompts over a tree that holds some of their prefixes, and who is held back."""
    tree = Tree(prompts, **given)
    for i, length in cached:
        tree.put_in(i, length)
    order = tree.order(queue or range(len(prompts)), policy, "priority" in given, low_first)
    return order, tree.cells[tree.truth["path"] + POSTPONED].astype(bool).tolist()


def test_the_unmatched_tail_of_a_node_is_refreshed_too():
    tree = Tree.filled([[[1, 0, 10]], [[2, 0, 7]]])
    assert tree.match(0, 4)[0] == 4  # splits the first: its tail of 6 is now later than the second
    assert [tree.evict(1) for _ in range(3)] == [7, 6, 4]


def test_whole_leaves_are_removed_and_then_their_parents():
    tree = Tree.filled([[[1, 0, 10], [2, 0, 5]], [[1, 0, 10], [3, 0, 6]], [[4, 0, 3]]])
    assert tree.evict(6) == 11  # 5 and 6; what they left is older than the 3
    assert tree.evict(1) == 10 and tree.evict(1) == 3
    assert tree.evict(1) == 0 and tree.match(0, 15)[0] == 0


def test_what_is_locked_stays():
    tree = Tree.filled([[[1, 0, 10], [2, 0, 5]], [[3, 0, 6]]])
    _, node = tree.match(0, 10)
    tree.lock(node)
    assert tree.state(EVICTABLE, PROTECTED, LEAVES) == (11, 10, 2)
    assert tree.evict(99) == 11
    tree.unlock(node)
    assert tree.state(EVICTABLE, PROTECTED, LEAVES) == (10, 0, 1)
    assert tree.evict(99) == 10


def test_hits_count_only_beyond_what_the_request_put_in_before():
    tree = Tree.filled([[[1, 0, 10]], [[2, 0, 7]]], eviction="lfu")
    tree.put_in(0, 10)
    tree.put_in(1, 7, known=7)  # no further hit
    assert [tree.evict(1) for _ in range(2)] == [7, 10]


def test_a_split_passes_on_hits_and_an_insertion_ends_in_a_leaf_of_one():
    tree = Tree.filled([[[1, 0, 10]], [[1, 0, 4], [2, 0, 3]], [[3, 0, 5]]], eviction="lfu")
    # The upper 4 have 2 hits, the lower 6 one, and so have the 3 and the 5: by time.
    assert [tree.evict(1) for _ in range(4)] == [6, 3, 5, 4]


def test_only_whole_pages_are_kept_and_matched():
    tree = Tree.filled([[[1, 0, 10], [2, 0, 5]]], page=4)
    assert tree.put_in(0, 3) == (0, 0) and tree.state(EVICTABLE) == (12,)
    assert tree.match(0, 11)[0] == 8 and tree.match(0, 3)[0] == 0
    tree = Tree.filled([[[1, 0, 6], [2, 0, 6]], [[1, 0, 6], [3, 0, 6]]], page=4)
    assert tree.match(1, 12)[0] == 12 and tree.state(USED) == (3,)  # they part in the second page


def test_pages_that_begin_and_end_alike_are_told_apart():
    tree = Tree.filled([[[1, 0, 1], [2, 0, 2], [3, 0, 1]], [[1, 0, 1], [4, 0, 2], [3, 0, 1]]], page=4)
    assert tree.state(USED) == (2,) and tree.match(0, 4)[1] != tree.match(1, 4)[1]


def test_pieces_may_be_cut_anywhere():
    tree = Tree.filled([[[1, 0, 10], [2, 5, 3]], [[1, 0, 4], [1, 4, 0], [1, 4, 6], [2, 5, 1], [2, 6, 2]]])
    assert tree.state(USED) == (1,) and tree.match(1, 13)[0] == 13


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


@pytest.mark.parametrize(("calls", "removed"), [(1, 6), (32, 6), (33, 7)])
def test_the_head_of_the_queue_is_refreshed_every_32nd_time(calls, removed):
    tree = Tree.filled([[[k, 0, 5 + k]] for k in range(3)])
    for k in range(calls):  # of the first call the queue is one request, and then three
        tree.order([0, 1, 2] if k else [0], "fcfs")
    assert tree.evict(1) == removed
