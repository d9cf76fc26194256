"""Consistent hashing with bounded loads: prompts that begin with the same text go to the same replica, if it has room.

Each replica stands at several places of a ring. A request stands where its text falls, or its tenant if nobody shares
its text, or itself if it has neither; it goes to the replica that it meets first, clockwise, among those with fewer
requests than `factor` times the mean. So a replica that comes or goes moves the requests of its own places alone, and
no replica has more than ceil(factor (m + 1) / n) of m + 1 requests. An infinite factor is plain consistent hashing.

Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018; Karger et al., STOC 1997.
"""

import math

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.routing.base import RoutingPolicy

_FULL = 2.0  # further than any place of the ring
_BITS = (1 << 31) - 1  # products of these stay below what an integer holds, which compiled code relies on
_MIX, _COPY, _KIND = 0x45D9F3B, 0x1E3779B9, 0x27D4EB2F  # odd numbers without a pattern
_TEXT, _TENANT, _ITSELF, _REPLICA = 1, 2, 3, 4


def stirred(x):
    """Return a hash of 31 bits of a number of 31 bits."""
    x = ((x ^ (x >> 16)) * _MIX) & _BITS
    x = ((x ^ (x >> 15)) * _MIX) & _BITS
    return x ^ (x >> 16)


def place(kind, number, copy):
    """Return where on the ring, in [0, 1), the copy of something of a kind stands."""
    x = stirred((number ^ (number >> 31)) & _BITS)
    return stirred((x + copy * _COPY + kind * _KIND) & _BITS) / (_BITS + 1.0)


def score(request, site, params):
    factor, copies = params[0], int(params[1])
    if site.outstanding + 1 > math.ceil(factor * (site.total + 1) / site.sites):
        return _FULL
    if request.prefix != 0:
        start = place(_TEXT, request.prefix, 0)
    elif request.tenant != 0:
        start = place(_TENANT, request.tenant, 0)
    else:
        start = place(_ITSELF, request.place, 0)
    least = 1.0
    for copy in range(copies):
        least = min(least, (place(_REPLICA, site.index, copy) - start) % 1.0)
    return least


def consistent_hash(factor: float = 1.25, copies: int = 100) -> RoutingPolicy:
    """Consistent hashing with bounded loads.

    Args:
        factor: most requests of a replica, as a multiple of the mean; at least 1.
        copies: places of a replica on the ring.
    """
    if not factor >= 1:
        raise BadInput(f"consistent-hash: factor={factor:g} leaves no room for all requests; at least 1")
    if copies < 1:
        raise BadInput(f"consistent-hash: copies={copies} places a replica; at least 1")
    source = "Mirrokni, Thorup, Zadimoghaddam, Consistent Hashing with Bounded Loads, SODA 2018"
    return RoutingPolicy("consistent-hash", score, params=(min(float(factor), 1e9), float(copies)), source=source)
