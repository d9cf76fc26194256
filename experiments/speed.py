"""How fast is the library, next to hand-written compiled loops, SimPy, Ciw, AISimulate and Gymnasium's CartPole?

Everything is measured in one run, on one thread, and stored in `results/speed.json`. With `--only`, which may be given
several times, parts are measured and nothing is stored. With `--json` that object is printed too, with these keys:

* `jobs`: jobs in each engine run; `load_average`: of the machine, before and after, as a busy machine is a slow one;
* `rows`: list of {"what", "unit", "median", "best", "n"}: a rate (1/s) or a time (s) and how often it was measured;
* `ratios`: by name, of the medians of this run. `engine / hand-written loop` is the share of the loop's speed (SPRPT,
  exponential sizes and predictions, load .8; the median of the ratios of successive runs, and the ratio of the best
  runs, which other work on the machine disturbs less), `engine / SimPy` and `engine / Ciw` are of the same policy on
  the same jobs, on one server unless the name says another number, `serving engine / hand-written loop` is of
  iterations at a batch of 64 on the same backlog, `fleet / AISimulate` is how many times less CPU the same requests
  take behind the same router on as many replicas, see `aisimulate`, and the others are of environment steps;
* `notes`: what came of the requests of `fleet` and of `AISimulate`;
* `skipped`: what is not installed.

Engine and loop are timed in the kernel alone, compiled before, on arrays whose pages have been touched. A time is that
of the clock, but for `CPU s`, of a command in a process of its own or of a whole `simulate` in this one.
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

from command_speed import beginnings
from environment_rates import environments
from measured import Measured, report
from queue_speed import engines, servers, simulators, simulators_of_servers
from rich.console import Console
from serving_speed import fleets, programs, serving

from llmqueue_gym.evaluation import result, write_json
from llmqueue_gym.evaluation.results import plain

RESULTS = Path(__file__).parent / "results"
PARTS: dict[str, Callable[[Measured, int], None]] = {
    "engine": engines,
    "simulators": lambda measured, jobs: simulators(measured),
    "servers": servers,
    "simulators-of-servers": lambda measured, jobs: simulators_of_servers(measured),
    "environments": lambda measured, jobs: environments(measured),
    "serving": lambda measured, jobs: serving(measured),
    "fleets": lambda measured, jobs: fleets(measured),
    "programs": lambda measured, jobs: programs(measured),
    "beginnings": lambda measured, jobs: beginnings(measured),
}


def main() -> None:
    """Measure, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs in each engine run")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="measure this part; nothing is stored")
    options = parser.parse_args()
    measured, before = Measured(), os.getloadavg()[0]
    for name in options.only or PARTS:
        PARTS[name](measured, options.jobs)
    found = result({"jobs": options.jobs, "load_average": [before, os.getloadavg()[0]], **vars(measured)})
    if not options.only:
        RESULTS.mkdir(exist_ok=True)
        write_json(RESULTS / "speed.json", found)
    print(json.dumps(plain(found))) if options.json else report(found, Console())


if __name__ == "__main__":
    main()
