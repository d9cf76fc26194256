"""Do the engines of several servers give what theory says? Every row has a verdict; its rule stands here, set before.

* M/M/k: the mean wait of Erlang C lies in the interval. Where fewer than one wait in a hundred runs is expected, nobody
  may wait.
* Power of two, 1000 queues, sampled with replacement as in theory: mean jobs per queue and every P(queue >= i) of at
  least .01 lie within 1 % of the fixed point plus its 1/n term. Both are averages over time, the first fifth left out.
* One bit (`theory.one_bit_choices`, a reconstruction in the limit of many queues): mean response times at 1000 queues
  lie within 1 % of the limit; extrapolated, as errors are of order 1/n, from 250 and 1000 queues, (4 x_1000 - x_250)/3,
  the limit lies in the interval. With 55 % of the bits wrong the mean is below that without bits, interval and all.
* ServerFilling, 8 servers, needs 1, 2, 4, 8, exponential durations of mean 1: let V be the pool's mean wait. The mean
  work in system, over 8, is V to V + 7/8 s, and the mean response time V + 1/8 to V + 7/8 + E[size] / load. For where
  a server idles, those in system need at most 7 together and all run, so the work over 8 is at most 7/8 in mean; what
  a job waits until it is among those that fill the servers is the work it met, less at most as much; and then there
  are at most 8 of them (Little). The estimate lies between the bounds.
* One server: the engines of one queue for all and of a queue each give the completions of the single server, to 1e-9 s
  (rows say whether to the last bit), for every policy whose ranks do not rise; the mean within .5 % for the others.
* Speeds 4, 2, 1, 1, FCFS: the exact mean response time lies in the interval, and no blind policy is below the floor.

Intervals are Student's t over seeds, each at a level that lets all of a part hold at once with 99 %. The load that a
run happened to have is a control variate in the first three parts. ServerFilling's mean is the pool's exact one plus
the paired difference to the pool, played over the same jobs, as at .999 no run is long enough to settle. Writes
`results/several_servers_against_theory.json`; six minutes of one core.

As found, 124 of 125 rows hold. P(queue >= 9) at load .99 does not come within 1 %: noise alone is 45 % there, and the
1/n term is as large as the limit, so that the expansion cannot be trusted to 1 % either; theory lies in the interval.
"""

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.evaluation import across_seeds, control_variate, result, write_json
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.evaluation.statistics import Estimate
from llmqueue_gym.jobs import job_table
from llmqueue_gym.policies import POLICIES, policy
from llmqueue_gym.policies.dispatch import DispatchPolicy, dispatch_policy
from llmqueue_gym.systems import Drawn, Run, Scenario
from llmqueue_gym.systems.dispatch import Dispatch
from llmqueue_gym.systems.mg1 import MG1
from llmqueue_gym.theory.erlang import MMk
from llmqueue_gym.theory.one_bit_choices import MOSTLY_WRONG, OneBitChoices
from llmqueue_gym.theory.packing import pooled
from llmqueue_gym.theory.power_of_d import PowerOfD
from llmqueue_gym.theory.unequal_servers import fastest_first, shared_fastest

OUT = Path(__file__).parent / "results" / "several_servers_against_theory.json"
JOBS, SEEDS, QUICK = 1_000_000, 10, 4  # QUICK seeds for a first look
WARMUP, NEAR, LEAST, JOINT = 0.2, 0.01, 0.01, 0.99
QUEUES, FEWER = 1000, 250
PER_QUEUE = {0.7: 1000, 0.9: 2000, 0.95: 3000, 0.99: 6000}  # jobs
ONE_BIT_PER_QUEUE = 5000
SPEEDS = (4.0, 2.0, 1.0, 1.0)
ORDINARY = OneBitChoices(0.8, 0.7, 0.5, 13 / 6, 0.3, 0.1)
PAIRS = {
    (0, 0): "short called short",
    (0, 1): "short called long",
    (1, 0): "long called short",
    (1, 1): "long called long",
}
CASES = {
    "few bits wrong": ORDINARY,
    "55 % wrong": MOSTLY_WRONG,
    "55 % wrong, idle queues first": replace(MOSTLY_WRONG, idle_first=True),
}

