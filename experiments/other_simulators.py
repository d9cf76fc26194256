"""The same servers in SimPy and in Ciw, on given jobs, as their manuals would have it.

Every function returns response times `(n,)` and the seconds of the run.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Played = tuple[np.ndarray, float]


def simpy_spjf(arrival: np.ndarray, size: np.ndarray, predicted: np.ndarray, servers: int = 1) -> Played:
    """Serve by shortest predicted job first, without preemption: SimPy's `PriorityResource`."""
    import simpy

    env = simpy.Environment()
    crew = simpy.PriorityResource(env, servers)

    def serve(need, priority):
        with crew.request(priority=priority) as turn:
            yield turn
            yield env.timeout(need)

    return _played(env, arrival, serve, zip(size.tolist(), predicted.tolist(), strict=True))


def simpy_shortest(arrival: np.ndarray, size: np.ndarray, choices: np.ndarray, queues: int) -> Played:
    """Join the shortest of the queues that a job looks at, the first of equals: a `Resource` for each."""
    import simpy

    env = simpy.Environment()
    crew = [simpy.Resource(env) for _ in range(queues)]

    def serve(need, seen):
        with min((crew[s] for s in seen), key=lambda one: one.count + len(one.queue)).request() as turn:
            yield turn
            yield env.timeout(need)

    return _played(env, arrival, serve, zip(size.tolist(), choices.tolist(), strict=True))


def simpy_needs(arrival: np.ndarray, duration: np.ndarray, need: np.ndarray, servers: int) -> Played:
    """Give each job several servers at once, first come first served: SimPy's `Container`, whose first waits alone."""
    import simpy

    env = simpy.Environment()
    free = simpy.Container(env, servers, servers)

    def serve(span, amount):
        yield free.get(amount)
        yield env.timeout(span)
        yield free.put(amount)

    return _played(env, arrival, serve, zip(duration.tolist(), need.tolist(), strict=True))


def _played(env: Any, arrival: np.ndarray, serve: Callable[..., Any], told: Iterable[tuple[Any, ...]]) -> Played:
    """Run a process `serve` for each job at its arrival, with what is told of it."""
    response = np.empty(len(arrival))

    def job(row, came, numbers):
        yield from serve(*numbers)
        response[row] = env.now - came

    def source():
        for row, (came, numbers) in enumerate(zip(arrival.tolist(), told, strict=True)):
            yield env.timeout(came - env.now)
            env.process(job(row, came, numbers))

    start = time.perf_counter()
    env.process(source())
    env.run()
    return response, time.perf_counter() - start


def ciw_fcfs(arrival: np.ndarray, size: np.ndarray, servers: int = 1) -> Played:
    """Serve first come first served, Ciw's default; its service times are drawn when service starts."""
    import ciw

    gaps = np.diff(arrival, prepend=0.0).tolist()
    network = ciw.create_network(
        # Ciw repeats a sequence from its start: the infinite gap ends it.
        arrival_distributions=[ciw.dists.Sequential([*gaps, float("inf")])],
        service_distributions=[ciw.dists.Sequential(size.tolist())],
        number_of_servers=[servers],
    )
    start = time.perf_counter()
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(len(size), method="Finish")
    elapsed = time.perf_counter() - start
    records = sorted(simulation.get_all_records(), key=lambda record: record.arrival_date)
    return np.array([record.exit_date - record.arrival_date for record in records]), elapsed
