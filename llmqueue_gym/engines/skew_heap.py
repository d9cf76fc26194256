"""Groups of jobs that are served at one speed: skew heaps, of which any two become one in O(log n) on average.

No member of a group ends before the one above it. The root is the first to end, and names the group.

Source: Sleator and Tarjan, "Self-Adjusting Heaps", SIAM J. Computing 15(1), 1986.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, part_kernel

MEMBER = np.dtype(
    [
        ("end", "f8"),  # clock of the group at which it ends
        ("weight", "f8"),  # of the root of a group that waits: the weight of all members
        ("left", "i8"),  # members below it, or -1
        ("right", "i8"),
        ("ahead", "i8"),  # in a walk over all members: whom to visit after it, or -1
    ],
    align=True,
)


@inner_kernel
def alone(member, end, weight):
    """Let a job be a group."""
    member.end, member.weight, member.left, member.right = end, weight, -1, -1


@inner_kernel
def precedes(members, a, b):
    """Whether a member ends before another; of two that end together the first to come does."""
    return members[a].end < members[b].end or (members[a].end == members[b].end and a < b)


@part_kernel
def merge(members, a, b):
    """Make one group of two, either of which may be none, -1; returns its root."""
    if a < 0 or b < 0:
        return max(a, b)
    if precedes(members, b, a):
        a, b = b, a
    root = a
    while True:
        below = members[a].right
        members[a].right = members[a].left
        if below < 0:
            members[a].left = b
            return root
        if precedes(members, b, below):
            below, b = b, below
        members[a].left = below
        a = below


@inner_kernel
def without_root(members, root):
    """Take the root off a group; returns the root of the rest, or -1."""
    return merge(members, members[root].left, members[root].right)


@part_kernel
def interrupt(members, root, outcome):
    """Count that every member of a group loses the server."""
    members[root].ahead = -1
    at = root
    while at >= 0:
        outcome[at].preemptions += 1
        ahead = members[at].ahead
        for below in (members[at].right, members[at].left):
            if below >= 0:
                members[below].ahead = ahead
                ahead = below
        at = ahead