Row = dict[str, Any]


def part_level(rows: int) -> float:
    """Return the level of each of so many intervals that lets all hold at once with probability JOINT."""
    return 1 - (1 - JOINT) / rows


def row(part: str, what: str, exact: Any, found: Estimate, rule: str, holds: bool) -> Row:
    """Return a row; `exact` is a number or a pair of bounds."""
    told = {"part": part, "what": what, "exact": exact, "found": found.mean, "interval": [found.low, found.high]}
    return {**told, "level": found.level, "rule": rule, "holds": bool(holds)}


def inside(part: str, what: str, exact: float, found: Estimate) -> Row:
    """Judge by whether the exact value lies in the interval."""
    return row(part, what, exact, found, "in the interval", found.low <= exact <= found.high)


def near(part: str, what: str, exact: float, found: Estimate, within: float = NEAR) -> Row:
    """Judge by the distance from the exact value."""
    return row(part, what, exact, found, f"within {within:.1%}", abs(found.mean / exact - 1) <= within)


def between(part: str, what: str, bounds: tuple[float, float], found: Estimate) -> Row:
    """Judge by whether the estimate lies between bounds."""
    return row(part, what, bounds, found, "between bounds", bounds[0] <= found.mean <= bounds[1])


def certain(value: float) -> Estimate:
    """Return a number without noise."""
    return Estimate(value, value, value, 1.0, 1)


def load_of(run: Run, servers: float) -> float:
    """Return the load that a run had: work per second that came, over the speed of all servers."""
    return float(run.sizes.sum() / (run.jobs["arrival"][-1] - run.jobs["arrival"][0]) / servers)


# Erlang C.


def erlang_c(servers: int, load: float, jobs: int, seeds: int) -> list[Row]:
    """Mean waits of the M/M/k."""
    exact, where = MMk(servers, load), Scenario("central", load=load, servers=servers, n_jobs=jobs)
    what, waits, loads = f"{servers} servers, load {load:g}, mean wait", [], []
    for seed in range(seeds):
        run = where.simulate("fcfs", seed).after_warmup(WARMUP)
        waits.append(run.outcome["start"] - run.jobs["arrival"])
        loads.append(load_of(run, servers))
    if exact.delay_probability * jobs * seeds < 0.01:
        nobody = max(float(wait.max()) for wait in waits)
        return [row("M/M/k", what, exact.mean_wait, certain(nobody), "nobody waits", nobody == 0)]
    found = control_variate([wait.mean() for wait in waits], loads, load, part_level(8))
    return [inside("M/M/k", what, exact.mean_wait, found)]


# The power of two choices.


def time_in_tails(run: Run, queues: int, start: float, end: float) -> np.ndarray:
    """Return the share of queues with i jobs or more, i = 1, 2, ..., on average from `start` to `end`; FCFS queues.

    In a queue of N jobs there are max(N - i + 1, 0) pairs of a job and the one i - 1 before it, and such a pair is
    there from the arrival of the first to the completion of the other. Summed over pairs these times give the integral
    of max(N - i + 1, 0), and what that loses from i to i + 1 is the time for which N >= i.
    """
    order = np.argsort(run.jobs["site"].astype(np.int16), kind="stable")
    site = run.jobs["site"][order]
    came = np.maximum(run.jobs["arrival"][order], start)
    left = np.minimum(run.outcome["completion"][order], end)
    sums = [np.maximum(left - came, 0.0).sum()]
    while sums[-1] > 0:
        i = len(sums)
        both = np.maximum(left[:-i] - came[i:], 0.0)
        sums.append(both[site[:-i] == site[i:]].sum())
    return -np.diff(sums) / (end - start) / queues


