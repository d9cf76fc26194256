"""At which rate does first come first served keep up on each workload and GPU of the benchmark, by bisection?

Writes `llmqueue_gym/evaluation/bench/llm/capacities.py`, whose numbers the benchmark takes its loads from, and
`results/capacities.json`. Needs the data, an optional folder beside the project.
"""

import sys
from pathlib import Path

from llmqueue_gym.evaluation.bench.llm.capacity import DRAWN, SEED, find, scenario
from llmqueue_gym.evaluation.bench.llm.cases import all_cases
from llmqueue_gym.evaluation.bench.llm.streams import fingerprint
from llmqueue_gym.evaluation.results import result, write_json

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "traces" / "data"
HEAD = f'''"""What first come first served keeps up with, requests/s, by fingerprint and cost profile.

Found by bisection, to 2 %: whether it keeps up is seen on the requests played three times over without a break, under
the rules of vLLM v1 (`serving.scenario.capacity`). A recording is taken whole, with its own arrival times; elsewhere
{DRAWN:,} requests are drawn with seed {SEED} and Poisson arrivals. A fingerprint of requests: how many, their
prompt tokens, their output tokens, and the last arrival in s before it is scaled. Computed by
`experiments/find_capacities.py`; `experiments/results/capacities.json` says when and with what.
"""

FOUND: dict[tuple[int, int, int, float], dict[str, float]] = {{
'''


def main() -> None:
    """Find and store all capacities."""
    if not DATA.is_dir():
        sys.exit(f"{DATA}: no such folder; without the recorded requests their capacities cannot be found")
    stored: dict[tuple[int, int, int, float], dict[str, float]] = {}
    names, rows = {}, []
    for data in (DATA, ROOT / "absent"):
        cases, notes = all_cases(DRAWN, 1, data)
        for block, profile, stream in {(case.block, case.profile, case.stream): None for case in cases}:
            mark, known = fingerprint(scenario(stream, profile).draw(seed=SEED)), find(stream, profile)
            stored.setdefault(mark, {})[profile] = round(known.rate, 6)
            names[mark] = f"{block}, {'embedded tables' if notes[block]['embedded'] else notes[block]['file']}"
            row = {"workload": block, "file": notes[block]["file"], "profile": profile, "requests": mark[0]}
            rows.append({**row, "fingerprint": mark, **known._asdict()})
            print(f"{names[mark]}, {profile}: {known.rate:.4f} requests/s")
    lines = [HEAD.rstrip("\n")]
    for mark, rates in stored.items():
        lines += [f"    # {names[mark]}", f"    {mark}: {rates},".replace("'", '"')]
    Path(ROOT, "llmqueue_gym/evaluation/bench/llm/capacities.py").write_text("\n".join([*lines, "}"]) + "\n")
    write_json(Path(__file__).parent / "results" / "capacities.json", result({"capacities": rows}, seeds=[SEED]))


if __name__ == "__main__":
    main()
