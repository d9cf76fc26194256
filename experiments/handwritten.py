"""A loop for one policy alone, as one would write it by hand for speed: the yardstick of `speed.py`."""

import numba
import numpy as np


@numba.njit(cache=True, error_model="numpy")
def sprpt(arrival, size, predicted, completion, remaining, heap_rank, heap_row):
    """Serve jobs by shortest predicted remaining processing time, preemptively.

    Args:
        arrival: ascending, s `(n,)`.
        size: s `(n,)`.
        predicted: s `(n,)`.
        completion: s `(n,)`, written.
        remaining: a copy of `size`, `(n,)`; counted down.
        heap_rank: float64 scratch `(n,)`.
        heap_row: int64 scratch `(n,)`.
    """
    n, waiting, arrived, clock, i, rank = arrival.shape[0], 0, 0, 0.0, -1, 0.0
    while True:
        if i < 0:
            if waiting > 0:
                i, rank = heap_row[0], heap_rank[0]
                waiting -= 1
                last_rank, last_row, hole, child = heap_rank[waiting], heap_row[waiting], 0, 1
                while child < waiting:
                    if child + 1 < waiting and heap_rank[child + 1] < heap_rank[child]:
                        child += 1
                    if last_rank <= heap_rank[child]:
                        break
                    heap_rank[hole], heap_row[hole] = heap_rank[child], heap_row[child]
                    hole, child = child, 2 * child + 1
                heap_rank[hole], heap_row[hole] = last_rank, last_row
            elif arrived < n:
                i, clock, rank = arrived, arrival[arrived], predicted[arrived]
                arrived += 1
            else:
                return
        done = clock + remaining[i]
        if arrived == n or done <= arrival[arrived]:
            completion[i] = clock = done
            i = -1
            continue
        served = arrival[arrived] - clock
        clock = arrival[arrived]
        remaining[i] -= served
        rank -= served
        out, out_rank = arrived, predicted[arrived]
        arrived += 1
        if out_rank < rank:
            out, out_rank, i, rank = i, rank, out, out_rank
        hole = waiting
        waiting += 1
        while hole > 0 and out_rank < heap_rank[(hole - 1) >> 1]:
            parent = (hole - 1) >> 1
            heap_rank[hole], heap_row[hole] = heap_rank[parent], heap_row[parent]
            hole = parent
        heap_rank[hole], heap_row[hole] = out_rank, out


def tables(jobs: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the arguments of `sprpt` for a job table, every page of them touched."""
    columns = (np.ascontiguousarray(jobs["arrival"]), sizes.copy(), np.ascontiguousarray(jobs["predicted"]))
    n = len(sizes)
    return *columns, np.full(n, np.nan), sizes.copy(), np.zeros(n), np.zeros(n, np.int64)
