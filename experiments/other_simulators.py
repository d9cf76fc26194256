"""The same single server in SimPy and in Ciw, on given jobs, as their manuals would have it."""

import time

import numpy as np


def simpy_spjf(arrival: np.ndarray, size: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, float]:
    """Serve by shortest predicted job first, without preemption: SimPy's `PriorityResource`.

    Returns:
        response times `(n,)` and the seconds of the run.
    """
    import simpy

    response = np.empty(len(size))
    env = simpy.Environment()
    server = simpy.PriorityResource(env)

    def job(row, came, need, priority):
        with server.request(priority=priority) as turn:
            yield turn
            yield env.timeout(need)
        response[row] = env.now - came

    def source():
        for row, (came, need, priority) in enumerate(
            zip(arrival.tolist(), size.tolist(), predicted.tolist(), strict=True)
        ):
            yield env.timeout(came - env.now)
            env.process(job(row, came, need, priority))

    start = time.perf_counter()
    env.process(source())
    env.run()
    return response, time.perf_counter() - start


def ciw_fcfs(arrival: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, float]:
    """Serve first come first served, Ciw's default; its service times are drawn when service starts.

    Returns:
        response times `(n,)` and the seconds of the run.
    """
    import ciw

    gaps = np.diff(arrival, prepend=0.0).tolist()
    network = ciw.create_network(
        # Ciw repeats a sequence from its start: the infinite gap ends it.
        arrival_distributions=[ciw.dists.Sequential([*gaps, float("inf")])],
        service_distributions=[ciw.dists.Sequential(size.tolist())],
        number_of_servers=[1],
    )
    start = time.perf_counter()
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(len(size), method="Finish")
    elapsed = time.perf_counter() - start
    records = sorted(simulation.get_all_records(), key=lambda record: record.arrival_date)
    return np.array([record.exit_date - record.arrival_date for record in records]), elapsed