def power_of_two(load: float, per_queue: int, seeds: int) -> list[Row]:
    """Mean queue and tails of the power of two choices."""
    n, theory = QUEUES * per_queue, PowerOfD(load, repeats=True)
    where = Scenario("dispatch", load=load, servers=QUEUES, n_jobs=n, order="fcfs")
    tails, loads = np.zeros((seeds, len(theory.tails))), []
    for seed in range(seeds):
        pairs = np.random.default_rng([seed, 1]).integers(QUEUES, size=(n, 2))
        jobs, truth = where.draw(seed)
        run = where.system.simulate(Drawn(jobs, {**truth, "choices": pairs}), dispatch_policy("power-of-d"))
        arrival = run.jobs["arrival"]
        found = time_in_tails(run, QUEUES, arrival[int(WARMUP * n)], arrival[-1])[: tails.shape[1]]
        tails[seed, : len(found)] = found
        loads.append(load_of(run.after_warmup(WARMUP), QUEUES))
    exact, part = theory.queue_tails(QUEUES), "power of two, 1000 queues"
    shown = range(1, int((exact >= LEAST).sum()))
    level = part_level(4 * 7)
    told = [(f"load {load:g}, mean jobs per queue", theory.mean_jobs(QUEUES), tails.sum(axis=1))]
    told += [(f"load {load:g}, P(queue >= {i})", float(exact[i]), tails[:, i - 1]) for i in shown]
    return [near(part, what, value, control_variate(found, loads, load, level)) for what, value, found in told]


# One bit.


def idle_or_alike(job: Any, queue: Any, params: Any) -> float:
    """Score a queue by the waiting jobs of the arrival's bit, and an idle one before all."""
    return -1.0 if queue.jobs == 0 else float(queue.alike)


