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


@numba.njit(cache=True, error_model="numpy")
def batches(prompt, output, seats, floor, base, token, pair, context, completion):
    """Serve a backlog first come first served in batches of `seats`, whole prompts, without a memory limit or metrics.

    Args:
        prompt: tokens `(n,)`.
        output: tokens `(n,)`.
        seats: requests in a batch.
        floor: of the time of an iteration, s; as are the four slopes behind it.
        base: see `floor`.
        token: see `floor`.
        pair: see `floor`.
        context: see `floor`.
        completion: s `(n,)`, written.

    Returns:
        the number of iterations.
    """
    n, clock, first, held, iterations = prompt.shape[0], 0.0, 0, 0, 0
    row, done = np.zeros(seats, np.int64), np.zeros(seats, np.int64)
    while held > 0 or first < n:
        old = held
        while held < seats and first < n:
            row[held], done[held] = first, 0
            first += 1
            held += 1
        tokens, pairs, read = old, 0.0, 0.0
        for k in range(held):
            i = row[k]
            if k < old:
                read += prompt[i] + done[k]
            else:
                tokens += prompt[i]
                pairs += 0.5 * prompt[i] * prompt[i]
        clock += max(floor, base + token * tokens) + pair * pairs + context * read
        stay = 0
        for k in range(held):
            done[k] += 1
            if done[k] >= output[row[k]]:
                completion[row[k]] = clock
            else:
                row[stay], done[stay] = row[k], done[k]
                stay += 1
        held = stay
        iterations += 1
    return iterations