def one_bit_runs(model: OneBitChoices, queues: int, per_queue: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean response times `(seeds, 5)`, of all jobs and of the pairs of type and bit, and loads `(seeds,)`.

    Types, sizes, samples and the numbers behind the errors are the same for every model of the same rates. The
    threshold is 1, and the predictions, on either side of it, make SPJF the order of the model.
    """
    n, means, loads = queues * per_queue, np.zeros((seeds, 5)), np.zeros(seeds)
    size = model.short_share * model.short_mean + (1 - model.short_share) * model.long_mean
    idle_first = DispatchPolicy("idle first", idle_or_alike, d=2, split=1.0)
    rule = idle_first if model.idle_first else dispatch_policy("one-bit-count:threshold=1")
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 2])
        arrival = np.cumsum(rng.standard_exponential(n)) * size / model.load / queues
        long = rng.random(n) >= model.short_share
        sizes = rng.standard_exponential(n) * np.where(long, model.long_mean, model.short_mean)
        wrong = rng.random(n) < np.where(long, model.long_error, model.short_error)
        bit = long ^ wrong
        jobs = job_table(arrival, np.where(bit, 2.0, 0.5))
        draws = rng.integers(queues, size=(n, model.choices))
        drawn = Drawn(jobs, {"sizes": sizes, "choices": draws, "ties": np.zeros(n)})
        run = Dispatch(queues, order="spjf").simulate(drawn, rule).after_warmup(WARMUP)
        kept, times = slice(n - len(run), None), run.response_times
        kind = 2 * long[kept] + bit[kept]
        each = np.bincount(kind, times, 4) / np.maximum(np.bincount(kind, minlength=4), 1)
        means[seed], loads[seed] = [times.mean(), *each], load_of(run, queues)
    return means, loads


def one_bit(name: str, per_queue: int, seeds: int) -> list[Row]:
    """Mean responses of the one-bit model by class, and what the bits are worth where most are wrong."""
    model, part, level = CASES[name], "one bit, two choices", part_level(19)
    limit, base = model.solve(), model.without_bits()
    many, few = (one_bit_runs(model, queues, per_queue, seeds) for queues in (QUEUES, FEWER))
    told = {"all": limit.mean_response_time, **{who: float(limit.response_time[pair]) for pair, who in PAIRS.items()}}
    rows = []
    for k, (who, exact) in enumerate(told.items()):
        ends = ((means[:, k], loads) for means, loads in (many, few))
        rows += one_bit_rows(f"{name}, {who}", exact, model.load, *ends)
    if model.wrong_share > 0.5:
        plain_limit = base.solve().mean_response_time
        (means, loads), fewer = (one_bit_runs(base, queues, per_queue, seeds) for queues in (QUEUES, FEWER))
        ends = ((means[:, 0], loads), (fewer[0][:, 0], fewer[1]))
        rows += one_bit_rows(f"{name}: without bits", plain_limit, model.load, *ends)
        gain, exact = across_seeds(many[0][:, 0] - means[:, 0], level), limit.mean_response_time - plain_limit
        rows.append(row(part, f"{name}: gain by the bits, 1000 queues", exact, gain, "interval below 0", gain.high < 0))
    return rows


def one_bit_rows(
    what: str, exact: float, load: float, many: tuple[np.ndarray, np.ndarray], few: tuple[np.ndarray, np.ndarray]
) -> list[Row]:
    """Return the rows of 1000 queues and of the extrapolation, each from means and loads `(seeds,)`."""
    part, level = "one bit, two choices", part_level(19)
    share = FEWER / QUEUES
    values, loads = ((a - share * b) / (1 - share) for a, b in zip(many, few, strict=True))
    return [
        near(part, f"{what}, 1000 queues", exact, control_variate(*many, load, level)),
        inside(part, f"{what}, extrapolated", exact, control_variate(values, loads, load, level)),
    ]


# ServerFilling.


def server_filling(load: float, jobs: int, seeds: int) -> list[Row]:
    """Work and mean response of ServerFilling against the pool's, which is played over the same jobs as a control."""
    where, means = Scenario("packing", load=load, n_jobs=jobs), []
    system = where.system
    known = pooled(system.servers, system.class_shares, system.class_needs, system.laws(where), load)
    pool, wait, size = known.mean_response_time, known.mean_wait, known.mean_size
    for seed in range(seeds):
        run = where.simulate("server-filling", seed).after_warmup(WARMUP)
        table, truth = where.draw(seed)
        fast = Drawn(table, {"sizes": truth["sizes"] * table["need"] / 8})
        one = MG1().simulate(fast, policy("fcfs")).after_warmup(WARMUP)
        times, need = run.response_times, run.jobs["need"]
        # Durations are exponential, so the work in system is what its jobs need together, by Little's law.
        work = known.rate * float((need * times).mean()) / 8
        means.append((float(times.mean()), work, float(one.response_times.mean())))
    response, work, control = np.array(means).T
    part, level = "ServerFilling over the pool", part_level(6)
    # Close to load 1 the difference to the pool varies far less than either.
    found, left = (across_seeds(values - control + pool, level) for values in (response, work))
    ratio = across_seeds((response - control + pool) / pool, level)
    bounds = wait + 1 / 8, wait + 7 / 8 + size / load
    return [
        between(part, f"load {load:g}, mean work in system / 8, s", (wait, wait + 7 / 8), left),
        between(part, f"load {load:g}, mean response, s", bounds, found),
        between(part, f"load {load:g}, mean response over the pool's", (bounds[0] / pool, bounds[1] / pool), ratio),
    ]


# One server, and servers of unequal speed.


def one_server(name: str, jobs: int) -> list[Row]:
    """Completions of one server by the three engines."""
    single, rows = Scenario(load=0.9, n_jobs=jobs).simulate(name, 3), []
    told = {"servers": 1, "load": 0.9, "n_jobs": jobs}
    central, queues = Scenario("central", **told), Scenario("dispatch", order=name, **told)
    for engine, where, player in (("one queue for all", central, name), ("a queue each", queues, "random")):
        run, what = where.simulate(player, 3), f"{name}, {engine}"
        if policy(name).shape == "general":
            ratio = run.response_times.mean() / single.response_times.mean()
            rows.append(near("one server", f"{what}, ratio of means", 1.0, certain(ratio), 0.005))
            continue
        apart = float(np.abs(run.outcome["completion"] - single.outcome["completion"]).max())
        same = (run.outcome["preemptions"] == single.outcome["preemptions"]).all()
        rule = "to the last bit" if apart == 0 else "to 1e-9 s"
        rows.append(row("one server", f"{what}, farthest apart, s", 0.0, certain(apart), rule, apart <= 1e-9 and same))
    return rows


def unequal(load: float, jobs: int, seeds: int) -> list[Row]:
    """FCFS on servers of unequal speed against the exact chain, and blind policies against their floor."""
    where = Scenario("central", load=load, speeds=SPEEDS, n_jobs=jobs)
    exact, floor = (f(SPEEDS, where.source.rate).mean_response_time for f in (fastest_first, shared_fastest))
    part, level, rows = "speeds 4, 2, 1, 1", part_level(6), []
    for name in ("fcfs", "lcfs"):
        means = []
        for seed in range(seeds):
            means.append(float(where.simulate(name, seed).after_warmup(WARMUP).response_times.mean()))
        found, what = across_seeds(means, level), f"load {load:g}, {name}, mean response"
        # Both leave the number in system as it is: they look at no size, and an exponential size has no memory.
        rows.append(inside(part, what, exact, found))
        rows.append(between(part, f"{what}, floor", (floor, np.inf), found))
    return rows


def parts(seeds: int) -> list[tuple[Callable[..., list[Row]], tuple[Any, ...]]]:
    """Return the parts in the order of the table: a function and its arguments."""
    loads = (0.5, 0.8, 0.95)
    return [
        *((erlang_c, (k, load, JOBS, seeds)) for k in (2, 10, 100) for load in loads),
        *((power_of_two, (load, count, seeds)) for load, count in PER_QUEUE.items()),
        *((one_bit, (name, ONE_BIT_PER_QUEUE, seeds)) for name in CASES),
        *((server_filling, (load, JOBS, seeds)) for load in (0.9, 0.99, 0.999)),
        *((one_server, (name, 20_000)) for name in POLICIES if not policy(name).drops),
        *((unequal, (load, JOBS, seeds)) for load in loads),
    ]


def call(job: tuple[Callable[..., list[Row]], tuple[Any, ...]]) -> list[Row]:
    """Return the rows of a part."""
    function, arguments = job
    return function(*arguments)


def report(found: dict[str, Any], console: Console) -> None:
    """Print a table for each part and how many rows hold."""
    for part in dict.fromkeys(row["part"] for row in found["rows"]):
        mine = [row for row in found["rows"] if row["part"] == part]
        table = Table("what", "theory", "found", "gap", "rule", "", title=part, title_justify="left")
        for one in mine:
            exact, half = one["exact"], (one["interval"][1] - one["interval"][0]) / 2
            bounds = isinstance(exact, (list, tuple))
            theory = " to ".join(f"{value:.5g}" for value in exact) if bounds else f"{exact:.5g}"
            gap = "" if bounds or not exact else f"{one['found'] / exact - 1:+.2%}"
            estimate = f"{one['found']:.5g}" + (f" ±{half:.2g}" if half > 0 else "")
            table.add_row(one["what"], theory, estimate, gap, one["rule"], "holds" if one["holds"] else "FAILS")
        console.print(table)
    for sentence in found["finding"]:
        console.print(sentence)


def findings(rows: list[Row]) -> list[str]:
    """Say how many rows hold, and name those that do not."""
    failed = [f"{row['part']}: {row['what']}" for row in rows if not row["holds"]]
    return [f"{len(rows) - len(failed)} of {len(rows)} rows hold.", *(f"FAILS: {name}" for name in failed)]


def main(arguments: list[str] | None = None) -> None:
    """Play, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help=f"a look: {QUICK} seeds, too few to judge; not stored")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT, help="where the result is stored")
    options = parser.parse_args(arguments)
    seeds = QUICK if options.quick else SEEDS
    jobs = parts(seeds)
    with ProcessPoolExecutor(options.processes, initializer=end_with_parent) as pool:
        done = list(track(pool.map(call, jobs), "parts", len(jobs), console=Console(stderr=True)))
    rows = [row for some in done for row in some]
    told = {"quick": options.quick, "warmup": WARMUP, "joint_level": JOINT}
    found = result({**told, "rows": rows, "finding": findings(rows)}, None, range(seeds))
    if not options.quick:
        options.out.parent.mkdir(exist_ok=True)
        write_json(options.out, found)
    print(json.dumps(plain(found))) if options.json else report(found, Console(width=150))


if __name__ == "__main__":
    main()
